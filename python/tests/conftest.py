"""Where the tests find the command line and data that are not part of the package."""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest

import weightproof

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def command_line() -> str:
    """The command line: WEIGHTPROOF_BINARY, the build of this repository, or that of the path."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    known = [os.environ.get("WEIGHTPROOF_BINARY"), target / "debug" / "weightproof", target / "release" / "weightproof"]
    for path in known:
        if path and os.access(path, os.X_OK):
            return str(path)
    found = shutil.which("weightproof")
    if found is None:
        pytest.skip("no command line: cargo build --workspace --bins, or WEIGHTPROOF_BINARY")
    return found


@pytest.fixture(scope="session")
def assets() -> pathlib.Path:
    """Networks and images of this repository."""
    return ROOT / "assets"


@pytest.fixture(scope="session")
def mnist() -> tuple[weightproof.Network, weightproof.Data]:
    """The embedded network with a hundred images."""
    return weightproof.examples.mnist(samples=100)


@pytest.fixture(scope="session")
def conv(assets: pathlib.Path) -> weightproof.Network:
    """A small convolutional network."""
    return weightproof.Network.from_onnx(assets / "mnist-conv-8-16-10.onnx")
