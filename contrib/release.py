"""Versions, changelog and notes of a release.

    python3 contrib/release.py prepare 0.2.0      # writes the version everywhere, and gives what is unreleased in CHANGELOG.md its heading
    python3 contrib/release.py notes 0.2.0        # prints the notes of a release, or of `Unreleased`

What `prepare` changed is committed and tagged by hand: `git commit -am "Release 0.2.0" && git tag v0.2.0 && git push --tags`; the workflow `wheels.yml` builds
wheels and archives for the tag. Needs nothing but Python 3.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from pathlib import Path

UNRELEASED = "Unreleased"


class ReleaseError(Exception):
    """What stands in the way, for people."""


def notes(root: Path, version: str) -> str:
    """The section of the changelog, without its heading."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    for title, section in zip(sections[1::2], sections[2::2]):
        if title.split(" ")[0] == version:
            return section.strip() + "\n"
    found = ", ".join(title.split(" ")[0] for title in sections[1::2])
    raise ReleaseError(f"CHANGELOG.md: expected a section {version}, found {found}")


def prepare(root: Path, version: str, date: str) -> None:
    """Writes the version and the heading. Nothing is written when something is wrong."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"version: expected three numbers with dots, found {version}")
    texts = {name: (root / name).read_text(encoding="utf-8") for name in ("Cargo.toml", "Cargo.lock", "pyproject.toml", "CHANGELOG.md")}
    found = re.search(r'^\[workspace\.package\]\nversion = "(.*)"', texts["Cargo.toml"], flags=re.MULTILINE)
    if found is None:
        raise ReleaseError("Cargo.toml: expected the version below [workspace.package], found none")
    old = found[1]
    if tuple(map(int, version.split("."))) <= tuple(map(int, old.split("."))):
        raise ReleaseError(f"version: expected one above {old}, found {version}")
    if not notes(root, UNRELEASED).strip():
        raise ReleaseError("CHANGELOG.md: expected something unreleased, found nothing")
    before = re.escape(f'version = "{old}"')
    # Of the workspace itself and of its crates below [workspace.dependencies], which stand in one line each.
    texts["Cargo.toml"] = re.sub(rf'^((?:weightproof.*)?){before}', rf'\g<1>version = "{version}"', texts["Cargo.toml"], flags=re.MULTILINE)
    texts["Cargo.lock"] = re.sub(rf'^(name = "weightproof[^"]*"\n){before}', rf'\g<1>version = "{version}"', texts["Cargo.lock"], flags=re.MULTILINE)
    texts["pyproject.toml"] = re.sub(rf"^{before}", f'version = "{version}"', texts["pyproject.toml"], flags=re.MULTILINE)
    texts["CHANGELOG.md"] = texts["CHANGELOG.md"].replace(f"## {UNRELEASED}\n", f"## {UNRELEASED}\n\n## {version} - {date}\n", 1)
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "notes"])
    parser.add_argument("version")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help="the repository [default: that of this file]")
    given = parser.parse_args()
    try:
        if given.what == "notes":
            sys.stdout.write(notes(given.root, given.version))
        else:
            prepare(given.root, given.version, datetime.date.today().isoformat())
    except (ReleaseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
