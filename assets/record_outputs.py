#!/usr/bin/env python3
"""Record ONNX Runtime's float32 outputs of some models, for the reader's tests.

    python3 record_outputs.py MODELS_FOLDER DATA_FOLDER OUT [--cifar TEST_BATCH_BIN]

MODELS_FOLDER holds the benchmark networks, DATA_FOLDER either the MNIST test
set or the sample of it in this folder.  The models of this folder are recorded
too.  Models of CIFAR images are recorded too where the test batch is given;
their pixels are in the order of the file, channels first, whatever the order
that the model wants.  One JSON file per model is written to OUT.  Image models get pixels/255
in the shape of their own input; every sample is run by itself (batch 1).
Numbers are written so that they read back as exactly the float32 values.
"""

import argparse
import gzip
import json
import pathlib

import numpy as np
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent
OURS = ["mnist-784-128-64-32-10.onnx", "mnist-conv-8-16-10.onnx"]
IMAGE_MODELS = [
    "mnist-net_256x2.onnx",
    "mnist-net_256x4.onnx",
    "mnist_relu_9_200.onnx",
    "ffnnSIGMOID__Point_6x200.onnx",
    "Convnet_maxpool.onnx",
]
# Models of CIFAR images: whether channels come last, and whether pixels are normalized.
CIFAR_MODELS = {
    "resnet_2b.onnx": (False, True),
    "cifar_base_kw.onnx": (False, True),
    "cifar10_small.onnx": (True, False),
}
CIFAR_IMAGES = [0, 7, 300]
CIFAR_MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32).reshape(3, 1, 1)
CIFAR_STD = np.array([0.2023, 0.1994, 0.2010], np.float32).reshape(3, 1, 1)
VECTOR_MODELS = ["ACASXU_run2a_1_1_batch_2000.onnx"]
# Indices into the MNIST test set.
IMAGES = [0, 1, 2, 18, 247, 651]


def read_images(folder):
    for name in ["t10k-images-idx3-ubyte.gz", "mnist-test-1000-images.idx3-ubyte.gz"]:
        if (folder / name).exists():
            raw = gzip.decompress((folder / name).read_bytes())
            return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784)[IMAGES]
    raise SystemExit(f"no MNIST test images in {folder}")


def read_cifar(path):
    """The images as (3, 32, 32) bytes."""
    raw = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 3073)[CIFAR_IMAGES]
    return raw[:, 1:].reshape(-1, 3, 32, 32)


def run(path, samples):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    spec = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in spec.shape]
    return [
        session.run(None, {spec.name: s.astype(np.float32).reshape(shape)})[0].ravel()
        for s in samples
    ]


def rows(values):
    return "[\n" + ",\n".join("  " + json.dumps(v, separators=(",", ":")) for v in values) + "\n ]"


def write(folder, path, kind, samples, outputs):
    as_number = int if kind == "pixels" else float
    text = (
        "{\n"
        f' "model": {json.dumps(path.name)},\n'
        f' "onnxruntime": {json.dumps(onnxruntime.__version__)},\n'
        f' "{kind}": {rows([[as_number(v) for v in s] for s in samples])},\n'
        f' "outputs": {rows([[float(v) for v in o] for o in outputs])}\n'
        "}\n"
    )
    json.loads(text)
    (folder / (path.stem + ".json")).write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models_folder", type=pathlib.Path)
    parser.add_argument("data_folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--cifar", type=pathlib.Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pixels = read_images(args.data_folder)
    scaled = pixels.astype(np.float32) / np.float32(255)
    for path in [HERE / m for m in OURS] + [args.models_folder / m for m in IMAGE_MODELS]:
        write(args.out, path, "pixels", pixels, run(path, scaled))
    if args.cifar:
        images = read_cifar(args.cifar)
        for name, (channels_last, normalized) in CIFAR_MODELS.items():
            x = images.astype(np.float32) / np.float32(255)
            x = (x - CIFAR_MEAN) / CIFAR_STD if normalized else x
            x = x.transpose(0, 2, 3, 1) if channels_last else x
            path = args.models_folder / name
            write(args.out, path, "pixels", images.reshape(len(images), -1), run(path, x))
    rng = np.random.default_rng(5)
    inputs = rng.uniform(-0.5, 0.5, (8, 5)).astype(np.float32)
    for path in [args.models_folder / m for m in VECTOR_MODELS]:
        write(args.out, path, "inputs", inputs, run(path, inputs))


if __name__ == "__main__":
    main()
