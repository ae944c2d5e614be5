#!/usr/bin/env python3
"""Certify an ONNX classifier against weight perturbations with auto_LiRPA.

    python3 auto_lirpa.py MODEL IMAGES LABELS --radius R --samples N
        [--bias-radius B] [--input-radius I] [--batch K] [--method backward]
        [--threads T] [--weightproof BIN]

Every weight (bias) may move by at most R (B), every pixel by at most I within
[0, 1]; with R = 0 the weights are constants.  For each of the first N samples
the least lower bound of logit[label] - logit[other] is computed; the sample is
certified where it is positive.  With --weightproof the same question is put to
`BIN certify` and the two are compared.  IMAGES and LABELS are IDX files, plain
or gzipped.  Needs torch, onnx and auto_LiRPA, see README.md.
"""

import argparse
import contextlib
import gzip
import io
import json
import pathlib
import subprocess
import time

import numpy as np
import onnx
import torch
from onnx import numpy_helper

with contextlib.redirect_stdout(io.StringIO()):
    from auto_LiRPA import BoundedModule, BoundedParameter, BoundedTensor
    from auto_LiRPA.perturbations import PerturbationLpNorm

ACTIVATIONS = {"Relu": torch.nn.ReLU, "Sigmoid": torch.nn.Sigmoid, "Tanh": torch.nn.Tanh}
# As in auto_LiRPA's own weight perturbation example.
OPTIONS = {
    "sparse_intermediate_bounds": False,
    "sparse_conv_intermediate_bounds": False,
    "sparse_intermediate_bounds_with_ibp": False,
}


def read_idx(path):
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def load_network(path):
    """A chain of Gemm, MatMul + Add and activations as torch modules."""
    graph = onnx.load(path).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    modules = []
    at = next(i.name for i in graph.input if i.name not in constants)
    for node in graph.node:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        kind, names = node.op_type, list(node.input)
        if kind == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(given["value"])
            continue
        if at not in names:
            raise SystemExit(f"{node.name}: the network is not a chain of layers")
        if kind in ("Gemm", "MatMul"):
            if names[0] != at or given.get("alpha", 1) != 1 or given.get("beta", 1) != 1:
                raise SystemExit(f"{node.name}: this form of {kind} is not supported here")
            weight = constants[names[1]]
            weight = weight if given.get("transB") else weight.T
            bias = constants[names[2]] if len(names) > 2 else np.zeros(len(weight))
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data = torch.tensor(np.ascontiguousarray(weight), dtype=torch.float32)
            layer.bias.data = torch.tensor(np.ravel(bias), dtype=torch.float32)
            modules.append(layer)
        elif kind == "Add" and isinstance(modules[-1], torch.nn.Linear):
            bias = constants[names[1 - names.index(at)]]
            modules[-1].bias.data += torch.tensor(np.ravel(bias), dtype=torch.float32)
        elif kind in ACTIVATIONS:
            modules.append(ACTIVATIONS[kind]())
        elif kind not in ("Flatten", "Identity"):
            raise SystemExit(f"{node.name}: {kind} is not supported here")
        at = node.output[0]
    return torch.nn.Sequential(*modules)


def perturb(network, radius, bias_radius):
    for layer in network:
        if isinstance(layer, torch.nn.Linear) and radius > 0:
            ball = PerturbationLpNorm(norm=np.inf, eps=radius)
            layer.weight = BoundedParameter(layer.weight.data, ball)
            if bias_radius > 0:
                ball = PerturbationLpNorm(norm=np.inf, eps=bias_radius)
                layer.bias = BoundedParameter(layer.bias.data, ball)


def margins(model, x, labels, classes, method, input_radius):
    """The least lower bound of the margin for each sample of a batch."""
    if input_radius > 0:
        ends = {"x_L": (x - input_radius).clamp(0, 1), "x_U": (x + input_radius).clamp(0, 1)}
        x = BoundedTensor(x, PerturbationLpNorm(norm=np.inf, **ends))
    eye = torch.eye(classes)
    others = torch.stack([eye[torch.arange(classes) != l] for l in labels])
    c = eye[labels].unsqueeze(1) - others
    lower, _ = model.compute_bounds(x=(x,), C=c, method=method, bound_upper=False)
    return lower.min(1).values


def summary(name, seconds, lower):
    n = len(lower)
    print(
        f"{name}: {seconds:.3f} s for {n} samples ({1000 * seconds / n:.2f} ms each), "
        f"certified {int((lower > 0).sum())}, "
        f"margin_lower mean {lower.mean():.6f} min {lower.min():.6f} max {lower.max():.6f}"
    )


def run_weightproof(args):
    command = [args.weightproof, "certify", args.model, args.images, "--labels", args.labels]
    command += ["--radius", repr(args.radius), "--bias-radius", repr(args.bias_radius)]
    if args.input_radius > 0:
        command += ["--input-radius", repr(args.input_radius)]
    command += ["--samples", str(args.samples), "--threads", str(args.threads), "--format", "json"]
    start = time.perf_counter()
    # The exit status may say that some sample is not certified.
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    wall = time.perf_counter() - start
    try:
        report = json.loads(done.stdout)
        lower = np.array([s["margin_lower"] for s in report["samples"]], float)
        return report["environment"]["seconds"], wall, lower
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"weightproof (status {done.returncode}): {error!r}\n{done.stderr}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("images", type=pathlib.Path)
    parser.add_argument("labels", type=pathlib.Path)
    parser.add_argument("--radius", type=float, required=True)
    parser.add_argument("--bias-radius", type=float, default=0.0)
    parser.add_argument("--input-radius", type=float, default=0.0)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--method", default="backward", help="auto_LiRPA's name of the method")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--weightproof", metavar="BIN")
    parser.add_argument("--json", type=pathlib.Path, help="write the bounds to this file")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    network = load_network(args.model)
    images, labels = read_idx(args.images)[: args.samples], read_idx(args.labels)[: args.samples]
    if len(images) < args.samples or len(labels) < args.samples:
        raise SystemExit("the files hold fewer samples")
    x = torch.tensor(images.reshape(len(images), -1), dtype=torch.float32) / 255
    y = torch.tensor(labels.astype(np.int64))
    with torch.no_grad():
        logits = network(x)
        classes = logits.shape[1]
        print(f"accuracy on the samples: {(logits.argmax(1) == y).sum().item()} of {len(x)}")
        perturb(network, args.radius, args.bias_radius)
        model = BoundedModule(network, x[: args.batch], bound_opts=OPTIONS, device="cpu")
        batches = list(zip(x.split(args.batch), y.split(args.batch)))
        for bx, by in batches[:2]:
            margins(model, bx, by, classes, args.method, args.input_radius)
        start, cpu = time.perf_counter(), time.process_time()
        bounds = [margins(model, bx, by, classes, args.method, args.input_radius) for bx, by in batches]
        lower = torch.cat(bounds)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    lower = lower.double().numpy()
    print(f"radius {args.radius}, bias radius {args.bias_radius}, input radius {args.input_radius}, method {args.method}, "
          f"batch {args.batch}, {args.threads} threads")
    summary("auto_LiRPA", seconds, lower)
    print(f"auto_LiRPA used {cpu:.3f} s of processor time in all threads")
    if args.json:
        args.json.write_text(json.dumps({"seconds": seconds, "margin_lower": lower.tolist()}) + "\n")
    if args.weightproof:
        own_seconds, wall, own = run_weightproof(args)
        summary("weightproof", own_seconds, own)
        if len(own) != len(lower):
            raise SystemExit(f"weightproof reports {len(own)} samples, not {len(lower)}")
        gap = own - lower
        print(f"time ratio auto_LiRPA / weightproof: {seconds / own_seconds:.2f} "
              f"(with weightproof's start and loading: {seconds / wall:.2f})")
        print(f"margin_lower, weightproof - auto_LiRPA: mean {gap.mean():+.6e}, "
              f"max {gap.max():+.6e}, min {gap.min():+.6e}")
        print(f"certified by both {int(((own > 0) & (lower > 0)).sum())}, "
              f"by weightproof alone {int(((own > 0) & ~(lower > 0)).sum())}, "
              f"by auto_LiRPA alone {int((~(own > 0) & (lower > 0)).sum())}")


if __name__ == "__main__":
    main()
