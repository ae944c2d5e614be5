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


def logit_gradients(out, y):
    """Gradient of the mean cross entropy."""
    p = np.exp(out - out.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return p / np.float32(len(y))


def gradients(layers, x, y):
    values = forward(layers, x)
    delta = logit_gradients(values[-1], y)
    grads = [None] * len(layers)
    for i in reversed(range(len(layers))):
        grads[i] = [delta.T @ values[i], delta.sum(0)]
        if i:
            delta = (delta @ layers[i][0]) * (values[i] > 0)
    return grads


def random_layer(rng, shape):
    """Weights of shape (outputs, ...) for ReLU, and zero biases."""
    w = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
    return [w, np.zeros(shape[0], np.float32)]


def train(layers, x, y, rng, forward, gradients, epochs, decay):
    """Adam with decoupled weight decay and a cosine schedule, in place."""
    first = [[np.zeros_like(p) for p in layer] for layer in layers]
    second = [[np.zeros_like(p) for p in layer] for layer in layers]
    steps = epochs * ((len(x) + BATCH - 1) // BATCH)
    t = 0
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for at in range(0, len(x), BATCH):
            pick = order[at : at + BATCH]
            rate = RATE * 0.5 * (1 + np.cos(np.pi * t / steps))
            t += 1
            for i, grads in enumerate(gradients(layers, x[pick], y[pick])):
                for k, g in enumerate(grads):
                    m, v = first[i][k], second[i][k]
                    m += np.float32(0.1) * (g - m)
                    v += np.float32(0.001) * (g * g - v)
                    mh = m / np.float32(1 - 0.9**t)
                    vh = v / np.float32(1 - 0.999**t)
                    if k == 0:
                        layers[i][k] *= np.float32(1 - rate * decay)
                    layers[i][k] -= np.float32(rate) * mh / (np.sqrt(vh) + np.float32(1e-8))
        found = accuracy(forward, layers, x, y)
        print(f"epoch {epoch + 1}: training accuracy {found:.4f}", flush=True)
    return layers


def accuracy(forward, layers, x, y):
    out = [forward(layers, x[at : at + 1000])[-1].argmax(1) for at in range(0, len(x), 1000)]
    return float((np.concatenate(out) == y).mean())


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
    return to_bytes("mnist-" + "-".join(map(str, SIZES)), nodes, tensors, [SIZES[0]])


def to_bytes(name, nodes, tensors, input_shape):
    """The ONNX file of a network from `image` to `logits`."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *input_shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
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


def finish(layers, forward, to_onnx, mnist_folder, out):
    """Writes the network and says how good it is."""
    x, y = load(mnist_folder, "t10k")
    data = to_onnx(layers)
    out.write_bytes(data)
    all_images, first = (accuracy(forward, layers, x[:n], y[:n]) for n in (len(x), 1000))
    print(f"test accuracy: {all_images:.4f} (first 1000: {first:.4f})")
    print(f"sha256: {hashlib.sha256(data).hexdigest()}")


def arguments(doc):
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("mnist_folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    return parser.parse_args()


def main():
    args = arguments(__doc__)
    rng = np.random.default_rng(SEED)
    layers = [random_layer(rng, (b, a)) for a, b in zip(SIZES, SIZES[1:])]
    x, y = load(args.mnist_folder, "train")
    train(layers, x, y, rng, forward, gradients, EPOCHS, DECAY)
    finish(layers, forward, to_onnx, args.mnist_folder, args.out)


if __name__ == "__main__":
    main()
