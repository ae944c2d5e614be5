#!/usr/bin/env python3
"""Train the small convolutional MNIST classifier and write it as ONNX.

    python3 train_mnist_conv.py MNIST_FOLDER OUT.onnx

Two convolutions (8 and 16 channels, 4x4, stride 2, padding 1), each followed by
ReLU, and one dense layer, on pixels/255.  Trained as train_mnist.py trains, with
more weight decay.  What is said there about reproducibility holds here too.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper, numpy_helper

from train_mnist import SEED, arguments, finish, load, logit_gradients, random_layer, to_bytes, train

KERNEL, STRIDE, PADDING = 4, 2, 1
SHAPES = [(8, 1, KERNEL, KERNEL), (16, 8, KERNEL, KERNEL), (10, 16 * 7 * 7)]
EPOCHS = 10
DECAY = 0.1


def patches(z):
    """(images, channels, height, width) to (images, channels * taps, positions), padded."""
    z = np.pad(z, ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING)))
    z = sliding_window_view(z, (KERNEL, KERNEL), (2, 3))[:, :, ::STRIDE, ::STRIDE]
    n, channels, height, width = z.shape[:4]
    return z.transpose(0, 1, 4, 5, 2, 3).reshape(n, channels * KERNEL * KERNEL, height * width)


def from_patches(columns, shape):
    """The transpose of `patches`."""
    n, channels, height, width = shape
    rows, cols = height // STRIDE, width // STRIDE
    columns = columns.reshape(n, channels, KERNEL, KERNEL, rows, cols)
    out = np.zeros((n, channels, height + 2 * PADDING, width + 2 * PADDING), columns.dtype)
    for i in range(KERNEL):
        for j in range(KERNEL):
            out[:, :, i : i + STRIDE * rows : STRIDE, j : j + STRIDE * cols : STRIDE] += columns[:, :, i, j]
    return out[:, :, PADDING:-PADDING, PADDING:-PADDING]


def as_matrix(w):
    return w.reshape(len(w), -1)


def run(layers, x):
    """Patches that the convolutions read, what they give behind ReLU, and the logits."""
    read, given = [], []
    z = x.reshape(-1, 1, 28, 28)
    for w, b in layers[:2]:
        read.append(patches(z))
        side = z.shape[2] // STRIDE
        z = np.maximum(as_matrix(w) @ read[-1] + b[:, None], 0).reshape(len(x), len(w), side, side)
        given.append(z)
    w, b = layers[2]
    return read, given, as_matrix(z) @ w.T + b


def forward(layers, x):
    return [run(layers, x)[2]]


def gradients(layers, x, y):
    read, given, out = run(layers, x)
    delta = logit_gradients(out, y)
    grads = [None, None, [delta.T @ as_matrix(given[1]), delta.sum(0)]]
    back = (delta @ layers[2][0]).reshape(given[1].shape)
    for i in (1, 0):
        w = layers[i][0]
        delta = (back * (given[i] > 0)).reshape(len(x), len(w), -1)
        weight = (delta @ read[i].transpose(0, 2, 1)).sum(0).reshape(w.shape)
        grads[i] = [weight, delta.sum((0, 2))]
        if i:
            back = from_patches(as_matrix(w).T @ delta, given[i - 1].shape)
    return grads


def to_onnx(layers):
    nodes, tensors, at = [], [], "image"
    names = ["conv1", "conv2", "dense1"]
    for i, (name, (w, b)) in enumerate(zip(names, layers), 1):
        assert w.dtype == b.dtype == np.float32
        tensors.append(numpy_helper.from_array(w, f"{name}.weight"))
        tensors.append(numpy_helper.from_array(b, f"{name}.bias"))
        inputs = [f"{name}.weight", f"{name}.bias"]
        if i == len(names):
            nodes.append(helper.make_node("Flatten", [at], ["flatten.out"], "flatten"))
            nodes.append(helper.make_node("Gemm", ["flatten.out", *inputs], ["logits"], name, transB=1))
            continue
        settings = {"kernel_shape": [KERNEL] * 2, "strides": [STRIDE] * 2, "pads": [PADDING] * 4}
        nodes.append(helper.make_node("Conv", [at, *inputs], [f"{name}.out"], name, **settings))
        at = f"relu{i}.out"
        nodes.append(helper.make_node("Relu", [f"{name}.out"], [at], f"relu{i}"))
    return to_bytes("mnist-conv-8-16-10", nodes, tensors, [1, 28, 28])


def main():
    args = arguments(__doc__)
    rng = np.random.default_rng(SEED)
    layers = [random_layer(rng, shape) for shape in SHAPES]
    x, y = load(args.mnist_folder, "train")
    train(layers, x, y, rng, forward, gradients, EPOCHS, DECAY)
    finish(layers, forward, to_onnx, args.mnist_folder, args.out)


if __name__ == "__main__":
    main()
