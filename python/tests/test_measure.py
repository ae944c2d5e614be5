"""`measure`: the numbers of the command line, and what must hold between them."""

from __future__ import annotations

import json
import pathlib
import subprocess

import numpy as np
import pytest

import weightproof as wp

EFFORT = {"search_samples": 100, "draws": 2, "passes": 2}
FLAGS = ["--search-samples", "100", "--draws", "2", "--passes", "2"]


def same(found: wp.Measures, binary: str, *arguments: object) -> None:
    """Compares everything but the environment with what the command line prints."""
    line = [binary, "measure", *map(str, arguments), "--format", "json", "--quiet"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    left, right = found.to_dict(), json.loads(done.stdout)
    left.pop("environment")
    right.pop("environment")
    assert left == right


def test_the_embedded_network_is_measured_as_on_the_command_line(command_line: str) -> None:
    network, data = wp.examples.mnist(samples=150)
    found = wp.measure(network, data, radius=[0.0005, 0.001], delta=0.01, **EFFORT)
    same(found, command_line, "--samples", 150, "--radius", "0.0005,0.001", "--delta", 0.01, *FLAGS)


def test_training_samples_initial_network_and_ensemble(
    command_line: str, assets: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    images, labels = (assets / f"mnist-test-1000-{what}.gz" for what in ("images.idx3-ubyte", "labels.idx1-ubyte"))
    model = assets / "mnist-784-128-64-32-10.onnx"
    network = wp.Network.from_onnx(model)
    data = wp.Data.load(images, labels=labels, offset=600, samples=200)
    train = wp.Data.load(images, labels=labels, samples=300, split="train")
    small = tmp_path / "small.onnx"
    found = wp.measure(
        network, data, radius=0.001, train=train, initial=network, ensemble=[network], rank=0.5, truncate=small, **EFFORT
    )
    bytes_of_python = small.read_bytes()
    arguments = [model, images, "--labels", labels, "--offset", 600, "--samples", 200, "--radius", 0.001, "--rank", 0.5]
    arguments += ["--train-data", images, "--train-labels", labels, "--train-samples", 300, "--truncate", small]
    same(found, command_line, *arguments, "--init", model, "--ensemble", model, *FLAGS)
    assert small.read_bytes() == bytes_of_python
    assert found["distance-frobenius"] == 0.0
    assert found.to_dict()["ensemble"]["results"][0]["cross_entropy"]["variance"] == pytest.approx(0.0, abs=1e-12)
    errors = found.errors
    assert errors["gap"] == pytest.approx(errors["held_out"] - errors["training"])


def test_numbers_and_tables(tmp_path: pathlib.Path) -> None:
    network, data = wp.examples.mnist(samples=100)
    found = wp.measure(network, data.x, data.y, radius=0.001, search=False)
    assert found.radii == (0.0, 0.001)
    assert found["parameters"] == sum(p.size for p in network.parameters.values())
    bounds = found["rademacher-bound"]
    assert bounds.shape == (2,) and bounds[0] <= bounds[1]
    assert found.guarantees["rademacher-bound"] == "rigorous"
    assert found.guarantees["path-norm-l1"] == "measured"
    assert "attacked-sharpness-loss" not in found and "held-out-bound" not in found
    table = found.to_pandas()
    assert set(table["measure"]) == set(found.names)
    assert len(table) == len(found.names) + sum(np.ndim(found[name]) == 1 for name in found.names)
    found.save(tmp_path / "measures.json")
    assert json.loads((tmp_path / "measures.json").read_text()) == found.to_dict()
    with pytest.raises(ValueError, match="expected one of the extensions"):
        found.save(tmp_path / "measures.parquet")
    assert "Rademacher bound" in str(found) and "2 at radius" not in repr(found)


def test_what_is_refused_says_why() -> None:
    network, data = wp.examples.mnist(samples=50)
    found = wp.measure(network, data, threat="format:bf16", search=False)
    assert np.isnan(found["rademacher-bound"][1])
    assert "expected the same perturbed network" in found.refusals["rademacher-bound"]


def test_wrong_input() -> None:
    network, data = wp.examples.mnist(samples=50)
    with pytest.raises(wp.SettingError, match="delta: expected a number below 1, found 1"):
        wp.measure(network, data, delta=1.0)
    with pytest.raises(wp.SettingError, match="rank: expected a share of at most 1, found 2"):
        wp.measure(network, data, rank=2.0)
    with pytest.raises(wp.SettingError, match="found both"):
        wp.measure(network, data, rank=0.5, gamma=1.0)
    with pytest.raises(wp.Error, match="method: expected one of norm-product"):
        wp.measure(network, data, method="exact")
    with pytest.raises(wp.Error, match="expected samples that are no training samples, found 50 of them"):
        wp.measure(network, data, train=data)
    with pytest.raises(wp.Error, match="expected samples that are no training samples"):
        wp.measure(network, data.x, data.y, train=(data.x, data.y))
    with pytest.raises(TypeError, match="initial: expected a weightproof.Network"):
        wp.measure(network, data, initial=data)  # type: ignore[arg-type]
    with pytest.raises(wp.DataError, match="expected 50 labels"):
        wp.measure(network, data, train=(data.x, [0, 1]))
