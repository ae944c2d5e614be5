"""What calling weightproof from Python costs beside the proof itself.

    python benchsuite/python_overhead.py [REPETITIONS]

Certifies 10,000 samples (the embedded thousand, ten times) with the embedded network and compares the time of the whole call, arrays to
result, with the time that the engine reports for bounds alone. Both are of the same call, so other work on the machine counts for both; the
median of the ratios of all repetitions is the number to look at.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np

import weightproof as wp


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    network, data = wp.examples.mnist()
    x, y = np.tile(data.x, (10, 1, 1)), np.tile(np.asarray(data.y), 10)
    print(f"{len(x)} samples, radius 0.001, medians of {repetitions} calls")
    print(f"{'array':10} {'method':14} {'call s':>8} {'engine s':>9} {'overhead':>9}  with summary and arrays")
    for dtype in (np.float64, np.float32):
        for method in ("interval", "linear-interval", "linear", "optimized"):
            measure(network, x.astype(dtype), y, method, repetitions)


def measure(network: wp.Network, x: np.ndarray, y: np.ndarray, method: str, repetitions: int) -> None:
    calls, engines, overheads, used = [], [], [], []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        result = wp.certify(network, x, y, radius=0.001, method=method)
        call = time.perf_counter() - start
        _ = result.margin_lower, result.verdict, result.certified_accuracy
        used.append((time.perf_counter() - start) / result.seconds - 1)
        calls.append(call)
        engines.append(result.seconds)
        overheads.append(call / result.seconds - 1)
    # The first call warms up.
    middle = [statistics.median(values[1:]) for values in (calls, engines, overheads, used)]
    print(f"{x.dtype!s:10} {method:14} {middle[0]:8.3f} {middle[1]:9.3f} {middle[2]:9.1%}  {middle[3]:9.1%}")


main()
