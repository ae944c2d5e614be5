"""`inspect` and `Network.layers`: the numbers of the command line, and those of NumPy."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import weightproof as wp


def test_the_json_is_that_of_the_command_line(command_line: str, assets: pathlib.Path) -> None:
    model = assets / "mnist-conv-8-16-10.onnx"
    for threat, radius in (("absolute", None), ("relative", 0.01), ("int8", None)):
        found = wp.inspect(wp.Network.from_onnx(model), threat, radius=radius)  # type: ignore[arg-type]
        line = [command_line, "inspect", str(model), "--threat", threat, "--format", "json"]
        line += [] if radius is None else ["--radius", str(radius)]
        expected = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
        left = found.to_dict()
        left.pop("environment")
        expected.pop("environment")
        assert left == expected
    assert "stable rank" in str(found) and "Inspection of mnist-conv" in repr(found)


def test_layers_are_a_table_with_norms_and_radii() -> None:
    pandas = pytest.importorskip("pandas")
    network, data = wp.examples.mnist(samples=12)
    table = network.layers(data)
    assert isinstance(table, pandas.DataFrame)
    for row in table.to_dict("records"):
        weight = network.parameters[f"{row['layer']}.weight"]
        assert row["shape"] == weight.shape
        assert row["spectral"] == pytest.approx(np.linalg.norm(weight, 2))
        assert row["stable_rank"] == pytest.approx((weight**2).sum() / np.linalg.norm(weight, 2) ** 2)
        alone = wp.radius(network, data, wp.Threat(layers=(row["layer"],)), attack=None)
        assert row["certified_radius"] == np.sort(alone.certified_radius)[(12 - 1) // 2]
    assert table["limits"].sum() >= 12
    assert "certified_radius" not in network.layers()


def test_without_pandas_layers_are_a_list() -> None:
    program = "import sys; sys.modules['pandas'] = None; import weightproof as wp; print(wp.examples.mnist(1)[0].layers()[0]['layer'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == wp.examples.mnist(1)[0].nodes[1].name


def test_wrong_input() -> None:
    network, _ = wp.examples.mnist(samples=1)
    with pytest.raises(wp.ThreatError, match="layer nope: expected one of dense1"):
        wp.inspect(network, wp.Threat(radius=0.1, layers=("nope",)))
    with pytest.raises(wp.SettingError, match="radius: expected a finite number of at least 0"):
        wp.inspect(network, radius=-1.0)
    with pytest.raises(TypeError, match="network: expected a weightproof.Network"):
        wp.inspect("model.onnx")  # type: ignore[arg-type]
