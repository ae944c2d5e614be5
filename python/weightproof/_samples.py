"""Samples as the native half takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _check
from ._weightproof import DataError, Origin
from .data import Data


@dataclass(frozen=True)
class Samples:
    """Arrays, labels and where they come from, checked."""

    x: npt.NDArray[Any]
    y: npt.NDArray[np.uint32] | None
    origin: Origin | None

    @classmethod
    def of(cls, x: npt.ArrayLike | Data, y: npt.ArrayLike | None = None) -> Samples:
        """Of what users give.

        Raises:
            DataError: A wrong shape, type or value.
        """
        if not isinstance(x, Data):
            found = _check.samples(x)
            return cls(found, None if y is None else _check.labels(y, len(found)), None)
        if y is not None:
            raise DataError("y: expected no labels beside Data, which has its own, found some")
        return cls(x.x, None if x.y is None else _check.labels(x.y, len(x.x)), x._origin)

    def native(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint32] | None, Origin | None]:
        """The three of them."""
        return self.x, self.y, self.origin
