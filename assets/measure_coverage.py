#!/usr/bin/env python3
"""Say how many ONNX networks of a folder Weightproof reads, and why not the others.

    python3 measure_coverage.py FOLDER [--tolerance 1e-3] [--certify] [--seconds 300]

Every .onnx and .onnx.gz below FOLDER is tried: *applicable* are those that ONNX
Runtime loads and that have a floating-point input and output, *loaded* those
that Weightproof reads, *equal* those whose outputs on random inputs agree with
ONNX Runtime's, *certified* (with --certify) those for which a relative radius
of 1e-6 gives finite bounds of every output.  Needs weightproof, numpy, onnx and
onnxruntime; it is not part of the tests.
"""

import argparse
import collections
import gzip
import multiprocessing
import pathlib
import re
import tempfile

import numpy as np
import onnx
import onnxruntime
import weightproof as wp

SAMPLES = 3
# What a symbolic dimension becomes.
LENGTH = 4
FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


def unpacked(path, folder):
    """The path of the model itself."""
    if path.suffix != ".gz":
        return path
    out = pathlib.Path(folder) / path.stem
    out.write_bytes(gzip.decompress(path.read_bytes()))
    return out


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def symbols(path):
    """Names of dimensions that are no batch."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    names = {}
    for value in graph.input:
        if value.name not in constants:
            for dim in value.type.tensor_type.shape.dim[1:]:
                if dim.dim_param:
                    names[dim.dim_param] = LENGTH
    return names


def heads(network):
    """Operators at the end that were left out."""
    return {head for note in network.notes for head in re.findall(r"final (\w+)", note)}


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def finished(outputs, found):
    """The outputs with the head that was left out."""
    if "Softmax" in found:
        return softmax(outputs)
    if "LogSoftmax" in found:
        return np.log(softmax(outputs))
    return outputs


def equal(network, runtime, dims, tolerance, rng):
    """Whether one sample after the other has the outputs of ONNX Runtime, and what was the largest difference."""
    read = runtime.get_inputs()
    width = int(np.prod(network.input_shape))
    worst = 0.0
    for _ in range(SAMPLES):
        feed, x, parts = {}, None, []
        for value in runtime.get_inputs():
            shape = [d if isinstance(d, int) and d > 0 else dims.get(d, 1) for d in value.shape]
            kind = FLOATS.get(value.type)
            whole = INTEGERS.get(value.type, np.int64)
            numbers = rng.uniform(0, 1, shape).astype(kind) if kind else rng.integers(0, 2, shape).astype(whole)
            count = int(np.prod(shape))
            if x is None and (kind or len(read) == 1) and (count == width or shape and count == width * shape[0]):
                x = numbers.reshape(-1, width)
            feed[value.name] = numbers
            parts.append(numbers.reshape(1, -1))
        if x is None:
            x = np.concatenate(parts, axis=1)
        if x.shape[1] != width:
            return False, f"no input of {width} values among {[i.name for i in read]}"
        name = runtime.get_outputs()[0].name
        for value in runtime.get_outputs():
            if f"the output {value.name} of" in " ".join(network.notes):
                name = value.name
        expected = np.asarray(runtime.run([name], feed)[0])
        outputs = network.forward(x.astype(np.float64))
        found = heads(network)
        if found & {"ArgMax", "TopK", "Hardmax"}:
            if found & {"ArgMax"} and not np.array_equal(outputs.argmax(-1), expected.reshape(-1)):
                return False, "another class"
            continue
        if expected.size != outputs.size:
            return False, f"{outputs.size} values instead of {expected.size}"
        expected = expected.astype(np.float64).reshape(outputs.shape)
        difference = np.abs(finished(outputs, found) - expected) / np.maximum(1, np.abs(expected))
        worst = max(worst, float(difference.max()))
    return worst <= tolerance, f"differs by {worst:.1e}"


def certified(network, rng):
    """Whether bounds for a relative radius of 1e-6 are finite, by the cheaper method or else by the tighter one."""
    x = rng.uniform(0, 1, (1, *network.input_shape))
    logits = bool(heads(network))

    def is_finite(method):
        result = wp.certify(network, x, threat="relative", radius=1e-6, property="deviation", tolerance=1e30, method=method, logits=logits)
        return bool(np.isfinite(result.deviation_upper).all())

    return is_finite("interval") or is_finite("linear")


def try_one(path, folder, arguments, rng):
    model = unpacked(path, folder)
    dims = symbols(model)
    try:
        runtime = session(model)
    except Exception as error:  # noqa: BLE001
        return "not applicable", f"ONNX Runtime: {str(error).splitlines()[0][:100]}"
    kinds = [value.type for value in runtime.get_inputs()]
    if not any(kind in FLOATS or kind in INTEGERS for kind in kinds):
        return "not applicable", f"inputs of type {', '.join(sorted(set(kinds)))}"
    try:
        network = wp.Network.from_onnx(path, dims=dims)
    except (wp.FormatError, wp.NetworkError) as error:
        return "refused", str(error).replace(str(path), "").lstrip(": ")
    try:
        same, text = equal(network, runtime, dims, arguments.tolerance, rng)
    except Exception as error:  # noqa: BLE001
        same, text = False, f"ONNX Runtime: {str(error).splitlines()[0][:100]}"
    if not same:
        return "loaded", text
    if arguments.certify and not certified(network, rng):
        return "equal", "bounds are infinite"
    return ("certified" if arguments.certify else "equal"), text


def answer(pipe, *task):
    """What is found about one network, into a pipe."""
    try:
        pipe.send(try_one(*task))
    except Exception as error:  # noqa: BLE001
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


def limited(seconds, *task):
    """The same within a time, in a process of its own: one network that is too large stops no other."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=answer, args=(there, *task))
    process.start()
    there.close()
    try:
        found = here.recv() if here.poll(seconds) else ("failed", f"nothing within {seconds} s")
    except EOFError:
        found = ("failed", "the process was killed")
    process.kill()
    process.join()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--certify", action="store_true")
    parser.add_argument("--seconds", type=float, default=300, help="most time for one network")
    arguments = parser.parse_args()
    order = ["tried", "applicable", "loaded", "equal"] + ["certified"] * arguments.certify
    counts = collections.Counter()
    paths = sorted(p for p in arguments.folder.rglob("*") if p.name.endswith((".onnx", ".onnx.gz")))
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            state, text = limited(arguments.seconds, path, folder, arguments, np.random.default_rng(0))
            print(f"{state:15} {path.relative_to(arguments.folder)}: {text}", flush=True)
            counts["tried"] += 1
            counts["applicable"] += state != "not applicable"
            reached = order.index(state) if state in order else -1
            for name in order[2 : reached + 1]:
                counts[name] += 1
    print(", ".join(f"{counts[name]} {name}" for name in order))


if __name__ == "__main__":
    main()
