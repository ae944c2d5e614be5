"""PyTorchFI's injections beside `weightproof faults`: how many a second, and whether any contradicts the table.

    python benchsuite/pytorchfi_injection.py target/release/weightproof assets/mnist-conv-8-16-10.onnx mnist/ --samples 100 [--source FOLDER]

The same network (int8 weights, biases on the same grid) and the same faults: one bit of the word of one weight flips. PyTorchFI's own
`declare_weight_fi` makes the network after each flip, float32 on one thread for the speed, with one image for each flip and with all images for
each flip; in float64 for the comparison, where half of the flips are of those that are said to be critical, and the number of images that each
breaks is compared with the table. Needs numpy, onnx, torch and pytorchfi, or its unpacked package in `--source`.
"""

import argparse
import importlib
import logging
import sys
import time
from pathlib import Path

from fault_injection import CLOSE, flipped, images_of_mnist, on_grid, settle  # noqa: I001 (sets the number of threads)

import numpy as np
import onnx
import torch
from onnx import numpy_helper


def build(path: str) -> tuple[torch.nn.Sequential, list[float]]:
    """The network that int8 words stand for, of a chain of Conv, Gemm, Relu and Flatten, in float64; and the step of each layer."""
    graph = onnx.load(path).graph
    values = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in graph.initializer}
    modules, steps = [], []
    for node in graph.node:
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Relu":
            modules.append(torch.nn.ReLU())
        elif node.op_type in ("Flatten", "Reshape"):
            modules.append(torch.nn.Flatten())
        elif node.op_type in ("Conv", "Gemm"):
            weight, bias = values[node.input[1]], values[node.input[2]]
            if node.op_type == "Gemm":
                weight = weight if settings.get("transB") else weight.T
                module = torch.nn.Linear(weight.shape[1], weight.shape[0])
            else:
                pads = settings.get("pads", [0] * 4)
                assert pads[:2] == pads[2:], f"{node.name}: expected the same padding on both sides, found {pads}"
                shape = (weight.shape[1], weight.shape[0], tuple(weight.shape[2:]))
                module = torch.nn.Conv2d(*shape, stride=tuple(settings.get("strides", [1, 1])), padding=tuple(pads[:2]))
            step, grid = on_grid(weight)
            module.weight.data, module.bias.data = torch.tensor(grid(weight)), torch.tensor(grid(bias))
            steps.append(step)
            modules.append(module)
        else:
            raise SystemExit(f"{node.name}: expected Conv, Gemm, Relu, Flatten or Reshape, found {node.op_type}")
    return torch.nn.Sequential(*modules), steps


class Injector:
    """PyTorchFI on a network."""

    def __init__(self, module, network: torch.nn.Sequential, steps: list[float], images: np.ndarray, kind: torch.dtype):
        self.steps = steps
        self.network = network.to(kind)
        self.images = torch.tensor(images, dtype=kind)
        affine = [torch.nn.Conv2d, torch.nn.Linear]
        self.tool = module.fault_injection(self.network, len(images), list(images.shape[1:]), layer_types=affine)
        self.shapes = [tuple(layer.weight.shape) for layer in self.network if type(layer) in affine]

    def run(self, layer: int, place: tuple[int, ...], bit: int) -> torch.Tensor:
        """Outputs after a flip."""
        places = [[k] for k in place] + [[None]] * (4 - len(place))
        flip = lambda weight, at: flipped(self.steps[layer], float(weight[at]), bit)  # noqa: E731
        after = self.tool.declare_weight_fi(function=flip, layer_num=[layer], k=places[0], dim1=places[1], dim2=places[2], dim3=places[3])
        with torch.no_grad():
            return after(self.images)

    def draw(self, rng: np.random.Generator) -> tuple[int, tuple[int, ...], int]:
        layer = int(rng.integers(len(self.shapes)))
        return layer, tuple(int(rng.integers(n)) for n in self.shapes[layer]), int(rng.integers(8))


def rate(injector: Injector, seconds: float, rng: np.random.Generator) -> float:
    """Injections per second."""
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        injector.run(*injector.draw(rng))
        done += len(injector.images)
    return done / (time.perf_counter() - begin)


def compare(injector: Injector, critical: dict, injections: int, rng: np.random.Generator) -> None:
    """Draws flips, runs them on all images and compares how many they break."""
    with torch.no_grad():
        clean = injector.network(injector.images).argmax(1)
    rows, places, wrong, close, broken = np.arange(len(clean)), list(critical), 0, 0, 0
    for draw in range(injections):
        layer, place, bit = injector.draw(rng)
        if draw % 2 == 0 and places:
            layer, row, column, bit = places[rng.integers(len(places))]
            place = (row, *(int(k) for k in np.unravel_index(column, injector.shapes[layer][1:])))
        column = int(np.ravel_multi_index(place[1:], injector.shapes[layer][1:]))
        outputs = injector.run(layer, place, bit)
        own = outputs[rows, clean].clone()
        outputs[rows, clean] = -torch.inf
        margin = own - outputs.max(1).values
        if (margin.abs() < CLOSE).any():
            close += 1
            continue
        found, told = int((margin < 0).sum()), critical.get((layer, place[0], column, bit), (0, 0, 0))[2]
        wrong, broken = wrong + (found != told), broken + found
    pairs = injections * len(clean)
    print(f"\n{injections:,} flips on {len(clean)} images, {pairs:,} injections, {broken:,} break: {wrong} flips contradict the table, {close} too close to compare")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("weightproof", "model", "data"):
        parser.add_argument(name)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--injections", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--source", type=Path)
    options = parser.parse_args()
    if options.source:
        sys.path.insert(0, str(options.source))
    torch.set_num_threads(1)
    module, rng = importlib.import_module("pytorchfi.core"), np.random.default_rng(0)
    logging.disable(logging.INFO)  # PyTorchFI writes several lines for each flip
    network, steps = build(options.model)
    settled = settle(options.weightproof, options.model, options.data, options.samples)
    images = images_of_mnist(options.data, options.samples)
    images = images.reshape(-1, 1, 28, 28) if any(isinstance(m, torch.nn.Conv2d) for m in network) else images
    print("| | injections per second |\n|---|---:|")
    for part in (images[:1], images):
        injector = Injector(module, network, steps, part, torch.float32)
        print(f"| PyTorchFI, {len(part)} image{'s' * (len(part) > 1)} for each flip | {rate(injector, options.seconds, rng):,.0f} |")
    print(f"| `weightproof faults`, every flip, proved | {settled.pairs / settled.seconds:,.0f} |")
    network, _ = build(options.model)
    injector = Injector(module, network, steps, images, torch.float64)
    with torch.no_grad():
        best = injector.network(injector.images).topk(2, dim=1).values
    assert np.abs((best[:, 0] - best[:, 1]).numpy() - settled.margins).max() < 1e-6, "the two programs run different networks"
    compare(injector, settled.critical, options.injections, rng)


if __name__ == "__main__":
    main()
