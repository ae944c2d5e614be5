"""Python and the command line give the same JSON, except for the block about time and host."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

import numpy as np
import pytest

import weightproof as wp


def command(binary: str, *arguments: str | os.PathLike[str]) -> dict[str, Any]:
    """What the command line prints as JSON."""
    done = subprocess.run([binary, *arguments, "--format", "json", "--quiet"], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def same(found: wp.Result, expected: dict[str, Any], *but: str) -> None:
    """Compares all but the environment, the seconds of samples and the blocks named."""
    left = found.to_dict()
    for report in (left, expected):
        for block in ("environment", *but):
            report.pop(block)
        for samples in [report.get("samples", []), *(r["samples"] for r in report.get("results", []))]:
            for sample in samples:
                sample.pop("seconds", None)
    assert left == expected


@pytest.mark.parametrize("method", ["norm-product", "interval", "linear", "optimized"])
def test_methods(command_line: str, method: str) -> None:
    network, data = wp.examples.mnist(samples=60)
    found = wp.certify(network, data, radius=[0.0005, 0.001], method=method)
    same(found, command(command_line, "certify", "--samples", "60", "--radius", "0.0005,0.001", "--method", method))


def test_exact(command_line: str) -> None:
    network, data = wp.examples.mnist(samples=40, offset=100)
    found = wp.certify(network, data, radius=0.0015, method="exact", max_nodes=200)
    arguments = ["--samples", "40", "--offset", "100", "--radius", "0.0015", "--method", "exact", "--max-nodes", "200"]
    same(found, command(command_line, "certify", *arguments))


def test_faults(command_line: str) -> None:
    network, data = wp.examples.mnist(samples=30)
    found = wp.faults(network, data, storage="int8:per-channel", bits=2, at=[5, 6, 7], protect=["dense4:5"], layers=["dense4", "dense3"], words=2, max_nodes=2)
    arguments = ["--samples", "30", "--storage", "int8:per-channel", "--bits", "2", "--at", "5,6,7", "--protect", "dense4:5", "--words", "2", "--max-nodes", "2"]
    same(found, command(command_line, "faults", *arguments, "--layers", "dense4,dense3"))
    broken = found.verdict == "falsified"
    assert broken.any() and (found.breaking[broken] > 0).sum() == (found.hit_layer != "").sum()
    with pytest.raises(wp.ThreatError, match="words: expected 1 to 64, found 65"):
        wp.faults(network, data, words=65)


def test_hits_on_words(command_line: str, tmp_path: pathlib.Path) -> None:
    network, data = wp.examples.mnist(samples=20)
    file = tmp_path / "faults.toml"
    file.write_text('storage = "int8"\nwords = 2\nlayers = ["dense3", "dense4"]\nprotect = [{ bits = [7] }]\n')
    settings = {"storage": "int8", "words": 2, "layers": ["dense3", "dense4"], "protect": [{"bits": [7]}]}
    arguments = ["--samples", "20", "--faults", str(file)]
    for faults in (file, settings):
        found = wp.certify(network, data, faults=faults)
        same(found, command(command_line, "certify", *arguments))
        same(wp.attack(network, data, faults=faults), command(command_line, "attack", *arguments))
        radii = wp.radius(network, data, faults=faults, max_nodes=5)
        same(radii, command(command_line, "radius", *arguments, "--max-nodes", "5"))
        assert set(radii.certified_radius) <= {0.0, 1.0, 2.0}
        assert ((found.verdict == "verified") <= (radii.certified_radius == 2.0)).all()
    with pytest.raises(wp.Error, match="unknown field .stoage."):
        wp.certify(network, data, faults={"stoage": "int8"})
    with pytest.raises(wp.Error, match="words: expected 1 to 64"):
        wp.attack(network, data, faults={"words": 65})
    with pytest.raises(wp.SettingError, match="noise: expected none with faults"):
        wp.certify(network, data, faults=file, noise="gaussian:0.01")
    with pytest.raises(wp.SettingError, match="by_layer: expected none with faults"):
        wp.radius(network, data, faults=file, by_layer=True)
    with pytest.raises(wp.Error, match="expected interval, linear-interval or linear for faults"):
        wp.certify(network, data, faults=file, method="exact")


@pytest.mark.parametrize("noise", ["gaussian-of-max:0.01", "stochastic:int6:per-channel"])
def test_random_weights(command_line: str, noise: str) -> None:
    network, data = wp.examples.mnist(samples=20)
    found = wp.certify(network, data, noise=noise, failure_probability=1e-6)
    arguments = ["--samples", "20", "--noise", noise]
    same(found, command(command_line, "certify", *arguments, "--failure-probability", "1e-6"))
    verified = found.verdict == "verified"
    assert verified.any() and (found.failure_probability[verified] <= 1e-6).all()
    drawn = wp.attack(network, data, noise=noise, draws=4)
    same(drawn, command(command_line, "attack", *arguments, "--draws", "4"))
    assert (drawn.failures[verified] == 0).all() and drawn.summary["devices"]["draws"] == 4
    for whole, ask in ((found, wp.certify), (drawn, wp.attack)):
        own = {"failure_probability": 1e-6} if ask is wp.certify else {"draws": 4}
        parts = [ask(network, data, noise=noise, batch=5, shard=(k, 2), **own) for k in (1, 2)]
        assert wp.merge(parts).to_dict()["summary"] == whole.to_dict()["summary"]
    if noise.startswith("gaussian"):
        withstood = wp.radius(network, data, noise="gaussian-of-max", failure_probability=1e-6, width=0.1)
        arguments = ["--samples", "20", "--noise", "gaussian-of-max", "--width", "0.1"]
        same(withstood, command(command_line, "radius", *arguments, "--failure-probability", "1e-6"))
        assert (withstood.certified_radius > 0).all()
    with pytest.raises(wp.ThreatError, match="input radius of 0.1"):
        wp.certify(network, data, wp.Threat("absolute", input_radius=0.1), noise=noise)


def test_weights_that_drift(command_line: str, tmp_path: pathlib.Path) -> None:
    network, data = wp.examples.mnist(samples=10)
    noise = tmp_path / "drift.toml"
    noise.write_text('kind = "gaussian-of-max"\nsigma = 0.003\n[drift]\nmean = 0.05\nspread = 0.005\n')
    found = wp.certify(network, data, noise=noise, time=[1.0, 3600.0])
    arguments = ["--samples", "10", "--noise", str(noise), "--time", "1s,1h"]
    same(found, command(command_line, "certify", *arguments))
    same(wp.attack(network, data, noise=noise, draws=3, time=3600.0), command(command_line, "attack", "--draws", "3", *arguments[:-1], "1h"))
    with pytest.raises(wp.ThreatError, match="expected a time"):
        wp.certify(network, data, noise=noise)


def test_journals_are_the_same(command_line: str, tmp_path: pathlib.Path) -> None:
    """Python goes on from a journal of the command line, and the other way round."""
    network, data = wp.examples.mnist(samples=8, offset=36)
    arguments = ["certify", "--method", "exact", "--samples", "8", "--offset", "36", "--radius", "0.001"]
    for first in ("command", "python"):
        journal = tmp_path / first
        more = ["--journal", journal, "--witness", tmp_path / "witness"]

        def ask(journal: pathlib.Path = journal) -> wp.Result:
            return wp.certify(network, data, radius=0.001, method="exact", journal=journal, witness=tmp_path / "witness")

        expected = command(command_line, *arguments, *more) if first == "command" else ask().to_dict()
        lines = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join([lines[0], *(line.replace('"nodes":', '"nodes":12345') for line in lines[1:])]))
        found = ask() if first == "command" else command(command_line, *arguments, *more)
        samples = found.to_dict()["samples"] if isinstance(found, wp.Result) else found["samples"]
        assert all(sample["nodes"] > 10000 for sample in samples)
        assert [s["witness"] for s in samples] == [s["witness"] for s in expected["samples"]]


@pytest.mark.parametrize("kind", ["neuron-space", "weight-space", "pgd", "universal", "random-vertex"])
def test_attacks(command_line: str, kind: str) -> None:
    network, data = wp.examples.mnist(samples=40)
    found = wp.attack(network, data, radius=0.002, attack=kind, steps=10, restarts=2, seed=7)
    arguments = ["--samples", "40", "--radius", "0.002", "--attack", kind, "--steps", "10", "--restarts", "2", "--seed", "7"]
    same(found, command(command_line, "attack", *arguments))


def test_radii(command_line: str) -> None:
    network, data = wp.examples.mnist(samples=20)
    found = wp.radius(network, data, threat="relative", width=0.05, steps=10, restarts=1)
    arguments = ["--samples", "20", "--threat", "relative", "--width", "0.05", "--steps", "10", "--restarts", "1"]
    same(found, command(command_line, "radius", *arguments))
    found = wp.radius(network, data, attack=None, by_layer=True)
    same(found, command(command_line, "radius", "--samples", "20", "--no-attack", "--by-layer"))
    assert any("dense1" in name and not np.isnan(found[name]).all() for name in found.columns)
    found = wp.radius(network, data, method="exact", max_nodes=50, steps=10)
    same(found, command(command_line, "radius", "--samples", "20", "--method", "exact", "--max-nodes", "50", "--steps", "10"))


def test_threat_file_and_files(command_line: str, assets: pathlib.Path, tmp_path: pathlib.Path) -> None:
    images = assets / "mnist-test-1000-images.idx3-ubyte.gz"
    model = assets / "mnist-conv-8-16-10.onnx"
    network = wp.Network.from_onnx(model)
    layer = network.nodes[1].name
    threat = wp.Threat.relative(
        0.01, bias_radius=0.0, input_radius=0.001, activation_radius=1e-5, layer={layer: wp.LayerRadii(0.02)}
    )
    file = tmp_path / "threat.toml"
    file.write_text(threat.to_toml())
    data = wp.Data.load(images, samples=30, offset=5)
    found = wp.certify(network, data, threat=threat, mean=[0.1], std=0.9, property="prediction", precision="f64")
    arguments = ["--samples", "30", "--offset", "5", "--mean", "0.1", "--std", "0.9", "--property", "prediction"]
    same(found, command(command_line, "certify", model, images, "--threat", file, *arguments, "--precision", "f64"))


def test_safetensors(command_line: str, tmp_path: pathlib.Path) -> None:
    network, data = wp.examples.mnist(samples=30)
    network.save(tmp_path / "net.safetensors")
    read = wp.Network.from_safetensors(tmp_path / "net.safetensors")
    found = wp.certify(read, data, threat=wp.Threat.integer(8, per_channel=True), property="deviation", tolerance=0.5)
    arguments = ["--data", "embedded", "--samples", "30", "--threat", "int8:per-channel", "--property", "deviation", "--tolerance", "0.5"]
    expected = command(command_line, "certify", tmp_path / "net.safetensors", *arguments)
    same(found, expected)


def test_neighbouring_steps(command_line: str, assets: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Quantizers that may give a step beside the nearest one."""
    model = assets.parent / "crates/weightproof-formats/tests/onnx-quantized/dense-operator.onnx"
    x = np.random.default_rng(0).uniform(-1, 1, (20, 6))
    np.savez(tmp_path / "data.npz", x=x)
    network = wp.Network.from_onnx(model, rounding="any")
    found = wp.certify(network, wp.Data.load(tmp_path / "data.npz"), threat="lsb", radius=1.0)
    arguments = ["--threat", "lsb", "--radius", "1", "--rounding", "any"]
    same(found, command(command_line, "certify", model, tmp_path / "data.npz", *arguments))
    nearest = wp.certify(wp.Network.from_onnx(model), x, threat="lsb", radius=1.0)
    assert nearest.summary["certified"] >= found.summary["certified"]
    with pytest.raises(wp.SettingError, match="rounding"):
        wp.Network.from_onnx(model, rounding="up")  # type: ignore[arg-type]


def test_arrays_of_a_file(command_line: str, tmp_path: pathlib.Path) -> None:
    """Arrays have no file, so only the blocks about the data differ."""
    network, data = wp.examples.mnist(samples=50)
    assert data.y is not None
    np.savez(tmp_path / "data.npz", x=data.x, y=data.y.astype(np.int64))
    expected = command(command_line, "certify", _model(tmp_path), tmp_path / "data.npz", "--radius", "0.001")
    found = wp.certify(wp.Network.from_onnx(_model(tmp_path)), data.x, data.y, radius=0.001)
    same(found, json.loads(json.dumps(expected)), "data", "config")
    loaded = wp.certify(wp.Network.from_onnx(_model(tmp_path)), wp.Data.load(tmp_path / "data.npz"), radius=0.001)
    same(loaded, expected)


def _model(folder: pathlib.Path) -> pathlib.Path:
    path = folder / "model.onnx"
    if not path.exists():
        wp.examples.mnist(samples=1)[0].save(path)
    return path


def test_written_results_are_those_of_the_command_line(command_line: str, tmp_path: pathlib.Path) -> None:
    network, data = wp.examples.mnist(samples=10)
    result = wp.certify(network, data, radius=0.001)
    for extension, format in ((".json", "json"), (".csv", "csv"), (".txt", "text")):
        path = tmp_path / f"result{extension}"
        result.save(path)
        arguments = ["certify", "--samples", "10", "--radius", "0.001", "--format", format, "--quiet"]
        expected = subprocess.run([command_line, *arguments], capture_output=True, text=True, check=False).stdout

        def clean(text: str) -> list[str]:
            return [line for line in text.splitlines() if '"environment"' not in line and not line.startswith("time ")]

        assert clean(path.read_text()) == clean(expected)
