"""The native half; use the package `weightproof` instead."""

import os
from collections.abc import Callable
from typing import Any, final

import numpy as np
import numpy.typing as npt

__all__ = [
    "DataError",
    "Division",
    "Document",
    "Error",
    "FormatError",
    "Network",
    "NetworkError",
    "NotBuiltError",
    "Origin",
    "Report",
    "SettingError",
    "ThreatError",
    "__version__",
    "attack",
    "block",
    "certify",
    "compare_page",
    "faults",
    "inspect",
    "load_data",
    "main",
    "measure",
    "merge",
    "overlay",
    "page",
    "parse_threat",
    "part",
    "radius",
    "read_threat",
    "search",
    "sweep_files",
    "train",
    "write_threat",
]

__version__: str

class Error(ValueError): ...
class FormatError(Error): ...
class NetworkError(Error): ...
class DataError(Error): ...
class ThreatError(Error): ...
class SettingError(Error): ...
class NotBuiltError(Error): ...

@final
class Origin:
    @property
    def description(self) -> str: ...
    @property
    def sha256(self) -> str: ...

@final
class Network:
    @staticmethod
    def load(
        path: str | os.PathLike[str] | None,
        architecture: str | os.PathLike[str] | None,
        separate: bool,
        outputs: list[str],
        inputs: list[tuple[str, str]],
        dims: list[tuple[str, int]],
        neighbours: bool,
    ) -> Network: ...
    @staticmethod
    def build(
        weights: bytes,
        architecture: str,
        separate: bool,
        name: str,
        format: str,
        notes: list[str],
        dropped_head: str | None,
    ) -> Network: ...
    def forward(self, x: npt.NDArray[Any]) -> npt.NDArray[np.float64]: ...
    def layers(self) -> str: ...
    def parameters(self) -> list[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64] | None]]: ...
    def save(self, path: str | os.PathLike[str]) -> None: ...
    def model(self) -> str: ...

@final
class Report:
    @property
    def command(self) -> str: ...
    @property
    def guarantee(self) -> str: ...
    @property
    def radii(self) -> list[float | None]: ...
    @property
    def question(self) -> str: ...
    @property
    def columns(self) -> list[str]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def needs_fingerprint(self) -> bool: ...
    def fingerprint(self, x: npt.NDArray[Any]) -> None: ...
    def numbers(self, name: str, k: int) -> npt.NDArray[np.float64]: ...
    def words(self, name: str, k: int) -> list[str]: ...
    def summary(self, k: int) -> str: ...
    def divided(self, rounds: int, searches: int) -> None: ...
    def write(self, format: str) -> bytes: ...

@final
class Division:
    def __new__(
        cls,
        network: Network,
        data: tuple[npt.NDArray[Any], npt.NDArray[np.uint32] | None, Origin | None],
        settings: str,
        sample: int,
        set: int,
    ) -> Division: ...
    @property
    def is_settled(self) -> bool: ...
    def questions(self, most: int) -> list[str]: ...
    def take(self, answers: list[str]) -> None: ...
    def conclude(
        self,
        report: Report,
        network: Network,
        data: tuple[npt.NDArray[Any], npt.NDArray[np.uint32] | None, Origin | None],
        settings: str,
    ) -> None: ...

@final
class Document:
    def write(self, format: str) -> bytes: ...

def load_data(settings: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint32] | None, Origin]: ...
def block(command: str, exact: bool) -> int: ...
def part(number: int, of: int, total: int, block: int) -> tuple[int, int]: ...
def merge(paths: list[str], x: npt.NDArray[Any] | None) -> Report: ...
def search(
    network: Network,
    data: tuple[npt.NDArray[Any], npt.NDArray[np.uint32] | None, Origin | None],
    settings: str,
    question: str,
) -> str: ...
def sweep_files(sweep: str | os.PathLike[str], output: str | os.PathLike[str]) -> list[str]: ...
def parse_threat(text: str) -> str: ...
def read_threat(path: str | os.PathLike[str]) -> str: ...
def write_threat(text: str) -> str: ...
def certify(
    network: Network,
    x: npt.NDArray[Any],
    y: npt.NDArray[np.uint32] | None,
    origin: Origin | None,
    settings: str,
    progress: Callable[[int], object] | None,
) -> Report: ...
def attack(
    network: Network,
    x: npt.NDArray[Any],
    y: npt.NDArray[np.uint32] | None,
    origin: Origin | None,
    settings: str,
    progress: Callable[[int], object] | None,
) -> Report: ...
def faults(
    network: Network,
    x: npt.NDArray[Any],
    y: npt.NDArray[np.uint32] | None,
    origin: Origin | None,
    settings: str,
    progress: Callable[[int], object] | None,
) -> Report: ...
def radius(
    network: Network,
    x: npt.NDArray[Any],
    y: npt.NDArray[np.uint32] | None,
    origin: Origin | None,
    settings: str,
    progress: Callable[[int], object] | None,
) -> Report: ...
def measure(
    network: Network,
    data: tuple[npt.NDArray[Any], npt.NDArray[np.uint32] | None, Origin | None],
    train: tuple[npt.NDArray[Any], npt.NDArray[np.uint32] | None, Origin | None] | None,
    initial: Network | None,
    ensemble: list[Network],
    settings: str,
) -> Document: ...
def inspect(network: Network, settings: str) -> Document: ...
def train(
    data: tuple[npt.NDArray[Any], npt.NDArray[np.uint32] | None, Origin | None],
    settings: str,
    progress: Callable[[int], object] | None,
) -> Document: ...
def page(
    files: list[tuple[str, bytes, str | None]], data: str | os.PathLike[str] | None
) -> tuple[str, list[tuple[str, bytes]]]: ...
def compare_page(files: list[tuple[str, bytes, str | None]]) -> tuple[str, list[tuple[str, bytes]]]: ...
def overlay(files: list[tuple[str, bytes, str | None]]) -> str: ...
def main(arguments: list[str]) -> int: ...
