"""A fault injector as they are written, beside `weightproof faults`: injections per second, and whether any contradicts the table.

    python benchsuite/fault_injection.py target/release/weightproof assets/mnist-784-128-64-32-10.onnx mnist/ --samples 200 --injections 20000

The injector flips one bit of one int8 weight, runs the network on images and compares classes: NumPy in float32, one thread, once with one
image for each flip and once with all images for each flip, as injectors sample. `weightproof faults` settles every flip of every word for
every image. Then flips are drawn, half of them of those that are said to be critical, run on all images in float64, and the number of images
that each breaks is compared with the table. Needs numpy and onnx.
"""

import argparse
import csv
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import numpy_helper  # noqa: E402

#: Margins closer to zero than this are not compared: the two programs round differently.
CLOSE = 1e-9


def on_grid(weight: np.ndarray):
    """The step of int8 words of a layer with these weights, and what rounds numbers to its multiples."""
    step = float(np.float32(np.abs(weight).max() / 127))  # scales are stored in float32
    return step, lambda v: np.clip(np.floor(np.abs(v) / step + 0.5) * np.sign(v), -127, 127) * step


def layers(path: str) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """The step of the int8 words, weights and biases on its grid, of the dense layers of a file of Gemm nodes."""
    graph = onnx.load(path).graph
    values = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type in ("Gemm", "MatMul"):
            weight = values[node.input[1]]
            transposed = any(a.name == "transB" and a.i == 1 for a in node.attribute)
            weight = weight if transposed else weight.T
            bias = values[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight))
            step, grid = on_grid(weight)
            found.append((step, grid(weight), grid(bias)))
    return found


def forward(network: list, z: np.ndarray, first: int = 0) -> np.ndarray:
    for k, (_, weight, bias) in enumerate(network[first:], first):
        z = z @ weight.T + bias
        z = np.maximum(z, 0) if k + 1 < len(network) else z
    return z


def flipped(step: float, value: float, bit: int) -> float:
    """The weight after a flip of one bit of its int8 word."""
    code = int(round(value / step)) & 0xFF
    code ^= 1 << bit
    return (code - 256 if code > 127 else code) * step


def rate(network: list, images: np.ndarray, seconds: float, rng: np.random.Generator) -> tuple[float, int]:
    """Injections per second into float32 copies; each flip is run on all `images`."""
    network = [(step, weight.astype(np.float32), bias.astype(np.float32)) for step, weight, bias in network]
    images = images.astype(np.float32)
    clean = forward(network, images).argmax(1)
    begin, done, changed = time.perf_counter(), 0, 0
    while time.perf_counter() - begin < seconds:
        step, weight, _ = network[rng.integers(len(network))]
        i, j = rng.integers(weight.shape[0]), rng.integers(weight.shape[1])
        before = weight[i, j]
        weight[i, j] = flipped(step, float(before), int(rng.integers(8)))
        changed += int((forward(network, images).argmax(1) != clean).sum())
        weight[i, j] = before
        done += len(images)
    return done / (time.perf_counter() - begin), changed


class Settled(NamedTuple):
    """What `weightproof faults` says of every flip of one bit of a weight in int8."""

    pairs: int
    """Pairs of a flip and an image."""
    seconds: float
    """With start and reading, on one thread."""
    critical: dict[tuple[int, int, int, int], tuple[float, float, int]]
    """Values before and after, and how many images it breaks; by layer, row, column and bit."""
    margins: np.ndarray
    """Of the images, without flips."""


def settle(weightproof: str, model: str, data: str, samples: int) -> Settled:
    """Runs `weightproof faults`."""
    with tempfile.TemporaryDirectory() as folder:
        result, table = Path(folder) / "result.json", Path(folder) / "hits.csv"
        command = [weightproof, "faults", model, data, "--samples", str(samples), "--storage", "int8"]
        command += ["--no-biases", "--property", "prediction", "--threads", "1", "--critical", table, "--format", "json", "--output", result]
        begin = time.perf_counter()
        code = subprocess.run(command, stderr=subprocess.DEVNULL).returncode
        seconds = time.perf_counter() - begin
        if code not in (0, 1):
            raise SystemExit(f"{' '.join(map(str, command))}: exit code {code}")
        found = json.loads(result.read_text())
        names, critical = found["threat"]["perturbed_layers"], {}
        for row in csv.DictReader(table.open()):
            place = (names.index(row["layer"]), int(row["row"]), int(row["column"]), int(row["bit"]))
            critical[place] = (float(row["before"]), float(row["after"]), int(row["broken"]))
    margins = np.array([sample["margin"] for sample in found["samples"]])
    return Settled(found["summary"]["hits"], seconds, critical, margins)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("weightproof", "model", "data"):
        parser.add_argument(name)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--injections", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    network, rng = layers(options.model), np.random.default_rng(0)
    settled = settle(options.weightproof, options.model, options.data, options.samples)
    images = images_of_mnist(options.data, options.samples)
    margins = np.sort(forward(network, images), axis=1)
    assert np.abs(margins[:, -1] - margins[:, -2] - settled.margins).max() < 1e-6, "the two programs run different networks"
    print("| | injections per second |\n|---|---:|")
    for name, part in (("NumPy, one image for each flip", images[:1]), (f"NumPy, {len(images)} images for each flip", images)):
        print(f"| {name} | {rate(network, part, options.seconds, rng)[0]:,.0f} |")
    print(f"| `weightproof faults`, every flip, proved | {settled.pairs / settled.seconds:,.0f} |")
    compare(network, images, settled.critical, options.injections, rng)


def compare(network: list, images: np.ndarray, critical: dict, injections: int, rng: np.random.Generator) -> None:
    """Draws flips, runs them on all images and compares how many they break."""
    clean, places, wrong, close = forward(network, images).argmax(1), list(critical), 0, 0
    for draw in range(injections):
        layer = int(rng.integers(len(network)))
        shape = network[layer][1].shape
        place = (layer, int(rng.integers(shape[0])), int(rng.integers(shape[1])), int(rng.integers(8)))
        if draw % 2 == 0 and places:
            place = places[rng.integers(len(places))]
        layer, i, j, bit = place
        step, weight, _ = network[layer]
        before = weight[i, j]
        weight[i, j] = flipped(step, before, bit)
        outputs = forward(network, images)
        weight[i, j] = before
        own = outputs[np.arange(len(images)), clean]
        others = outputs.copy()
        others[np.arange(len(images)), clean] = -np.inf
        margin = own - others.max(1)
        if (np.abs(margin) < CLOSE).any():
            close += 1
            continue
        wrong += int((margin < 0).sum() != critical.get(place, (0, 0, 0))[2])
    pairs = injections * len(images)
    print(f"\n{injections:,} flips on {len(images)} images, {pairs:,} injections: {wrong} contradict the table, {close} too close to compare")


def images_of_mnist(folder: str, count: int) -> np.ndarray:
    """The first images of the test set of MNIST."""
    import gzip

    path = next(p for p in Path(folder).iterdir() if p.name.startswith("t10k-images"))
    data = (gzip.open if path.suffix == ".gz" else open)(path, "rb").read()
    return np.frombuffer(data, np.uint8, count * 784, 16).reshape(count, 784) / 255.0


if __name__ == "__main__":
    main()
