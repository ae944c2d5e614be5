"""Time of a training step with PyTorch: the steps of crates/weightproof-train/examples/throughput.rs.

python3 benchsuite/torch_training.py [SIZES [BATCH [STEPS]]]         needs torch; two threads
"""

import sys
import time

import torch
from torch.nn.functional import cross_entropy, relu

WARM_UP = 10
RADIUS = 1e-3


def forward(layers, x):
    for k, (w, b) in enumerate(layers):
        x = x @ w.T + b
        if k + 1 < len(layers):
            x = relu(x)
    return x


def interval(layers, x, y):
    """Worst case by intervals, rows of the last layer merged, as the objective `interval`."""
    (w, b), hidden, (v, c) = layers[0], layers[1:-1], layers[-1]
    p, push = x @ w.T + b, RADIUS * (x.abs().sum(1, keepdim=True) + 1)
    low, high = relu(p - push), relu(p + push)
    for w, b in hidden:
        middle, radius = (low + high) / 2, (high - low) / 2
        p, push = middle @ w.T + b, RADIUS * (middle.sum(1, keepdim=True) + 1)
        low = relu(p - push - radius @ (w - RADIUS).abs().T)
        high = relu(p + push + radius @ (w + RADIUS).abs().T)
    middle, radius = (low + high) / 2, (high - low) / 2
    p, push = middle @ v.T + c, RADIUS * (middle.sum(1, keepdim=True) + 1)
    classes = v.shape[0]
    rows = (v[:, None] - v[None] - 2 * RADIUS).abs().reshape(classes * classes, -1)
    spread = (radius @ rows.T).reshape(-1, classes, classes)[torch.arange(len(y)), y]
    rivals = 1 - torch.nn.functional.one_hot(y, classes)
    return -(p.gather(1, y[:, None]) - p) + (2 * push + spread) * rivals


def main():
    sizes = [int(n) for n in (sys.argv[1] if len(sys.argv) > 1 else "784,256,256,256,10").split(",")]
    batch = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    torch.set_num_threads(2)
    data = torch.rand((steps + WARM_UP) * batch, sizes[0])
    labels = torch.arange(len(data)) % sizes[-1]
    print(f"{sizes}, batch {batch}, {steps} steps of sgd, torch {torch.__version__}")
    for name in ["cross-entropy", "interval"]:
        modules = [torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]
        layers = [(m.weight, m.bias) for m in modules]
        optimizer = torch.optim.SGD([p for layer in layers for p in layer], lr=1e-3)
        order = torch.randperm(len(data))
        start = None
        for step in range(steps + WARM_UP):
            if step == WARM_UP:
                start = time.perf_counter()
            places = order[step * batch : (step + 1) * batch]
            x, y = data[places], labels[places]
            optimizer.zero_grad()
            outputs = forward(layers, x) if name == "cross-entropy" else interval(layers, x, y)
            cross_entropy(outputs, y).backward()
            optimizer.step()
        print(f"{name:16} {1e3 * (time.perf_counter() - start) / steps:8.3f} ms per step")


main()
