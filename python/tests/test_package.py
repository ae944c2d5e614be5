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


def test_docstrings_stand_alone() -> None:
    """Every parameter is explained where it stands, and in the same words as elsewhere where it is the same."""
    import inspect

    functions = [member for name in wp.__all__ if inspect.isfunction(member := getattr(wp, name))]
    methods = [
        value
        for name in wp.__all__
        if inspect.isclass(member := getattr(wp, name))
        for method, value in inspect.getmembers(member, inspect.isroutine)
        if not method.startswith("_") and getattr(value, "__module__", "").startswith("weightproof")
    ]
    seen = 0
    for function in functions + methods:
        names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls", "rest")]
        text = inspect.getdoc(function) or ""
        assert "other arguments are those of" not in text
        # One or two arguments that the first line names need no list.
        missing = [name for name in names if len(names) > 2 and f"    {name}: " not in text]
        assert not missing, f"{function.__qualname__}: {missing}"
        seen += len(names)
    assert seen > 150


def test_the_version_is_that_of_the_crates() -> None:
    manifest = (ROOT / "Cargo.toml").read_text()
    assert f'version = "{wp.__version__}"' in manifest
    assert f'version = "{wp.__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f'version = "{wp.__version__}"' in (ROOT / "Cargo.toml").read_text()


@pytest.fixture
def configuration(tmp_path: pathlib.Path) -> str:
    """Strict types, without those of large libraries, which take minutes and differ between versions."""
    libraries = "".join(f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in ("torch", "ray", "pandas", "tqdm", "matplotlib"))
    path = tmp_path / "mypy.ini"
    path.write_text(f"[mypy]\nstrict = true\nignore_missing_imports = true\n{libraries}")
    return str(path)


def test_stubs_agree_with_the_module(configuration: str) -> None:
    pytest.importorskip("mypy")
    run("mypy.stubtest", "--mypy-config-file", configuration, "weightproof._weightproof")


def test_types_are_sound(configuration: str) -> None:
    pytest.importorskip("mypy")
    run("mypy", "--config-file", configuration, "-p", "weightproof")


def test_misspelt_words_are_found_before_a_run(configuration: str, tmp_path: pathlib.Path) -> None:
    """A type checker knows the words of every setting and the columns of every result."""
    pytest.importorskip("mypy")
    lines = [
        'wp.certify(network, data, method="liner")',
        'wp.certify(network, data, property="labels")',
        'wp.certify(network, data, guarantee="rigourous")',
        'wp.certify(network, data, threat="absolut")',
        'wp.attack(network, data, attack="universe")',
        'wp.radius(network, data, attack="universal")',
        'wp.measure(network, data, method="exact")',
        'wp.Threat.number_format("bf8")',
        'wp.Network.from_onnx("n.onnx", batch_norm="folded")',
        "wp.certify(network, data).margin_lowr",
    ]
    program = tmp_path / "misspelt.py"
    program.write_text("import weightproof as wp\n\nnetwork, data = wp.examples.mnist()\n" + "\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", configuration, str(program)], capture_output=True, text=True, check=False
    )
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error: " in line}
    assert found == {4 + k for k in range(len(lines))}, done.stdout


def test_the_words_are_those_of_the_library() -> None:
    import typing

    from weightproof import _words

    def words(alias: object) -> set[str]:
        nested = [words(part) if typing.get_args(part) else {part} for part in typing.get_args(alias)]
        return set().union(*nested)

    network, data = wp.examples.mnist(samples=1)

    def listed(match: str, **setting: object) -> set[str]:
        ask = wp.attack if "attack" in setting else wp.certify
        with pytest.raises(wp.Error, match=match) as raised:
            ask(network, data, radius=0.001, **setting)  # type: ignore[arg-type, operator]
        return set(str(raised.value).split("expected ")[1].removeprefix("one of ").split(", found ")[0].replace(" or ", ", ").split(", "))

    assert words(_words.Method) == listed("method", method="?")
    assert words(_words.Attack) == listed("attack", attack="?")
    assert words(_words.Guarantee) == listed("guarantee", guarantee="?")
    assert words(_words.Precision) == listed("precision", precision="?")
    assert words(_words.Layout) == listed("layout", layout="?")
    # Two more are for networks with one output or with limits of their own, and are read elsewhere.
    known = listed("property", property="?")
    assert known < words(_words.Property)
    for word in words(_words.Property) - known:
        with pytest.raises(wp.Error) as raised:
            wp.certify(network, data, radius=0.001, property=word)  # type: ignore[arg-type]
        assert f"found {word}" not in str(raised.value)
    for kind in words(_words.Kind):
        assert wp.Threat(kind).kind == kind
    assert {f"format:{name}" for name in words(_words.FloatFormat)} <= words(_words.Kind)


def test_a_misspelt_column_names_the_right_one() -> None:
    result = wp.certify(*wp.examples.mnist(samples=2), radius=0.001, method="interval")
    with pytest.raises(AttributeError, match="a result of certify has no 'margin_lowr'; its columns are index, .*\nhint: margin_lower"):
        result.margin_lowr  # type: ignore[attr-defined]  # noqa: B018


def run(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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


#: Pages about this package; others show a few lines of another one, which have files of their own.
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if any("import weightproof" in cell for cell in code(path)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_of_the_book_run(page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Every cell of Python of a page, in one session."""
    program = "\n".join(code(page))
    for library, sign in (("torch", "torch"), ("matplotlib", "wp.plot"), ("pandas", "pandas"), ("pandas", ".layers(")):
        if sign in program:
            pytest.importorskip(library)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_tasks_of_python_have_a_page() -> None:
    assert {"tutorial", "pytorch-int8", "compare-training", "limiting-layer"} <= {page.stem for page in PAGES}


def test_the_lines_of_the_readme_run(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("torch", reason="README.md shows a network of PyTorch")
    cells = code(ROOT / "README.md")
    assert cells
    for cell in cells:
        done = subprocess.run([sys.executable, "-c", cell], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


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


def test_pip_brings_the_command() -> None:
    from importlib import metadata

    try:
        points = metadata.distribution("weightproof").entry_points
    except metadata.PackageNotFoundError:
        pytest.skip("the package is used from its folder, not installed")
    (point,) = [point for point in points if point.group == "console_scripts"]
    assert (point.name, point.value) == ("weightproof", "weightproof.__main__:main")
    program = pathlib.Path(sys.executable).with_name("weightproof")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, f"weightproof {wp.__version__}")


def test_tables_fit_into_a_terminal_and_stay_whole_in_a_pipe(command_line: str) -> None:
    """Words go on below themselves; COLUMNS decides over the size of the terminal; a pipe has lines of any length."""
    pty = pytest.importorskip("pty", reason="pseudo terminals are of Unix")
    import fcntl
    import os
    import struct
    import termios

    def printed(columns: int, environment: dict[str, str]) -> list[str]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        clean = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        with subprocess.Popen([command_line, "inspect"], stdout=theirs, env=clean | environment):
            os.close(theirs)
            found = b""
            try:
                while part := os.read(ours, 4096):
                    found += part
            except OSError:
                pass  # Linux says so at the end.
        os.close(ours)
        return found.decode().splitlines()

    piped = subprocess.run([command_line, "inspect"], capture_output=True, text=True, check=True).stdout.splitlines()
    head = piped.index("")
    assert max(len(line) for line in piped[:head]) > 70
    for columns, environment, most in ((70, {}, 70), (200, {"COLUMNS": "70"}, 70), (50, {}, 50)):
        lines = printed(columns, environment)
        narrow = lines[: lines.index("")]
        assert max(len(line) for line in narrow) <= most and len(narrow) > head, lines
        assert "".join("".join(narrow).split()) == "".join("".join(piped[:head]).split())
    assert printed(300, {}) == piped
