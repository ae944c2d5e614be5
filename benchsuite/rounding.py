"""What rigorous bounds cost: processor time and mean bound beside those of real arithmetic, method by method.

    python benchsuite/rounding.py target/release/weightproof assets/mnist-784-128-64-32-10.onnx mnist/ --radius 0.001

The two guarantees take turns on one thread, and the least time of each counts, so that other work on the machine disturbs little. The time of a
run on one sample is taken off: start, network and reading.
"""

import argparse
import json
import resource
import subprocess
import tempfile
from pathlib import Path

SAMPLES = {"norm-product": 10_000, "interval": 10_000, "linear-interval": 10_000, "linear": 10_000, "optimized": 2_000, "exact": 500}
GUARANTEES = ("rigorous", "real-arithmetic")


def run(options: argparse.Namespace, method: str, guarantee: str, samples: int) -> tuple[float, float]:
    """Processor seconds of a run, and its mean bound."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [options.weightproof, "certify", options.model, options.data, "--radius", options.radius, "--threads", "1"]
        command += ["--samples", str(samples), "--method", method, "--guarantee", guarantee, "--format", "json", "--output", result]
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        code = subprocess.run(command, stderr=subprocess.DEVNULL).returncode
        spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        if code not in (0, 1):
            raise SystemExit(f"{' '.join(map(str, command))}: exit code {code}")
        return spent, json.loads(result.read_text())["summary"]["mean_margin_lower"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("weightproof", "model", "data"):
        parser.add_argument(name)
    parser.add_argument("--radius", default="0.001")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print("| method | samples | rigorous | real-arithmetic | ratio | mean bound, rigorous | real-arithmetic |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for method, samples in SAMPLES.items():
        start = min(run(options, method, "rigorous", 1)[0] for _ in range(options.repeats))
        turns = [[run(options, method, guarantee, samples) for guarantee in GUARANTEES] for _ in range(options.repeats)]
        seconds = [min(turn[k][0] for turn in turns) - start for k in (0, 1)]
        means = [turns[0][k][1] for k in (0, 1)]
        print(f"| `{method}` | {samples:,} | {seconds[0]:.3f} s | {seconds[1]:.3f} s | {seconds[0] / seconds[1]:.2f} | {means[0]:.4f} | {means[1]:.4f} |")


if __name__ == "__main__":
    main()
