"""Parts of a run, and what they are joined to: the result of one run."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weightproof as wp

NETWORK, DATA = wp.examples.mnist(samples=48, offset=20)


def whole(found: wp.Result) -> dict[str, Any]:
    """A result without time and host."""
    report = found.to_dict()
    report.pop("environment")
    return report


QUESTIONS: dict[str, Callable[..., wp.Result]] = {
    "certify": lambda **more: wp.certify(NETWORK, DATA, radius=[0.0005, 0.001], **more),
    "attack": lambda **more: wp.attack(NETWORK, DATA, radius=0.002, steps=3, restarts=1, **more),
    "radius": lambda **more: wp.radius(NETWORK, DATA, attack=None, by_layer=True, width=0.5, **more),
    "faults": lambda **more: wp.faults(NETWORK, DATA, storage="int4", **more),
    "array": lambda **more: wp.certify(NETWORK, DATA.x, DATA.y, radius=0.001, method="interval", **more),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_parts_are_the_whole(name: str, tmp_path: pathlib.Path) -> None:
    ask = QUESTIONS[name]
    expected = whole(ask(batch=8))
    parts = [ask(batch=8, shard=(number, 3)) for number in (2, 3, 1)]
    assert sum(len(part) for part in parts) == 48
    merged = wp.merge(parts)
    assert whole(merged) == expected
    assert (merged.index == np.arange(48) + expected["data"]["offset"]).all()
    parts[0].save(tmp_path / "part.parquet")
    assert whole(wp.merge([tmp_path / "part.parquet", *parts[1:]])) == expected


def test_parts_of_the_command_line(command_line: str, tmp_path: pathlib.Path) -> None:
    """Parts of both front ends are joined by both."""
    arguments = ["certify", "--samples", "48", "--offset", "20", "--radius", "0.001", "--batch", "8", "--shard", "1/2"]
    first = tmp_path / "first.json"
    subprocess.run([command_line, *arguments, "--json", "--quiet", "--output", first], check=False)
    second = wp.certify(NETWORK, DATA, radius=0.001, batch=8, shard=(2, 2))
    merged = wp.merge([second, first])
    assert whole(merged) == whole(wp.certify(NETWORK, DATA, radius=0.001, batch=8))
    second.save(tmp_path / "second.json")
    output = tmp_path / "whole.json"
    subprocess.run([command_line, "merge", first, tmp_path / "second.json", "--output", output], check=False)
    merged.save(tmp_path / "merged.json")
    lines = [[line for line in path.read_text().splitlines() if '"environment":' not in line] for path in (output, tmp_path / "merged.json")]
    assert lines[0] == lines[1]


def test_parts_that_do_not_belong_together_are_refused() -> None:
    first = wp.certify(NETWORK, DATA, radius=0.001, method="interval", batch=8, shard=(1, 2))
    other = wp.certify(NETWORK, DATA, radius=0.001, method="interval", batch=8, shard=(2, 2), seed=3)
    with pytest.raises(wp.Error, match=r"expected all 2 shards, found 1 missing: 2"):
        wp.merge([first])
    with pytest.raises(wp.Error, match="do not overlap"):
        wp.merge([first, first])
    with pytest.raises(wp.Error, match=r"of a different run: config\.seed, seed"):
        wp.merge([first, other])
    with pytest.raises(wp.Error, match="expected at least one part"):
        wp.merge([])
    for wrong in [(0, 2), (3, 2), 5, ("a", 2)]:
        with pytest.raises(wp.SettingError, match="shard: expected"):
            wp.certify(NETWORK, DATA, radius=0.001, shard=wrong)  # type: ignore[arg-type]
    with pytest.raises(wp.Error, match="at most 1 parts"):
        wp.certify(NETWORK, DATA, radius=0.001, shard=(1, 2))
