"""Time of a training step with PyTorch: the steps of crates/weightproof-train/examples/throughput.rs.

python3 benchsuite/torch_training.py [SIZES [BATCH [STEPS]]]         needs torch; two threads

SIZES are those of dense layers, or `conv` for the layers of assets/mnist-conv-8-16-10.onnx.
"""

import sys
import time

import torch
from torch.nn.functional import conv2d, cross_entropy, relu

WARM_UP = 10
RADIUS = 1e-3


def apply(w, x):
    """A dense layer, or a convolution with stride 2 and padding 1, without bias."""
    return x.flatten(1) @ w.T if w.dim() == 2 else conv2d(x, w, stride=2, padding=1)


def add(p, b):
    return p + (b if p.dim() == 2 else b[:, None, None])


def forward(layers, x):
    for k, (w, b) in enumerate(layers):
        x = x.flatten(1) @ w.T + b if w.dim() == 2 else conv2d(x, w, b, stride=2, padding=1)
        if k + 1 < len(layers):
            x = relu(x)
    return x


def reached(w, z):
    """Radius times the sum of the magnitudes that every output reads, and of the bias."""
    if w.dim() == 2:
        return RADIUS * (z.flatten(1).abs().sum(1, keepdim=True) + 1)
    return RADIUS * (apply(torch.ones_like(w[:1]), z.abs()) + 1)


def interval(layers, x, y):
    """Worst case by intervals, rows of the last layer merged, as the objective `interval`."""
    (w, b), hidden, (v, c) = layers[0], layers[1:-1], layers[-1]
    p, push = add(apply(w, x), b), reached(w, x)
    low, high = relu(p - push), relu(p + push)
    for w, b in hidden:
        middle, radius = (low + high) / 2, (high - low) / 2
        p, push = add(apply(w, middle), b), reached(w, middle)
        low = relu(p - push - apply((w - RADIUS).abs(), radius))
        high = relu(p + push + apply((w + RADIUS).abs(), radius))
    middle, radius = (low + high) / 2, (high - low) / 2
    p, push = add(apply(v, middle), c), reached(v, middle)
    classes = v.shape[0]
    rows = (v[:, None] - v[None] - 2 * RADIUS).abs().reshape(classes * classes, -1)
    spread = apply(rows, radius).reshape(-1, classes, classes)[torch.arange(len(y)), y]
    rivals = 1 - torch.nn.functional.one_hot(y, classes)
    return -(p.gather(1, y[:, None]) - p) + (2 * push + spread) * rivals


def modules(name):
    if name == "conv":
        conv = [torch.nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in [(1, 8), (8, 16)]]
        return (1, 28, 28), [*conv, torch.nn.Linear(784, 10)]
    sizes = [int(n) for n in name.split(",")]
    return sizes[:1], [torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]


def main():
    network = sys.argv[1] if len(sys.argv) > 1 else "784,256,256,256,10"
    batch = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    torch.set_num_threads(2)
    shape, last = modules(network)[0], modules(network)[1][-1]
    data = torch.rand((steps + WARM_UP) * batch, *shape)
    labels = torch.arange(len(data)) % last.out_features
    print(f"{network}, batch {batch}, {steps} steps of sgd, torch {torch.__version__}")
    for name in ["cross-entropy", "interval"]:
        layers = [(m.weight, m.bias) for m in modules(network)[1]]
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
