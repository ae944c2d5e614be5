#!/usr/bin/env python3
"""Write small ONNX models with weights in bf16 and fp16.

    python3 make_half_onnx.py OUT_FOLDER

Each NAME.onnx comes with NAME.json: {"by", "inputs", "outputs"}.  In `*-weights`
a Cast makes single precision of the weights, and ONNX Runtime computes the
outputs; `*-native` computes in the format itself.  ONNX Runtime's CPU provider
has no products in bf16, so `bf16-native` is run by onnx's reference evaluator.
Needs numpy, onnx, onnxruntime and ml_dtypes.
"""

import argparse
import json
import pathlib

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

SAMPLES = 6
F32 = np.float32
FORMATS = {
    "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
    "fp16": (TensorProto.FLOAT16, np.float16),
}


def constants(format, rng):
    """Weights of a convolution and two dense layers, by name."""
    element, numbers = FORMATS[format]
    shapes = {"w1": (4, 2, 3, 3), "b1": (4,), "w2": (6, 64), "b2": (6,), "w3": (3, 6), "b3": (3,)}
    for name, shape in shapes.items():
        scale = 1.5 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.5
        values = (rng.uniform(-1, 1, shape) * scale).astype(numbers)
        yield helper.make_tensor(name, element, shape, values.view(np.uint16).tobytes(), raw=True)


def model(format, native):
    node, element = helper.make_node, FORMATS[format][0]
    tensors = list(constants(format, np.random.default_rng(21)))
    nodes = []
    if native:
        nodes.append(node("Cast", ["x"], ["h0"], to=element))
        names = {tensor.name: tensor.name for tensor in tensors}
    else:
        nodes += [node("Cast", [t.name], [f"{t.name}f"], to=TensorProto.FLOAT) for t in tensors]
        names = {tensor.name: f"{tensor.name}f" for tensor in tensors}
    first, last = ("h0", "h5") if native else ("x", "y")
    nodes += [
        node("Conv", [first, names["w1"], names["b1"]], ["h1"], "conv1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["h1"], ["h2"], "relu1"),
        node("Flatten", ["h2"], ["h3"], "flatten"),
        node("Gemm", ["h3", names["w2"], names["b2"]], ["h4"], "dense2", transB=1),
        node("Relu", ["h4"], ["h4r"], "relu2"),
        node("Gemm", ["h4r", names["w3"], names["b3"]], [last], "dense3", transB=1),
    ]
    if native:
        nodes.append(node("Cast", ["h5"], ["y"], to=TensorProto.FLOAT))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])]
    graph = helper.make_graph(nodes, f"{format}-{'native' if native else 'weights'}", inputs, outputs, tensors)
    made = helper.make_model(
        graph, producer_name="weightproof-tests", opset_imports=[helper.make_opsetid("", 22 if native else 13)],
        ir_version=10,
    )
    onnx.checker.check_model(made)
    return made


def write(folder, made):
    data, name = made.SerializeToString(deterministic=True), made.graph.name
    (folder / f"{name}.onnx").write_bytes(data)
    by = "reference" if name == "bf16-native" else "onnxruntime"
    if by == "reference":
        run = ReferenceEvaluator(made).run
    else:
        run = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run
    rng = np.random.default_rng(11)
    inputs = [rng.uniform(-1, 1, (1, 2, 4, 4)).astype(F32) for _ in range(SAMPLES)]
    rows = lambda arrays: [[float(v) for v in np.asarray(a, F32).ravel()] for a in arrays]
    recorded = {"by": by, "inputs": rows(inputs), "outputs": rows(run(None, {"x": x})[0] for x in inputs)}
    (folder / f"{name}.json").write_text(json.dumps(recorded) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_folder", type=pathlib.Path)
    folder = parser.parse_args().out_folder
    folder.mkdir(parents=True, exist_ok=True)
    for format in FORMATS:
        for native in [False, True]:
            write(folder, model(format, native))


if __name__ == "__main__":
    main()
