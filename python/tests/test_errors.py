"""Errors say what and where, and are of one hierarchy."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

import weightproof as wp

Example = tuple[wp.Network, wp.Data]


@pytest.mark.parametrize("kind", [wp.FormatError, wp.NetworkError, wp.DataError, wp.ThreatError, wp.SettingError, wp.NotBuiltError])
def test_hierarchy(kind: type[Exception]) -> None:
    assert issubclass(kind, wp.Error) and issubclass(wp.Error, ValueError)
    assert kind.__module__ == "weightproof"


def fails(kind: type[Exception], message: str, *args: Any, ask: Any = wp.certify, **settings: Any) -> None:
    with pytest.raises(kind) as caught:
        ask(*args, **settings)
    assert message in str(caught.value), str(caught.value)


def test_arrays(mnist: Example) -> None:
    network, data = mnist
    x, y = np.array(data.x), np.array(data.y)
    fails(wp.DataError, "expected samples of 784 values", network, x[:, :27], y, radius=0.001)
    fails(wp.DataError, "expected samples of shape (n, …), found the shape (28,)", network, x[0, 0], y[:1], radius=0.001)
    fails(wp.DataError, "expected at least 1 sample, found 0", network, x[:0], y[:0], radius=0.001)
    fails(wp.DataError, "float64, float32 or uint8, found int64", network, x.astype(int), y, radius=0.001)
    fails(wp.DataError, "found object", network, np.array([["a", None]], dtype=object), [0], radius=0.001)
    fails(wp.DataError, "found complex128", network, x.astype(complex), y, radius=0.001)
    fails(wp.DataError, "y: expected 100 labels, one for each sample, found the shape (99,)", network, x, y[:99], radius=0.001)
    fails(wp.DataError, "y: expected labels of an integer type, found float64", network, x, y.astype(float), radius=0.001)
    for bad in (np.nan, np.inf, -np.inf):
        x[7, 3, 4] = bad
        for array in (x, x.astype(np.float32)):
            fails(wp.DataError, "x: sample 7, value 88: expected a finite number", network, array, y, radius=0.001)
            fails(wp.DataError, "x: sample 7, value 88: expected a finite number", array, ask=network.forward)
    y = y.astype(int)
    y[3] = 11
    fails(wp.DataError, "y: sample 3: expected a label from 0 to 9, found 11", network, data.x, y, radius=0.001)
    y[3] = -1
    fails(wp.DataError, "y: sample 3: expected a label of at least 0, found -1", network, data.x, y, radius=0.001)
    fails(wp.DataError, "expected no labels beside Data", network, data, y, radius=0.001)
    fails(wp.DataError, "array: expected labels, found none", network, np.array(data.x), property="label", radius=0.001)
    fails(wp.DataError, "found uint8", np.zeros((1, 784), np.uint8), ask=network.forward)


def test_settings(mnist: Example) -> None:
    network, data = mnist
    settings: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (wp.ThreatError, "threat absolute: expected a radius, found none", {}),
        (wp.SettingError, "radius: expected a finite number of at least 0, found nan", {"radius": float("nan")}),
        (wp.SettingError, "radius: expected a finite number of at least 0, found -1", {"radius": -1}),
        (wp.SettingError, "radius: expected a finite number of at least 0, found '0.1'", {"radius": "0.1"}),
        (wp.SettingError, "radius: expected at least 1 number, found none", {"radius": []}),
        (wp.SettingError, "method: expected one of norm-product", {"method": "magic"}),
        (wp.SettingError, "intermediate: expected the method linear", {"method": "interval", "intermediate": "linear"}),
        (wp.SettingError, "time_limit: expected the method exact, found linear", {"time_limit": 1.0}),
        (wp.SettingError, "witness: expected the method exact, found linear", {"witness": "w"}),
        (wp.SettingError, "oracle: expected the method exact, found linear", {"oracle": "milp"}),
        (wp.SettingError, "oracle: expected milp, found luck", {"oracle": "luck", "method": "exact"}),
        (wp.SettingError, "gap: expected a finite number above 0, found 0", {"gap": 0}),
        (wp.SettingError, "max_nodes: expected an integer of at least 1, found 1.5", {"max_nodes": 1.5}),
        (wp.SettingError, "threads: expected an integer from 1 to 1024, found 0", {"threads": 0}),
        (wp.SettingError, "batch: expected an integer of at least 1, found True", {"batch": True}),
        (wp.SettingError, "seed: expected an integer from 0", {"seed": -1}),
        (wp.SettingError, "precision: expected f32 or f64, found f16", {"precision": "f16"}),
        (wp.SettingError, "layout: expected nchw or nhwc, found chwn", {"layout": "chwn"}),
        (wp.SettingError, "std: expected a finite number above 0, found 0", {"std": 0}),
        (wp.SettingError, "mean: expected 1 number, or 784", {"mean": [0.1, 0.2]}),
        (wp.SettingError, "tolerance: expected a number for the property deviation", {"property": "deviation", "method": "exact"}),
        (wp.SettingError, "tolerance: expected the property deviation", {"tolerance": 0.1}),
        (wp.Error, "property: expected label, prediction or deviation, found luck", {"property": "luck"}),
        (wp.ThreatError, "layer nope: expected one of", {"threat": wp.Threat(radius=0.1, layers=("nope",))}),
        (TypeError, "progress: expected", {"progress": 3}),
        (TypeError, "threat: expected", {"threat": 3}),
    ]
    for kind, message, given in settings:
        if "radius" not in given and "a radius, found none" not in message and "threat" not in given:
            given = {"radius": 0.001, **given}
        fails(kind, message, network, data, **given)
    fails(wp.SettingError, "attack: expected neuron-space or weight-space", network, data, ask=wp.radius, attack="universal")
    fails(wp.SettingError, "width: expected a number from", network, data, ask=wp.radius, width=5)
    fails(wp.SettingError, "no_attack", network, data, ask=wp.radius, attack=None, method="exact")
    fails(wp.SettingError, "step_size: expected the attack universal", network, data, ask=wp.attack, radius=0.1, step_size=0.1)
    fails(
        wp.SettingError,
        "journal: expected an attack on each sample by itself, found universal",
        network,
        data,
        ask=wp.attack,
        radius=0.1,
        attack="universal",
        journal="j",
    )
    fails(wp.Error, "attack", network, data, ask=wp.attack, radius=0.1, attack="magic")
    fails(wp.SettingError, "steps: expected an integer", network, data, ask=wp.attack, radius=0.1, steps=0)
    with pytest.raises(TypeError, match="network: expected a weightproof.Network"):
        wp.certify("net.onnx", data, radius=0.1)  # type: ignore[arg-type]


def test_files(tmp_path: pathlib.Path, mnist: Example) -> None:
    fails(wp.FormatError, "missing.onnx", tmp_path / "missing.onnx", ask=wp.Network.from_onnx)
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    fails(wp.FormatError, "bad.onnx", tmp_path / "bad.onnx", ask=wp.Network.from_onnx)
    fails(wp.FormatError, "net.pt", tmp_path / "net.pt", ask=wp.Network.from_onnx)
    fails(wp.FormatError, "net.h5: expected one of the extensions .onnx, .safetensors", tmp_path / "net.h5", ask=mnist[0].save)
    fails(wp.SettingError, "batch_norm", tmp_path / "a.onnx", ask=wp.Network.from_onnx, batch_norm="drop")
    fails(wp.FormatError, "nothing", tmp_path / "nothing", ask=wp.Data.load)
    fails(wp.SettingError, "split", ask=wp.Data.load, split="validation")
    fails(wp.DataError, "offset: expected less than 1000", ask=wp.Data.load, offset=1000)
    result = wp.certify(*mnist, radius=0.001)
    with pytest.raises(ValueError, match="extensions"):
        result.save(tmp_path / "result.pickle")
    with pytest.raises(OSError):
        result.save(tmp_path / "no" / "folder.json")


def test_weights_that_are_not_finite(tmp_path: pathlib.Path, mnist: Example) -> None:
    mnist[0].save(tmp_path / "net.safetensors")
    raw = bytearray((tmp_path / "net.safetensors").read_bytes())
    raw[-4:] = np.float32(np.nan).tobytes()
    (tmp_path / "net.safetensors").write_bytes(raw)
    fails(wp.FormatError, "NaN, expected a finite number", tmp_path / "net.safetensors", ask=wp.Network.from_safetensors)


def test_columns_of_other_commands(mnist: Example) -> None:
    result = wp.certify(*mnist, radius=0.001)
    with pytest.raises(AttributeError, match="its columns are index, label"):
        _ = result.worst_margin
    with pytest.raises(AttributeError, match="has no 'accuracy_under_attack'"):
        _ = result.accuracy_under_attack


def test_threats() -> None:
    fails(wp.ThreatError, "threat kind: expected absolute", "int99x", ask=wp.Threat)
    fails(wp.ThreatError, "expected 2 to 16 bits, found 1", 1, ask=wp.Threat.integer)
    fails(wp.ThreatError, "radius: expected a finite number of at least 0", -0.1, ask=wp.Threat.absolute)
    fails(wp.ThreatError, "unknown field", {"kind": "absolute", "radus": 1}, ask=wp.Threat.from_dict)
    fails(wp.ThreatError, "line 2", 'kind = "absolute"\nradius = "x"', ask=wp.Threat.from_toml)
    fails(wp.FormatError, "nothing.toml", "nothing.toml", ask=wp.Threat.load)


def test_threats_as_dictionaries_and_toml(tmp_path: pathlib.Path) -> None:
    threats = [
        wp.Threat.absolute(0.001, bias_radius=0.0),
        wp.Threat.relative(0.01, layers=["a", "b"]),
        wp.Threat.per_channel(0.02, input_radius=0.1),
        wp.Threat.frobenius(0.5, activation_radius=1e-3),
        wp.Threat.integer(4, per_channel=True),
        wp.Threat.number_format("bf16", radius=2.0),
        wp.Threat(radius=0.1, layer={"a": wp.LayerRadii([0.1, 0.2], 0.0), "b": wp.LayerRadii(0.3)}),
    ]
    for threat in threats:
        assert wp.Threat.from_dict(threat.to_dict()) == threat
        assert wp.Threat.from_dict(json.loads(json.dumps(threat.to_dict()))) == threat
        assert wp.Threat.from_toml(threat.to_toml()) == threat
        (tmp_path / "threat.toml").write_text(threat.to_toml())
        assert wp.Threat.load(tmp_path / "threat.toml") == threat
        assert hash(threat) == hash(wp.Threat.from_toml(threat.to_toml()))


def test_a_threat_may_stand_in_the_place_of_labels(mnist: tuple[wp.Network, wp.Data]) -> None:
    network, data = mnist
    threat = wp.Threat.relative(0.01)
    result = wp.certify(network, data, threat)
    assert np.array_equal(result.margin_lower, wp.certify(network, data, threat=threat).margin_lower)
    with pytest.raises(TypeError, match="hint: threat='relative'"):
        wp.certify(network, data, "relative", radius=0.01)
    with pytest.raises(TypeError, match="beside another threat"):
        wp.certify(network, data, threat, "relative")


def test_a_part_of_a_formats_rounding_is_asked_for(mnist: tuple[wp.Network, wp.Data]) -> None:
    network, data = mnist
    with pytest.raises(wp.SettingError, match="radius: expected a multiple of at least 1 for int8"):
        wp.certify(network, data, threat="int8", radius=0.001)
    assert wp.certify(network, data, threat="int8", radius=0.001, scale_radius=True).certified_accuracy > 0.9
    assert wp.certify(network, data, threat="int8").certified_accuracy > 0
