"""Rates of products and convolutions as shares of the rate of one plain product, from what criterion has measured.

    cargo bench -p weightproof-benches -- 'products|convolutions'
    python3 benchsuite/kernel_rates.py [target/criterion]

The plain product is 512x1024 by 1024x1024, in the same precision and the same run. Rates are those of the fastest sample, which other work on
the machine disturbs least. Prints Markdown; needs nothing but Python 3.
"""

import collections
import json
import sys
from pathlib import Path

REFERENCE = ("products", "plain", "512x1024x1024")


def rates(folder: Path) -> dict[tuple[str, str, str], dict[str, float]]:
    """Multiply-adds in a nanosecond, by (group, kernel, shape) and by precision with the number of rows, where the name has one."""
    found = collections.defaultdict(dict)
    for path in sorted(folder.glob("*/*/*/new/benchmark.json")):
        benchmark = json.loads(path.read_text())
        if benchmark["group_id"] not in ("products", "convolutions"):
            continue
        sample = json.loads((path.parent / "sample.json").read_text())
        nanoseconds = min(time / repeats for time, repeats in zip(sample["times"], sample["iters"]))
        kernel, precision = benchmark["function_id"].rsplit("-", 1)
        shape, *rows = benchmark["value_str"].split("/")
        column = ", ".join([precision, *rows])
        found[benchmark["group_id"], kernel, shape][column] = benchmark["throughput"]["Elements"] / nanoseconds
    return found


def table(group: str, found: dict[tuple[str, str, str], dict[str, float]]) -> None:
    """Prints the shares of one group."""
    reference = found[REFERENCE]
    lines = {key: line for key, line in found.items() if key[0] == group}
    columns = sorted({column for line in lines.values() for column in line}, key=lambda c: (c[:3], int(c[5:] or 0)))
    print(f"\n| kernel | shape | {' | '.join(columns)} |")
    print("|---|---|" + "---:|" * len(columns))
    for (_, kernel, shape), line in lines.items():
        cells = [f"{line[column] / reference[column[:3]]:.0%}" if column in line else "" for column in columns]
        print(f"| {kernel} | {shape} | {' | '.join(cells)} |")


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "target/criterion")
    found = rates(folder)
    if REFERENCE not in found:
        print(f"{folder}: expected the benchmark {'/'.join(REFERENCE)}, found none", file=sys.stderr)
        return 1
    print(", ".join(f"{precision}: {rate:.0f} billion multiply-adds a second" for precision, rate in found[REFERENCE].items()))
    for group in ("products", "convolutions"):
        table(group, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
