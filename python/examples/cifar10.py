"""Trains a convolutional network on CIFAR-10 in PyTorch, plain and by the interval loss, and certifies both without leaving Python.

    python python/examples/cifar10.py cifar-10-batches-bin [--epochs 4] [--samples 10000] [--radius 0.0005] [--device cuda]

DATA is a folder with the binary or the Python batches of CIFAR-10, or a file that `Data.load` reads; its training part trains, its test part is
certified. Results are written to `cifar10-plain.json` and `cifar10-interval.json`, and both to the page `cifar10.html`.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn

import weightproof as wp
from weightproof.torch import IntervalLoss, ramp

SHAPE = (3, 32, 32)


def build() -> nn.Sequential:
    """Two strided convolutions and two dense layers."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 8 * 8, 100), nn.ReLU(), nn.Linear(100, 10)),
    )


def train(module: nn.Module, x: torch.Tensor, y: torch.Tensor, given: argparse.Namespace, robust: bool) -> None:
    """Adam; with the interval loss, radii grow over the first half and the loss goes over from cross-entropy to a half of each."""
    bound = IntervalLoss(module, SHAPE, wp.Threat.absolute(given.radius))
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    batches, done = -(-len(x) // given.batch), 0
    for epoch in range(given.epochs):
        begin, total = time.perf_counter(), 0.0
        for part in torch.randperm(len(x), device=x.device).split(given.batch):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(x[part]), y[part])
            if robust:
                progress = min(2 * done / (given.epochs * batches), 1.0)
                ramp(bound, progress)
                loss = (1 - progress / 2) * loss + progress / 2 * bound(x[part], y[part])
            loss.backward()
            optimizer.step()
            total, done = total + float(loss.detach()) * len(part), done + 1
        print(f"  epoch {epoch + 1}: loss {total / len(x):.3f}, {time.perf_counter() - begin:.0f} s", flush=True)


def main() -> None:
    """Trains, certifies and reports."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data")
    arguments.add_argument("--epochs", type=int, default=4)
    arguments.add_argument("--samples", type=int, default=10_000, help="of the training part")
    arguments.add_argument("--certify", type=int, default=200, help="samples of the test part")
    arguments.add_argument("--radius", type=float, default=0.0005)
    arguments.add_argument("--batch", type=int, default=128)
    arguments.add_argument("--device", default="cpu")
    given = arguments.parse_args()
    training = wp.Data.load(given.data, split="train", samples=given.samples)
    test = wp.Data.load(given.data, split="test", samples=given.certify)
    x = torch.tensor(training.x, dtype=torch.float32, device=given.device).view(-1, *SHAPE)
    y = torch.tensor(training.y, dtype=torch.long, device=given.device)
    results = []
    for name in ("plain", "interval"):
        torch.manual_seed(0)
        module = build().to(given.device)
        print(f"{name}:")
        train(module, x, y, given, robust=name == "interval")
        network = wp.Network.from_torch(module, SHAPE, name=name)
        result = wp.certify(network, test, radius=given.radius)
        print(f"  accuracy {result.accuracy:.1%}, certified {result.certified_accuracy:.1%} at radius {given.radius:g} ({result.guarantee})")
        result.save(f"cifar10-{name}.json")
        results.append(result)
    wp.report(results, "cifar10.html", names=("plain", "interval"))


if __name__ == "__main__":
    main()
