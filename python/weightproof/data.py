"""Data of files, with where they come from."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _check
from ._weightproof import DataError, Origin, SettingError, load_data
from ._words import Header, Split

__all__ = ["Data"]


class Data:
    """Samples and labels of a file, a folder or the embedded sample; give it to `certify`, `attack` or `radius` as ``x``.

    Plain arrays can be given as well. This class adds what reports say about data: description, format, offset and the
    SHA-256 of the file, as the command line has them.

    Attributes:
        x: Samples, (n, …) in float64, read-only; bytes are multiplied by 1/255 unless ``scale`` said otherwise.
        y: Labels, (n,) in uint32, read-only; ``None`` where the data have none.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.uint32] | None

    def __init__(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.uint32] | None, origin: Origin, settings: str | None = None
    ) -> None:
        self.x, self.y, self._origin = x, y, origin
        # What they were loaded with: a pickle has this.
        self._settings = settings
        # The report says that these are the numbers of the file.
        x.flags.writeable = False
        if y is not None:
            y.flags.writeable = False

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        labels: str | os.PathLike[str] | None = None,
        csv_labels: bool = True,
        header: Header = "auto",
        delimiter: str | None = None,
        label_column: str | None = None,
        scale: float | str | None = None,
        split: Split = "test",
        offset: int = 0,
        samples: int | None = None,
    ) -> Data:
        """Reads data.

        Args:
            path: A folder with MNIST's IDX files, CIFAR's binary or Python files, or one folder of PNG or JPEG files for each class;
                one IDX image file, ``.npz`` with ``x`` and ``y``, ``.npy``, or ``.csv`` with the label first; the embedded sample of
                MNIST by default.
            labels: A file of labels: ``.npy``, IDX, or text with one per line.
            csv_labels: Whether the first column of a ``.csv`` is the label.
            header: Whether the first row of a ``.csv`` names the columns, ``yes`` or ``no``; ``auto``: when it starts with no number.
            delimiter: What separates the fields of a ``.csv``, one character or ``tab``; by default a comma, in a ``.tsv`` a tab.
            label_column: Name of the column of a ``.csv`` with the labels; by default the first column.
            scale: Multiplies the data: a number, or a ratio such as ``"1/255"``; by default 1/255 for bytes and 1 for others.
            split: ``test`` or ``train``, where a folder or archive has both.
            offset: How many samples are skipped.
            samples: How many samples are read at most; all by default.

        Raises:
            FormatError: A file cannot be read.
            DataError: What is wrong with the data, and where.
            SettingError: A setting has a value that it must not have.
        """
        if split not in ("test", "train"):
            raise SettingError(f"split: expected test or train, found {split!r}")
        if header not in ("auto", "yes", "no"):
            raise SettingError(f"header: expected auto, yes or no, found {header!r}")
        settings = {
            "path": None if path is None else os.fspath(path),
            "labels": None if labels is None else os.fspath(labels),
            "csv_labels": bool(csv_labels),
            "csv_header": header,
            "csv_delimiter": delimiter,
            "csv_label_column": label_column,
            "scale": None if scale is None else _check.scale(scale),
            "train": split == "train",
            "offset": _check.integer("offset", offset, 0),
            "samples": None if samples is None else _check.integer("samples", samples),
        }
        return cls._loaded(json.dumps(settings))

    @classmethod
    def _loaded(cls, settings: str) -> Data:
        return cls(*load_data(settings), settings)

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle names the file, which is read again."""
        if self._settings is None:
            raise TypeError("data: expected those that Data.load made")
        return _loaded, (self._settings,)

    @property
    def description(self) -> str:
        """Where the data come from."""
        return self._origin.description

    @property
    def sha256(self) -> str:
        """SHA-256 of the file with the samples, in hexadecimal."""
        return self._origin.sha256

    def __len__(self) -> int:
        return len(self.x)

    def __iter__(self) -> Any:
        """``x, y = data``."""
        return iter((self.x, self.y))

    def __repr__(self) -> str:
        labels = "with" if self.y is not None else "without"
        return f"<Data {self.description}: {len(self)} samples of shape {self.x.shape[1:]} {labels} labels>"


def _loaded(settings: str) -> Data:
    """Data from their pickle."""
    return Data._loaded(settings)


class Slice:
    """Samples from place `first` on among `total`; the others are on other machines."""

    def __init__(self, x: npt.NDArray[Any], first: int, total: int) -> None:
        self.x, self.first, self.total = x, first, total


def arrays(
    x: npt.ArrayLike | Data | Slice, y: npt.ArrayLike | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint32] | None, Origin | None]:
    """Samples, labels and where they come from, checked, as the native half takes them.

    Raises:
        DataError: A wrong shape, type or value.
    """
    if isinstance(x, Slice):
        x = x.x
    if not isinstance(x, Data):
        found = _check.samples(x)
        return found, None if y is None else _check.labels(y, len(found)), None
    if y is not None:
        raise DataError("y: expected no labels beside Data, which has its own, found some")
    return x.x, None if x.y is None else _check.labels(x.y, len(x.x)), x._origin
