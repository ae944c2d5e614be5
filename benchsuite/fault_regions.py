"""Single bit flips of quantized networks while the input moves (BFAVerifier's question): which share of (image, layer) is certified, and how long it takes.

    python benchsuite/fault_regions.py target/release/weightproof mnist/ mnist_1blk_100.onnx mnist_3blk_100_100_100.onnx

For each network, number of bits and input radius one run of `weightproof faults` for each layer, whose hits are on its weights and biases. A pair is certified when
no flip of one bit of one word of the layer changes the image's class anywhere in its region.
"""

import argparse
import json
import subprocess
from pathlib import Path

BITS = (4, 6, 8)
#: Numerators over 255.
RADII = (0, 1, 2, 4)


def run(command: list[str]) -> dict:
    """The JSON of a run."""
    done = subprocess.run([*command, "--format", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weightproof")
    parser.add_argument("data")
    parser.add_argument("models", nargs="+", metavar="model")
    parser.add_argument("--samples", type=int, default=100)
    options = parser.parse_args()
    heads = " | ".join(f"{radius}/255" if radius else "fixed" for radius in RADII)
    print(f"| network | bits | {heads} | seconds an image, all layers |\n|---|---:|{'---:|' * len(RADII)}---:|")
    for model in options.models:
        layers = [node["name"] for node in json.loads(
            subprocess.run([options.weightproof, "inspect", model, "--format", "json"], stdout=subprocess.PIPE, check=True).stdout
        )["nodes"] if node["kind"] in ("dense", "conv")]
        for bits in BITS:
            shares, seconds = [], []
            for radius in RADII:
                command = [options.weightproof, "faults", model, options.data, "--samples", str(options.samples), "--storage", f"int{bits}"]
                command += ["--input-radius", repr(radius / 255)] if radius else []
                found = [run([*command, "--layers", layer]) for layer in layers]
                pairs = sum(result["summary"]["samples"] for result in found)
                shares.append(100 * sum(result["summary"]["certified"] for result in found) / pairs)
                seconds.append(sum(result["environment"]["seconds"] for result in found) / options.samples)
            cells = " | ".join(f"{share:.1f}%" for share in shares)
            print(f"| {Path(model).stem} | {bits} | {cells} | {', '.join(f'{s:.3f}' for s in seconds)} |", flush=True)


if __name__ == "__main__":
    main()
