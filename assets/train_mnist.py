#!/usr/bin/env python3
"""Train the embedded MNIST classifier and write it as ONNX.

    python3 train_mnist.py MNIST_FOLDER OUT.onnx

A 784-128-64-32-10 ReLU network on pixels/255, trained with Adam and decoupled
weight decay from a fixed seed.  Needs numpy and onnx only.  The arithmetic is
done by numpy's BLAS, so another BLAS (or another thread count) may change the
last bits of the weights; on one machine the result is reproducible.
"""

import argparse
import gzip
import hashlib
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZES = [784, 128, 64, 32, 10]
SEED = 20240611
EPOCHS = 15
BATCH = 128
RATE = 2e-3
DECAY = 0.02


def read_idx(path):
    raw = gzip.decompress(path.read_bytes())
    dims = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)


def load(folder, part):
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels


def forward(layers, x):
    values = [x]
    for i, (w, b) in enumerate(layers):
        x = x @ w.T + b
        if i + 1 < len(layers):
            x = np.maximum(x, 0)
        values.append(x)
    return values


def train(x, y):
    rng = np.random.default_rng(SEED)
    layers = []
    for a, b in zip(SIZES, SIZES[1:]):
        w = rng.normal(0, np.sqrt(2 / a), (b, a)).astype(np.float32)
        layers.append([w, np.zeros(b, np.float32)])
    first = [[np.zeros_like(p) for p in layer] for layer in layers]
    second = [[np.zeros_like(p) for p in layer] for layer in layers]
    steps = EPOCHS * ((len(x) + BATCH - 1) // BATCH)
    t = 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        for at in range(0, len(x), BATCH):
            pick = order[at : at + BATCH]
            values = forward(layers, x[pick])
            out = values[-1]
            p = np.exp(out - out.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            p[np.arange(len(pick)), y[pick]] -= 1
            delta = p / np.float32(len(pick))
            rate = RATE * 0.5 * (1 + np.cos(np.pi * t / steps))
            t += 1
            for i in reversed(range(len(layers))):
                grads = [delta.T @ values[i], delta.sum(0)]
                if i:
                    delta = (delta @ layers[i][0]) * (values[i] > 0)
                for k, g in enumerate(grads):
                    m, v = first[i][k], second[i][k]
                    m += np.float32(0.1) * (g - m)
                    v += np.float32(0.001) * (g * g - v)
                    mh = m / np.float32(1 - 0.9**t)
                    vh = v / np.float32(1 - 0.999**t)
                    if k == 0:
                        layers[i][k] *= np.float32(1 - rate * DECAY)
                    layers[i][k] -= np.float32(rate) * mh / (np.sqrt(vh) + np.float32(1e-8))
        print(f"epoch {epoch + 1}: training accuracy {accuracy(layers, x, y):.4f}", flush=True)
    return layers


def accuracy(layers, x, y):
    return float((forward(layers, x)[-1].argmax(1) == y).mean())


def to_onnx(layers):
    nodes, tensors, at = [], [], "image"
    for i, (w, b) in enumerate(layers, 1):
        assert w.dtype == b.dtype == np.float32
        last = i == len(layers)
        out = "logits" if last else f"dense{i}.out"
        nodes.append(
            helper.make_node(
                "Gemm", [at, f"dense{i}.weight", f"dense{i}.bias"], [out], f"dense{i}", transB=1
            )
        )
        tensors.append(numpy_helper.from_array(w, f"dense{i}.weight"))
        tensors.append(numpy_helper.from_array(b, f"dense{i}.bias"))
        at = out
        if not last:
            nodes.append(helper.make_node("Relu", [at], [f"relu{i}.out"], f"relu{i}"))
            at = f"relu{i}.out"
    graph = helper.make_graph(
        nodes,
        "mnist-" + "-".join(map(str, SIZES)),
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", SIZES[0]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", SIZES[-1]])],
        tensors,
    )
    model = helper.make_model(
        graph,
        producer_name="weightproof-assets",
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=7,
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mnist_folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    layers = train(*load(args.mnist_folder, "train"))
    x, y = load(args.mnist_folder, "t10k")
    data = to_onnx(layers)
    args.out.write_bytes(data)
    print(f"test accuracy: {accuracy(layers, x, y):.4f} (first 1000: {accuracy(layers, x[:1000], y[:1000]):.4f})")
    print(f"sha256: {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
