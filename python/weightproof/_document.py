"""What results without samples share: those of `measure`, `inspect` and `train`."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING, Any, ClassVar

from ._weightproof import Document as _Native
from .result import write

if TYPE_CHECKING:
    import pandas


class Document:
    """A result that is written as the command line writes it."""

    _formats: ClassVar[dict[str, str]] = {".json": "json", ".csv": "csv", ".txt": "text"}

    def __init__(self, report: _Native) -> None:
        self._report = report
        self._found: dict[str, Any] = json.loads(report.write("json"))

    def to_json(self) -> str:
        """The JSON of the command line."""
        return self._report.write("json").decode()

    def to_dict(self) -> dict[str, Any]:
        """The JSON of the command line as a dictionary."""
        found: dict[str, Any] = json.loads(self.to_json())
        return found

    def to_pandas(self) -> pandas.DataFrame:
        """The rows of the command line's CSV as a table.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        return pandas.read_csv(io.BytesIO(self._report.write("csv")))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes ``.json``, ``.csv`` or ``.txt`` as the command line does, or ``.html``, one page with figures, where there is one.

        Raises:
            ValueError: The extension is another one.
            OSError: The file cannot be written.
        """
        write(path, self._formats, self._report.write)

    def __str__(self) -> str:
        return self._report.write("text").decode()
