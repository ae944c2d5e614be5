"""What a step of a loss of `weightproof.torch` costs beside plain cross-entropy: forward, backward and Adam, on the CPU or a GPU.

    python benchsuite/torch_losses.py [--threads 2] [--device cpu] [--batch 256] [--compile]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import weightproof as wp
from weightproof.torch import IntervalLoss, LinearLoss, RobustLoss


def dense() -> nn.Module:
    """4 × 256 hidden neurons."""
    layers: list[nn.Module] = []
    for before, after in zip([784, 256, 256, 256, 256], [256, 256, 256, 256, 10], strict=True):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def seconds(module: nn.Module, evaluate: Callable[[], torch.Tensor], device: str, steps: int = 60) -> float:
    """The median time of a step."""
    optimizer = torch.optim.Adam(module.parameters(), 1e-4)
    times = []
    for _ in range(steps):
        begin = time.perf_counter()
        optimizer.zero_grad()
        evaluate().backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[10:])


def main() -> None:
    """Prints a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--batch", type=int, default=256)
    arguments.add_argument("--compile", action="store_true")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    module = dense().to(given.device)
    x = torch.rand(given.batch, 784, device=given.device)
    y = torch.arange(given.batch, device=given.device) % 10
    threat = wp.Threat.absolute(0.001)
    losses = {kind.__name__: kind(module, (784,), threat) for kind in (RobustLoss, IntervalLoss, LinearLoss)}
    calls = {name: torch.compile(loss) if given.compile else loss for name, loss in losses.items()}
    plain = seconds(module, lambda: nn.functional.cross_entropy(module(x), y), given.device)
    print(f"4 x 256, batch {given.batch}, {given.device}, {given.threads} threads: cross-entropy {1e3 * plain:.2f} ms")
    for name, loss in calls.items():
        found = seconds(module, lambda loss=loss: loss(x, y), given.device)
        print(f"{name:<13} {1e3 * found:6.2f} ms  {found / plain:5.2f} x")


if __name__ == "__main__":
    main()
