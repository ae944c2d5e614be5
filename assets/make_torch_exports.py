#!/usr/bin/env python3
"""Export PyTorch's own modules, each alone between two layers, by both exporters.

    python3 make_torch_exports.py OUT_FOLDER

Writes NAME-legacy.onnx and NAME-dynamo.onnx for every module below, with the
exporters' default arguments, and with them what a network needs that is not
read (normalizations over features, attention, recurrence): measure_coverage.py
tells which of them load.  Needs torch, onnx and onnxscript.
"""

import argparse
import io
import pathlib
import warnings
from contextlib import redirect_stderr, redirect_stdout

import torch
from torch import nn

ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky-relu": nn.LeakyReLU(),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "softplus": nn.Softplus(),
    "gelu": nn.GELU(),
    "gelu-tanh": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "celu": nn.CELU(alpha=1.5),
    "hardswish": nn.Hardswish(),
    "hardsigmoid": nn.Hardsigmoid(),
    "mish": nn.Mish(),
    "prelu": nn.PReLU(),
    "prelu-channels": nn.PReLU(8),
    "softsign": nn.Softsign(),
    "threshold": nn.Threshold(0.1, 0.0),
    "log-sigmoid": nn.LogSigmoid(),
    "rrelu": nn.RReLU(),
}


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.modules_ = function, nn.ModuleList(modules)

    def forward(self, *inputs):
        return self.function(*self.modules_, *inputs)


FUNCTIONS = {
    "abs": torch.abs,
    "atan": torch.atan,
    "sign": torch.sign,
    "clamp-below": lambda x: torch.clamp(x, min=-0.5),
    "clamp": lambda x: torch.clamp(x, -0.3, 0.8),
    "quick-gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "swish-written": lambda x: x * torch.sigmoid(x),
}

DENSE = (1, 6)
IMAGE = (1, 3, 8, 8)
ROWS = (1, 5, 6)


def mlp(activation):
    return nn.Sequential(nn.Linear(6, 8), activation, nn.Linear(8, 4))


def net(*modules):
    return nn.Sequential(nn.Conv2d(3, 4, 3), *modules, nn.Flatten(), nn.LazyLinear(4))


def residual(first, second, x):
    return second(torch.relu(first(x)) + x)


def policy(body, head, observation, state):
    return head(torch.tanh(body(observation))), state


def two_heads(body, actor, critic, x):
    hidden = torch.tanh(body(x))
    return actor(hidden), critic(hidden)


def normalized(body, head, observation):
    return head(torch.tanh(body((observation - 0.1) / 1.5))).clamp(-1, 1)


MODULES = {
    "linear": (nn.Linear(6, 4), DENSE),
    "two-linear": (nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4)), DENSE),
    "dropout": (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4)), DENSE),
    "batch-norm-1d": (nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)), DENSE),
    "rows": (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Flatten(), nn.Linear(40, 4)), ROWS),
    "residual": (Apply(residual, nn.Linear(6, 6), nn.Linear(6, 4)), DENSE),
    "conv": (net(nn.ReLU()), IMAGE),
    "batch-norm-2d": (net(nn.BatchNorm2d(4), nn.ReLU()), IMAGE),
    "max-pool": (net(nn.ReLU(), nn.MaxPool2d(2)), IMAGE),
    "average-pool": (net(nn.ReLU(), nn.AvgPool2d(2)), IMAGE),
    "adaptive-pool": (net(nn.ReLU(), nn.AdaptiveAvgPool2d(1)), IMAGE),
    "prelu-conv": (net(nn.PReLU(4)), IMAGE),
    "conv-transpose": (net(nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, stride=2)), IMAGE),
    "upsample": (net(nn.ReLU(), nn.Upsample(scale_factor=2)), IMAGE),
    "pixel-shuffle": (net(nn.ReLU(), nn.PixelShuffle(2)), IMAGE),
    "layer-norm": (nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 4)), DENSE),
    "group-norm": (net(nn.GroupNorm(2, 4), nn.ReLU()), IMAGE),
    "instance-norm": (net(nn.InstanceNorm2d(4), nn.ReLU()), IMAGE),
    "attention": (nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), ROWS),
    "lstm": (Apply(lambda lstm, x: lstm(x)[0], nn.LSTM(6, 4, batch_first=True)), ROWS),
}

HEADS = {
    "softmax-head": (nn.Sequential(mlp(nn.ReLU()), nn.Softmax(-1)), DENSE),
    "argmax-head": (Apply(lambda m, x: m(x).argmax(-1), mlp(nn.ReLU())), DENSE),
    "topk-head": (Apply(lambda m, x: m(x).topk(2), mlp(nn.ReLU())), DENSE),
    "one-logit": (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)), DENSE),
    "probability": (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid()), DENSE),
    "two-heads": (Apply(two_heads, nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(8, 1)), DENSE),
    "policy": (Apply(normalized, nn.Linear(6, 8), nn.Linear(8, 2)), DENSE),
    "policy-with-state": (Apply(policy, nn.Linear(6, 8), nn.Linear(8, 2)), DENSE, (1,)),
}


def examples():
    for name, activation in ACTIVATIONS.items():
        yield name, mlp(activation), (DENSE,)
    for name, function in FUNCTIONS.items():
        yield name, mlp(Apply(function)), (DENSE,)
    for name, (module, *shapes) in (MODULES | HEADS).items():
        yield name, module, shapes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    written = failed = 0
    for name, module, shapes in examples():
        torch.manual_seed(0)
        inputs = tuple(torch.rand(*shape) for shape in shapes)
        module.eval()
        with torch.no_grad():
            module(*inputs)
        for exporter, dynamo in (("legacy", False), ("dynamo", True)):
            path = out / f"{name}-{exporter}.onnx"
            try:
                with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                    warnings.simplefilter("ignore")
                    torch.onnx.export(module, inputs, path, dynamo=dynamo)
                written += 1
            except Exception as error:  # noqa: BLE001
                failed += 1
                print(f"{path.name}: {type(error).__name__}")
    print(f"{written} written, {failed} that the exporter refuses")


if __name__ == "__main__":
    main()
