"""`contrib/release.py`: the version is everywhere, the changelog has its section, and what is wrong changes nothing."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = ["Cargo.toml", "Cargo.lock", "pyproject.toml", "CHANGELOG.md"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def release(root: Path, *words: str) -> tuple[int, str]:
    program = ROOT / "contrib" / "release.py"
    done = subprocess.run([sys.executable, str(program), *words, "--root", str(root)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def texts(root: Path) -> dict[str, str]:
    return {name: (root / name).read_text(encoding="utf-8") for name in FILES}


def test_a_release_has_its_version_everywhere_and_its_notes(copy: Path) -> None:
    old = re.search(r'version = "(.*)"', (copy / "pyproject.toml").read_text())[1]
    unreleased = release(copy, "notes", "Unreleased")
    assert unreleased[0] == 0 and "### Soundness" in unreleased[1]
    lines = texts(copy)["Cargo.lock"].count("\n")
    assert release(copy, "prepare", "99.0.1") == (0, "")
    now = texts(copy)
    assert f'"{old}"' not in now["Cargo.toml"].split("[workspace.dependencies]")[0]
    of_crates = [line for line in now["Cargo.toml"].splitlines() if re.match(r"weightproof.*version = ", line)]
    assert of_crates and all('version = "99.0.1"' in line for line in of_crates)
    locked = re.findall(r'name = "(weightproof[^"]*)"\nversion = "(.*)"', now["Cargo.lock"])
    assert ("weightproof-cli", "99.0.1") in locked and now["Cargo.lock"].count("\n") == lines
    assert 'version = "99.0.1"' in now["pyproject.toml"]
    assert release(copy, "notes", "99.0.1") == unreleased
    assert release(copy, "notes", "Unreleased") == (0, "\n")


@pytest.mark.parametrize(("words", "expected"), [
    (("prepare", "0.0.1"), "expected one above"),
    (("prepare", "1.0"), "expected three numbers with dots, found 1.0"),
    (("notes", "7.7.7"), "expected a section 7.7.7, found Unreleased"),
])
def test_what_is_wrong_changes_nothing(copy: Path, words: tuple[str, str], expected: str) -> None:
    before = texts(copy)
    code, text = release(copy, *words)
    assert code == 2 and expected in text
    assert texts(copy) == before


def test_nothing_is_released_twice(copy: Path) -> None:
    assert release(copy, "prepare", "99.0.1")[0] == 0
    code, text = release(copy, "prepare", "99.0.2")
    assert code == 2 and "expected something unreleased" in text
