"""What code that was compiled for the machine's vectors calls: functions of the oldest machine, in the middle of loops.

    CARGO_PROFILE_RELEASE_DEBUG=line-tables-only cargo build --release -p weightproof-cli --target-dir traced
    python benchsuite/vector_calls.py traced/release/weightproof

`vectorized!` compiles its closure for the best instructions. What the compiler does not inline into it is compiled without them, and changing over
between the two costs more than the work of a number. Each line is a function that is called, the number of calls, and the two innermost
lines of our own code around them. Left out: panics, copies of memory and functions of libm, which have instructions of their own. Calls
once a row or once a block are harmless. Wants binutils.
"""

import argparse
import collections
import re
import subprocess

HARMLESS = re.compile(r"panic|unwrap_failed|expect_failed|len_mismatch|index_fail|handle_alloc|Unwind|mem(cpy|set|move)|GLIBC|_DYNAMIC")


def calls(binary: str) -> list[tuple[str, str]]:
    """Address and target of direct calls in functions that `pulp` compiles for vectors."""
    command = ["objdump", "--disassemble", "--demangle", "--no-show-raw-insn", "--section", ".text", binary]
    found, inside = [], False
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.endswith(">:\n"):
                inside = "vectorize::imp" in line
            elif inside and (call := re.match(r"\s*([0-9a-f]+):\s+call\s+\S+\s+<(.*)>", line)):
                target = call[2].split("+0x")[0]
                if not HARMLESS.search(target):
                    found.append((call[1], target))
    return found


def own_lines(binary: str, addresses: list[str]) -> dict[str, list[str]]:
    """Lines of our own crates around each address, the innermost first."""
    command = ["addr2line", "--exe", binary, "--inlines", "--addresses"]
    out = subprocess.run(command, input="\n".join(addresses), capture_output=True, text=True, check=True).stdout
    lines, at = {}, ""
    for line in out.splitlines():
        if line.startswith("0x"):
            at = line[2:].lstrip("0")
            lines[at] = []
        elif own := re.search(r"crates/(weightproof[^/]*/src/\S+)", line):
            lines[at].append(own[1])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="with line tables")
    options = parser.parse_args()
    found = calls(options.binary)
    around = own_lines(options.binary, [address for address, _ in found])
    counts = collections.Counter((target, *around.get(address, [])[:2]) for address, target in found)
    for row, count in counts.most_common():
        print(count, *row, sep="  ")


if __name__ == "__main__":
    main()
