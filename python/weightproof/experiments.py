"""Results of `weightproof experiment`, read back: findings, settings, and tables whose columns say what their numbers are worth."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import _show
from ._weightproof import FormatError

if TYPE_CHECKING:
    import pandas

__all__ = ["Experiment", "ExperimentTable", "read_experiment"]

_SCHEMA = "weightproof/experiment/1"


def read_experiment(path: str | os.PathLike[str]) -> Experiment:
    """Reads what ``weightproof experiment NAME --output FOLDER`` wrote.

    Args:
        path: The folder of the experiment, ``FOLDER/NAME``, or its JSON file.

    Raises:
        FormatError: The file is not the result of an experiment.
        OSError: There is no such file.
    """
    file = pathlib.Path(path)
    file = file / f"{file.name}.json" if file.is_dir() else file
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"{file}: expected JSON, found something else: {error}") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != _SCHEMA:
        raise FormatError(f"{file}: expected the schema {_SCHEMA}, found {schema or 'none'}")
    return Experiment(found)


class ExperimentTable:
    """A table of an experiment; ``table["column"]`` are the values of a column.

    Attributes:
        name: Of the file ``NAME.csv``.
        caption: What the rows are.
        columns: Names of the columns.
        guarantees: What the numbers of a column are worth, by column: ``setting``, ``measured``, ``estimate``, ``bound`` and the like.
        rows: Values in the order of the columns; ``None`` where there is none.
    """

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.name: str = found["name"]
        self.caption: str = found["caption"]
        self.columns: list[str] = [column["name"] for column in found["columns"]]
        self.guarantees: dict[str, str] = {column["name"]: column["guarantee"] for column in found["columns"]}
        self.rows: list[list[Any]] = found["rows"]

    def __getitem__(self, column: str) -> list[Any]:
        if column not in self.guarantees:
            raise KeyError(f"expected one of {', '.join(self.columns)}, found {column}")
        place = self.columns.index(column)
        return [row[place] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def to_pandas(self) -> pandas.DataFrame:
        """The table; what its columns are worth is in ``attrs["guarantees"]``.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        frame = pandas.DataFrame(self.rows, columns=self.columns)
        frame.attrs["guarantees"] = dict(self.guarantees)
        return frame

    def _repr_html_(self) -> str:
        def text(value: object) -> str:
            return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

        heads = [["", *self.columns], ["guarantee", *self.guarantees.values()]]
        rows = [[str(number), *map(text, row)] for number, row in enumerate(self.rows)]
        return _show.table(self.name, [("rows", self.caption)], heads + rows)

    def __repr__(self) -> str:
        return f"<table {self.name} of {len(self.rows)} rows: {', '.join(self.columns)}>"


class Experiment:
    """What an experiment found.

    Attributes:
        name: Of the experiment.
        summary: What it does.
        findings: Its conclusions, sentence by sentence.
        partial: Whether it was interrupted.
        options: Seeds, and whether it was the quick size.
        settings: What it was run with.
        data: Parts of the data: description, number of samples, SHA-256.
        version: Of weightproof.
        tables: By name.
    """

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = dict(found)
        self.name: str = found["experiment"]
        self.summary: str = found["summary"]
        self.findings: list[str] = found["findings"]
        self.partial: bool = found["partial"]
        self.options: dict[str, Any] = found["options"]
        self.settings: dict[str, Any] = found["settings"]
        self.data: list[dict[str, Any]] = found["data"]
        self.version: str = found["version"]
        self.tables: dict[str, ExperimentTable] = {
            table["name"]: ExperimentTable(table) for table in found["tables"]
        }

    def __iter__(self) -> Iterator[ExperimentTable]:
        return iter(self.tables.values())

    def to_dict(self) -> dict[str, Any]:
        """The JSON of the command line as a dictionary."""
        return json.loads(json.dumps(self._found))  # type: ignore[no-any-return]

    def _repr_html_(self) -> str:
        about = [("summary", self.summary), *(("finding", finding) for finding in self.findings)]
        if self.partial:
            about.append(("partial", "interrupted before its end"))
        return _show.table(self.name, about, []) + "".join(table._repr_html_() for table in self)

    def __repr__(self) -> str:
        return f"<experiment {self.name}: {', '.join(self.tables)}>"
