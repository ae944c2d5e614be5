"""Types, examples in documentation, and the tutorial."""

from __future__ import annotations

import doctest
import json
import pathlib
import subprocess
import sys

import pytest

import weightproof as wp

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_example_of_the_package_runs() -> None:
    failed, tried = doctest.testmod(wp)
    assert tried >= 5 and failed == 0


def test_every_public_name_is_documented() -> None:
    for name in wp.__all__:
        member = getattr(wp, name)
        assert isinstance(member, str) or member.__doc__, name
        if isinstance(member, type):
            for method, value in vars(member).items():
                if not method.startswith("_") and callable(value):
                    assert value.__doc__, f"{name}.{method}"


def test_the_version_is_that_of_the_crates() -> None:
    manifest = (ROOT / "Cargo.toml").read_text()
    assert f'version = "{wp.__version__}"' in manifest
    assert f'version = "{wp.__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f'version = "{wp.__version__}"' in (ROOT / "Cargo.toml").read_text()


@pytest.fixture
def configuration(tmp_path: pathlib.Path) -> str:
    """Strict types, without those of large libraries, which take minutes and differ between versions."""
    libraries = "".join(f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in ("torch", "pandas", "tqdm"))
    path = tmp_path / "mypy.ini"
    path.write_text(f"[mypy]\nstrict = true\nignore_missing_imports = true\n{libraries}")
    return str(path)


def test_stubs_agree_with_the_module(configuration: str) -> None:
    pytest.importorskip("mypy")
    run("mypy.stubtest", "--mypy-config-file", configuration, "weightproof._weightproof")


def test_types_are_sound(configuration: str) -> None:
    pytest.importorskip("mypy")
    run("mypy", "--config-file", configuration, "-p", "weightproof")


def run(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tutorial_runs(tmp_path: pathlib.Path) -> None:
    """Every cell of docs/tutorial.md, in one session."""
    pytest.importorskip("torch", reason="the tutorial trains a network with PyTorch")
    cells = code(ROOT / "docs" / "tutorial.md")
    assert len(cells) > 5
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(cells)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "result.json").exists()


def test_the_lines_of_the_readme_run(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("torch", reason="README.md shows a network of PyTorch")
    cells = code(ROOT / "README.md")
    assert cells
    for cell in cells:
        done = subprocess.run([sys.executable, "-c", cell], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def code(path: pathlib.Path) -> list[str]:
    """The Python of a Markdown file."""
    cells, inside = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = not inside and line.strip() == "```python"
            if inside:
                cells.append("")
        elif inside:
            cells[-1] += line + "\n"
    return cells


def test_the_command_is_that_of_the_command_line() -> None:
    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        whole = [sys.executable, "-m", "weightproof", *arguments]
        return subprocess.run(whole, capture_output=True, text=True, check=False)

    certified = command("certify", "--samples", "20", "--radius", "0.001", "--format", "json")
    result = wp.certify(*wp.examples.mnist(samples=20), radius=0.001)
    summary = json.loads(certified.stdout)["summary"]
    assert summary["certified"] == round(result.certified_accuracy * 20)
    assert certified.returncode == (0 if summary["certified"] == 20 else 1)
    wrong = command("certify", "--no-such-flag")
    assert wrong.returncode == 2 and not wrong.stdout and "--no-such-flag" in wrong.stderr
