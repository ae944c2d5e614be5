"""`read_experiment`: findings and tables as the command line writes them."""

from __future__ import annotations

import csv
import json
import pathlib
import subprocess

import pytest

import weightproof as wp


@pytest.fixture(scope="module")
def folder(command_line: str, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    output = tmp_path_factory.mktemp("experiments")
    line = [command_line, "experiment", "generalization-gap", "--quick", "--quiet", "--output", str(output)]
    subprocess.run(line, check=True, capture_output=True)
    return output / "generalization-gap"


def test_tables_are_those_of_the_files(folder: pathlib.Path) -> None:
    found = wp.read_experiment(folder)
    assert found.name == "generalization-gap" and found.findings and not found.partial and found.options["quick"]
    assert found.to_dict() == json.loads((folder / "generalization-gap.json").read_text())
    for table in found:
        with (folder / f"{table.name}.csv").open(newline="") as file:
            written = list(csv.reader(file))
        assert len(written) == len(table) + 1
        for column in table.columns:
            values = table[column]
            assert len(values) == len(table.rows) and table.guarantees[column]
    assert found.name in found._repr_html_() and "<script" not in found._repr_html_()


def test_a_table_names_its_columns(folder: pathlib.Path) -> None:
    table = next(iter(wp.read_experiment(folder / "generalization-gap.json")))
    with pytest.raises(KeyError, match="expected one of"):
        table["no such column"]
    pandas = pytest.importorskip("pandas")
    frame = table.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns) == table.columns
    assert frame.attrs["guarantees"] == table.guarantees


@pytest.mark.parametrize("text", ["", "[1]", '{"schema": "weightproof/certify/1"}'])
def test_other_files_are_refused(text: str, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "r.json"
    file.write_text(text)
    with pytest.raises(wp.FormatError, match=r"r\.json: expected"):
        wp.read_experiment(file)
