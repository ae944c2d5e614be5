"""The command ``weightproof``: the same as the one that ``cargo install`` builds."""

import sys

from ._weightproof import main as _main


def main() -> None:
    """Runs the command line with the arguments of this process, and ends it with the exit code."""
    sys.exit(_main(["weightproof", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
