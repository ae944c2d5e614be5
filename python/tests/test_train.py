"""`train`: the files and the JSON of the command line."""

from __future__ import annotations

import json
import pathlib
import subprocess

import pytest

import weightproof as wp

SMALL = {"sizes": [784, 12, 10], "epochs": 2, "batch": 100, "validation": 100, "seed": 3}
FLAGS = ["--sizes", "784,12,10", "--epochs", "2", "--batch", "100", "--validation", "100", "--seed", "3"]


def test_the_network_is_that_of_the_command_line(command_line: str, tmp_path: pathlib.Path) -> None:
    data = wp.Data.load()
    settings = {"objective": ["cross-entropy", "interval=0.5"], "adversary": "sam=0.01", "radius": 0.0005, "learning_rate": 0.01}
    found = wp.train(data, output=tmp_path / "python", **SMALL, **settings)  # type: ignore[arg-type]
    line = [command_line, "train", "--data", "embedded", "--split", "test", "--output", str(tmp_path / "command"), "--quiet", *FLAGS]
    line += ["--objective", "cross-entropy", "--objective", "interval=0.5", "--adversary", "sam=0.01"]
    line += ["--radius", "0.0005", "--learning-rate", "0.01"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("network.onnx", "network.safetensors", "config.toml", "history.csv"):
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "command" / name).read_bytes(), name
    left, right = found.to_dict(), json.loads((tmp_path / "command" / "result.json").read_text())
    for report in (left, right):
        report.pop("environment")
        report["model"].pop("path")
    assert left == right
    assert found.network.sha256 == left["model"]["sha256"]
    assert len(found.history) == 2 and found.accuracy is not None and found.certified_accuracy is not None
    assert found.certified_accuracy <= found.accuracy and found.at_chance is None
    assert "held-out certified accuracy" in found._repr_html_() and "2 epochs" in repr(found)


def test_it_goes_on_and_overwrites_nothing(tmp_path: pathlib.Path) -> None:
    _, data = wp.examples.mnist(samples=300)
    told: list[int] = []
    small = SMALL | {"validation": 50, "decay": "constant"}
    first = wp.train(data.x, data.y, output=tmp_path, progress=lambda done, total: told.append(done), **small)  # type: ignore[arg-type]
    assert told and told[-1] <= 100
    with pytest.raises(wp.Error, match="there is a checkpoint of another run\nhint: resume=True"):
        wp.train(data.x, data.y, output=tmp_path, **small)  # type: ignore[arg-type]
    more = wp.train(data.x, data.y, output=tmp_path, resume=True, **(small | {"epochs": 3}))  # type: ignore[arg-type]
    assert more.history[:2] == first.history and len(more.history) == 3
    again = wp.train(data.x, data.y, output=tmp_path / "again", config=tmp_path / "config.toml")
    assert again.history == more.history


def test_wrong_settings(tmp_path: pathlib.Path) -> None:
    _, data = wp.examples.mnist(samples=100)

    def train(**settings: object) -> None:
        wp.train(data, output=tmp_path, **settings)  # type: ignore[arg-type]

    with pytest.raises(wp.SettingError, match="expected one of cross-entropy"):
        train(objective="crown")
    with pytest.raises(wp.SettingError, match="objective: expected a weight, or FROM:TO:START:END, found 1:2"):
        train(objective="interval=1:2")
    with pytest.raises(wp.SettingError, match="momentum: expected the optimizer sgd"):
        train(momentum=0.9)
    with pytest.raises(wp.SettingError, match="learning_rate: expected a finite number above 0"):
        train(learning_rate=0)
    with pytest.raises(wp.DataError, match="expected labels, found none"):
        wp.train(data.x, output=tmp_path)
    (tmp_path / "bad.toml").write_text("epochs = 2\nbatch = 'x'\n")
    with pytest.raises(wp.SettingError, match="bad.toml: line 2"):
        train(config=tmp_path / "bad.toml")
