"""Devices drawn by the noise model of an analog simulator, aihwkit's `PCMLikeNoiseModel`, beside what weightproof proves of the same settings.

    python benchsuite/aihwkit_noise.py target/release/weightproof assets/mnist-784-128-64-32-10.onnx mnist/ --samples 1000
        [--scale 0.1] [--devices 25] [--source AIHWKIT/src]

For 1 second, an hour, a day and a year after programming, devices are drawn by the simulator's own code: programming errors, drift and read
noise of every weight, all of them at `--scale` times the published size; the means of the layers are scaled back as aihwkit's global drift compensation does.
The accuracy of each device on the images is measured, in float32. weightproof certifies the same file of settings: how many images keep
their class but with a probability of 10⁻⁶ each, and how many do on average over devices, at least. Needs numpy, onnx, torch and aihwkit; with
`--source` the Python files of aihwkit's noise model are enough, which need no compiled module.
"""

import argparse
import gzip
import importlib
import json
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

TIMES = {"1s": 1.0, "1h": 3600.0, "1d": 86400.0, "1y": 365 * 86400.0}
FAILURE = 1e-6


def noise_model(source: Path | None, scale: float):
    """The simulator's model, from an installed package or from its source files alone."""
    if source is not None:
        for name in ("aihwkit", "aihwkit.inference", "aihwkit.inference.noise", "aihwkit.inference.converter"):
            package = types.ModuleType(name)
            package.__path__ = [str(source.joinpath(*name.split(".")))]
            sys.modules[name] = package
    model = importlib.import_module("aihwkit.inference.noise.pcm").PCMLikeNoiseModel
    return model(g_max=25.0, prog_noise_scale=scale, read_noise_scale=scale, drift_scale=scale)


def layers(path: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (outputs, inputs) and biases of the dense layers of a file of Gemm nodes."""
    graph = onnx.load(path).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type in ("Gemm", "MatMul"):
            weight = values[node.input[1]]
            transposed = any(a.name == "transB" and a.i == 1 for a in node.attribute)
            found.append((weight if transposed else weight.T, values[node.input[2]]))
    return found


def images(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels over 255 and labels of the first images of MNIST's test set."""

    def read(pattern: str) -> bytes:
        path = next(iter(sorted(folder.glob(pattern))))
        return gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()

    pixels = np.frombuffer(read("t10k-images*"), np.uint8, offset=16).reshape(-1, 784)[:count]
    return pixels.astype(np.float32) / 255, np.frombuffer(read("t10k-labels*"), np.uint8, offset=8)[:count]


def accuracy(network: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray, labels: np.ndarray) -> float:
    for k, (weight, bias) in enumerate(network):
        x = x @ weight.T + bias
        x = np.maximum(x, 0) if k + 1 < len(network) else x
    return float((x.argmax(axis=1) == labels).mean())


def drawn(model, weight: np.ndarray, seconds: float) -> np.ndarray:
    """One device: noise and drift of the weights, then the mean magnitude scaled back to that at the first reading."""
    import torch

    w = torch.from_numpy(np.array(weight))
    programmed, exponents = model.apply_programming_noise(w)
    first = model.apply_drift_noise(programmed, exponents, 0.0)
    later = model.apply_drift_noise(programmed, exponents, seconds)
    return (later * (first.abs().mean() / later.abs().mean())).numpy()


def settings(scale: float) -> str:
    return (
        f'kind = "pcm"\nbiases = false\n[pcm]\nprogramming-scale = {scale}\ndrift-scale = {scale}\nread-scale = {scale}\n'
        'compensation = "mean"\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weightproof")
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--devices", type=int, default=25)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--source", type=Path)
    args = parser.parse_args()
    model, network = noise_model(args.source, args.scale), layers(args.model)
    x, labels = images(args.data, args.samples)
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "pcm.toml"), Path(folder, "out.json")
        file.write_text(settings(args.scale))
        command = [args.weightproof, "certify", args.model, args.data, "--samples", args.samples, "--noise", file]
        command += ["--time", ",".join(TIMES), "--failure-probability", FAILURE, "--format", "json", "--output", out]
        ended = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if ended.returncode not in (0, 1):
            sys.exit(ended.stderr)
        results = json.loads(out.read_text())["results"]
    print(f"{args.devices} devices at {args.scale} of the published noise, {len(labels)} images, clean {accuracy(network, x, labels):.2%}")
    print("| after | simulated: mean | least | 5% | median | certified, each but 1e-6 | mean over devices, at least | above the line by |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for (name, seconds), result in zip(TIMES.items(), results, strict=True):
        assert result["radius"] == seconds, (result["radius"], seconds)
        shares = np.sort([accuracy([(drawn(model, w, seconds), b) for w, b in network], x, labels) for _ in range(args.devices)])
        proved, line = result["summary"]["certified_accuracy"], result["summary"]["expected_accuracy_at_least"]
        mean = shares.mean()
        quantile = [shares[round((len(shares) - 1) * q)] for q in (0.0, 0.05, 0.5)]
        shown = " | ".join(f"{v:.2%}" for v in [mean, *quantile, proved, line])
        print(f"| {name} | {shown} | {mean - line:.2%} |", flush=True)
        # A mean of so few devices has an error of its own; the proof is about all of them.
        if mean < line - 3 * shares.std() / np.sqrt(len(shares)) - 1e-12:
            sys.exit(f"contradicted after {name}: {mean} below {line}")


if __name__ == "__main__":
    main()
