"""Checks of what users give, with the messages of the library."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._weightproof import DataError, SettingError

#: A hundred years: a longer time is a mistake.
_MOST_SECONDS = 3_155_760_000.0
_MOST_THREADS = 1024

_EXPECTED = {
    "finite": "a finite number",
    "not negative": "a finite number of at least 0",
    "positive": "a finite number above 0",
}


def number(name: str, value: Any, within: str = "finite", error: type[Exception] = SettingError) -> float:
    """A finite number; minus zero becomes zero."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    outside = (within == "not negative" and found < 0.0) or (within == "positive" and found <= 0.0)
    if isinstance(value, (str, bytes, bool)) or not math.isfinite(found) or outside:
        raise error(f"{name}: expected {_EXPECTED[within]}, found {_shown(value)}")
    return found + 0.0


def numbers(name: str, values: Any, within: str = "finite", error: type[Exception] = SettingError) -> list[float]:
    """One number or several."""
    if isinstance(values, (str, bytes)) or np.ndim(values) == 0:
        return [number(name, values, within, error)]
    found = [number(name, value, within, error) for value in values]
    if not found:
        raise error(f"{name}: expected at least 1 number, found none")
    return found


def scale(value: Any) -> str:
    """A factor of data as text: a number above 0, or a ratio such as ``1/255``, which the native half checks."""
    return value.strip() if isinstance(value, str) else repr(number("scale", value, "positive"))


def integer(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """An integer within bounds."""
    expected = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
    try:
        found = operator.index(value)
    except TypeError:
        found = least - 1
    if isinstance(value, bool) or found < least or (most is not None and found > most):
        raise SettingError(f"{name}: expected {expected}, found {_shown(value)}")
    return found


def seconds(name: str, value: Any) -> float:
    """A time in seconds."""
    found = number(name, value, "positive")
    if found > _MOST_SECONDS:
        raise SettingError(f"{name}: expected at most {_MOST_SECONDS:.0f} seconds, found {_shown(value)}")
    return found


def shard(value: Any) -> tuple[int, int]:
    """Number of a part, and of all parts."""
    try:
        number, of = value
    except (TypeError, ValueError):
        raise SettingError(f"shard: expected (i, n) with i from 1 to n, found {_shown(value)}") from None
    return integer("shard", number), integer("shard", of)


def path(value: str | os.PathLike[str] | None) -> str | None:
    """A path as text."""
    return None if value is None else os.fspath(value)


def threads(value: Any) -> int:
    """A number of threads."""
    return integer("threads", value, 1, _MOST_THREADS)


def _shown(value: Any) -> str:
    return repr(value)[:60]


_TYPES = (np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.uint8))


def samples(x: Any) -> npt.NDArray[Any]:
    """Samples as the native half reads them: float64, float32 or uint8, C-contiguous; copied only where they are not."""
    array = _array("x", x)
    dtype = array.dtype.newbyteorder("=")
    if dtype not in _TYPES:
        raise DataError(
            f"x: expected numbers of type float64, float32 or uint8, found {array.dtype}\n"
            "hint: x.astype(np.float32); uint8 is multiplied by 1/255 unless scale says otherwise, other types are not"
        )
    if array.ndim < 2:
        raise DataError(f"x: expected samples of shape (n, …), found the shape {array.shape}\nhint: x[None] is one sample")
    if array.shape[0] == 0:
        raise DataError("x: expected at least 1 sample, found 0")
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])


def labels(y: Any, count: int) -> npt.NDArray[np.uint32]:
    """Labels as the native half reads them: uint32, C-contiguous; copied only where they are not."""
    array = _array("y", y)
    if array.dtype.kind not in "iu":
        raise DataError(f"y: expected labels of an integer type, found {array.dtype}\nhint: y.astype(int)")
    if array.shape != (count,):
        raise DataError(f"y: expected {count} labels, one for each sample, found the shape {array.shape}")
    if count and (int(array.min()) < 0 or int(array.max()) >= 2**32):
        at = int(np.argmax((array < 0) | (array >= 2**32)))
        raise DataError(f"y: sample {at}: expected a label of at least 0, found {array[at]}")
    return np.require(array, np.uint32, ["C_CONTIGUOUS", "ALIGNED"])


def _array(name: str, values: Any) -> npt.NDArray[Any]:
    """An array that shares the memory of arrays and of tensors on the CPU."""
    if hasattr(values, "detach") and hasattr(values, "cpu"):
        values = values.detach().cpu()
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected an array, found {type(values).__name__}: {error}") from None


def names(name: str, values: Sequence[str] | str) -> list[str]:
    """Names of layers; one name is a list of one."""
    found = [values] if isinstance(values, str) else list(values)
    if not all(isinstance(value, str) for value in found):
        raise SettingError(f"{name}: expected names, found {_shown(values)}")
    return found
