#!/usr/bin/env python3
"""Write small quantized ONNX models, most of them by ONNX Runtime's own quantizer.

    python3 make_quantized_onnx.py OUT_FOLDER

Each NAME.onnx comes with NAME.json: {"inputs", "outputs", "step"}, samples run
in ONNX Runtime with all its fusions, and the step of the last quantizer (0
where there is none).  Needs numpy, onnx and onnxruntime.
"""

import argparse
import json
import pathlib
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
)

SAMPLES = 12
F32 = np.float32


class Graph:
    """A graph under construction; values are tensor names, the input is x."""

    def __init__(self, name, shape, seed):
        self.name, self.shape = name, list(shape)
        self.nodes, self.tensors, self.count = [], [], 0
        self.rng = np.random.default_rng(seed)

    def op(self, kind, *inputs, domain="", **attributes):
        self.count += 1
        out = f"v{self.count}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [out], f"{kind.lower()}{self.count}", domain=domain, **attributes)
        )
        return out

    def init(self, array):
        self.count += 1
        self.tensors.append(numpy_helper.from_array(np.asarray(array), f"c{self.count}"))
        return self.tensors[-1].name

    def packed(self, kind, dims, values):
        """A tensor of 4-bit integers."""
        self.count += 1
        self.tensors.append(helper.make_tensor(f"c{self.count}", kind, dims, values))
        return self.tensors[-1].name

    def values(self, *shape):
        return self.rng.uniform(-1, 1, shape).astype(F32)

    def dense(self, x, rows, columns):
        scale = F32(1.5 / np.sqrt(columns))
        return self.op("Gemm", x, self.init(self.values(rows, columns) * scale), self.init(self.values(rows)), transB=1)

    def conv(self, x, rows, columns, size=3, **attributes):
        scale = F32(1.5 / np.sqrt(columns * size * size))
        weight = self.init(self.values(rows, columns, size, size) * scale)
        return self.op("Conv", x, weight, self.init(self.values(rows)), kernel_shape=[size, size], **attributes)

    def model(self, out, opset=13):
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"] + self.shape)]
        for node in self.nodes:
            node.output[:] = ["y" if name == out else name for name in node.output]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, self.name, inputs, outputs, self.tensors)
        sets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(
            graph, producer_name="weightproof-tests", opset_imports=sets, ir_version=10
        )


class Calibration(CalibrationDataReader):
    def __init__(self, shape):
        rng = np.random.default_rng(5)
        self.rows = iter([{"x": rng.uniform(-1, 1, [1] + shape).astype(F32)} for _ in range(64)])

    def get_next(self):
        return next(self.rows, None)


def dense():
    g = Graph("dense", [6], 1)
    h = g.op("Relu", g.dense("x", 8, 6))
    h = g.op("Relu", g.dense(h, 7, 8))
    return g, g.model(g.dense(h, 4, 7))


def smooth():
    g = Graph("smooth", [6], 2)
    h = g.op("LeakyRelu", g.dense("x", 8, 6), alpha=0.1)
    h = g.op("Sigmoid", g.dense(h, 7, 8))
    return g, g.model(g.dense(h, 4, 7))


def matmul():
    g = Graph("matmul", [6], 3)
    h = g.op("Relu", g.op("Add", g.op("MatMul", "x", g.init(g.values(6, 8))), g.init(g.values(8))))
    return g, g.model(g.op("MatMul", h, g.init(g.values(8, 4))))


def convolution():
    g = Graph("convolution", [2, 6, 6], 4)
    h = g.op("Relu", g.conv("x", 4, 2, pads=[1, 1, 1, 1], strides=[2, 2]))
    h = g.op("MaxPool", h, kernel_shape=[2, 2])
    return g, g.model(g.dense(g.op("Flatten", h), 4, 16))


def residual():
    g = Graph("residual", [2, 6, 6], 5)
    h = g.op("Relu", g.conv("x", 4, 2, pads=[1, 1, 1, 1]))
    branch = g.op("Relu", g.conv(h, 4, 4, pads=[1, 1, 1, 1]))
    h = g.op("Relu", g.op("Add", h, g.conv(branch, 4, 4, pads=[1, 1, 1, 1])))
    h = g.op("Concat", g.op("AveragePool", h, kernel_shape=[2, 2], strides=[2, 2]),
             g.op("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2]), axis=1)
    return g, g.model(g.dense(g.op("Flatten", g.op("GlobalAveragePool", h)), 4, 8))


def tokens():
    """One matrix for each row of a sample."""
    g = Graph("tokens", [3, 5], 6)
    h = g.op("Relu", g.op("Add", g.op("MatMul", "x", g.init(g.values(5, 6))), g.init(g.values(6))))
    return g, g.model(g.op("MatMul", g.op("Flatten", h), g.init(g.values(18, 4))))


I8, U8, I16, U16 = QuantType.QInt8, QuantType.QUInt8, QuantType.QInt16, QuantType.QUInt16
QDQ, OPERATOR = QuantFormat.QDQ, QuantFormat.QOperator
QUANTIZED = [
    ("dense-qdq-channel", dense, QDQ, I8, U8, True),
    ("dense-qdq-signed", dense, QDQ, I8, I8, False),
    ("dense-qdq-int16", dense, QDQ, I8, I16, True),
    ("dense-qdq-uint16", dense, QDQ, U8, U16, False),
    ("dense-operator", dense, OPERATOR, U8, U8, False),
    ("smooth-qdq", smooth, QDQ, I8, U8, True),
    ("smooth-operator", smooth, OPERATOR, I8, U8, False),
    ("matmul-qdq", matmul, QDQ, I8, U8, False),
    ("matmul-operator", matmul, OPERATOR, U8, U8, False),
    ("convolution-qdq", convolution, QDQ, I8, I8, True),
    ("convolution-operator", convolution, OPERATOR, I8, U8, True),
    ("residual-qdq", residual, QDQ, I8, U8, True),
    ("residual-operator", residual, OPERATOR, I8, U8, False),
]


DYNAMIC = [
    ("dense-dynamic", dense, I8, False),
    ("dense-dynamic-channel", dense, I8, True),
    ("matmul-dynamic", matmul, U8, True),
    ("tokens-dynamic", tokens, I8, True),
    ("convolution-dynamic", convolution, U8, False),
    ("residual-dynamic", residual, U8, False),
]
# The same after the fusions of ONNX Runtime.
FUSED = {"dense-dynamic-channel": "dense-dynamic-fused"}


def blocks(g, rows, columns, size, bits):
    """Integers of a weight in blocks along each row, their steps and zero points."""
    count = -(-columns // size)
    levels = g.rng.integers(0, 1 << bits, (rows, columns))
    return levels, (np.abs(g.values(rows, count)) * F32(0.2) + F32(0.02)), g.rng.integers(4, 12, (rows, count))


def int4_blocks():
    g = Graph("int4-blocks", [6], 7)
    levels, steps, zeros = blocks(g, 8, 6, 4, 4)
    weight = g.packed(TensorProto.UINT4, [6, 8], levels.T.ravel().tolist())
    zero = g.packed(TensorProto.UINT4, [2, 8], zeros.T.ravel().tolist())
    w = g.op("DequantizeLinear", weight, g.init(steps.T.copy()), zero, axis=0, block_size=4)
    h = g.op("Relu", g.op("Add", g.op("MatMul", "x", w), g.init(g.values(8))))
    return g.model(g.dense(h, 4, 8), opset=21)


def int4_signed():
    g = Graph("int4-signed", [6], 8)
    weight = g.packed(TensorProto.INT4, [5, 6], g.rng.integers(-8, 8, 30).tolist())
    w = g.op("DequantizeLinear", weight, g.init(np.abs(g.values(5)) * F32(0.1) + F32(0.01)), axis=0)
    h = g.op("Relu", g.op("Gemm", "x", w, g.init(g.values(5)), transB=1))
    return g.model(g.dense(h, 4, 5), opset=21)


def n_bits(bits):
    def build():
        g = Graph(f"nbits-{bits}", [40], 9 + bits)
        levels, steps, zeros = blocks(g, 6, 40, 16, bits)
        padded = np.zeros((6, 48), np.uint8)
        padded[:, :40] = levels
        pairs = padded.reshape(6, 3, 16)
        data = pairs[..., ::2] | pairs[..., 1::2] << 4 if bits == 4 else pairs
        packed = np.concatenate([zeros, np.zeros((6, 1), int)], 1).astype(np.uint8)
        zero = packed[:, ::2] | packed[:, 1::2] << 4 if bits == 4 else zeros.astype(np.uint8)
        h = g.op("MatMulNBits", "x", g.init(data.astype(np.uint8)), g.init(steps.ravel()), g.init(zero.ravel()),
                 domain="com.microsoft", K=40, N=6, bits=bits, block_size=16)
        return g.model(g.dense(g.op("Relu", h), 4, 6), opset=21)
    return build


def weights_in_floats():
    """QuantizeLinear of the weights themselves, as training with quantization is exported."""
    g = Graph("weights-in-floats", [6], 10)
    def fake(x, step, zero, **attributes):
        return g.op("DequantizeLinear", g.op("QuantizeLinear", x, step, zero, **attributes), step, zero, **attributes)
    step, zero = g.init(np.abs(g.values(8)) * F32(0.01) + F32(0.005)), g.init(np.zeros(8, np.int8))
    w = fake(g.init(g.values(8, 6)), step, zero, axis=0)
    x = fake("x", g.init(F32(0.02)), g.init(np.uint8(100)))
    h = g.op("Relu", g.op("Gemm", x, w, g.init(g.values(8)), transB=1))
    h = fake(h, g.init(F32(0.03)), g.init(np.uint8(0)))
    return g.model(g.dense(h, 4, 8))


def integer_to_float():
    """MatMulIntegerToFloat, once with a step that follows from the data and once with a constant one; two products read one quantizer."""
    g = Graph("integer-to-float", [6], 12)
    def quantized(rows, columns):
        return g.init(g.rng.integers(-127, 128, (rows, columns)).astype(np.int8)), g.init(g.values(columns) * F32(0.004) + F32(0.006))
    g.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "range"))
    (w, t), (v, u) = quantized(6, 8), quantized(6, 8)
    zero = g.init(np.arange(8).astype(np.int8) - 4)
    a = g.op("MatMulIntegerToFloat", "q", w, "s", t, "z", zero, g.init(g.values(8)), domain="com.microsoft")
    b = g.op("Mul", g.op("Cast", g.op("MatMulInteger", "q", v, "z"), to=1), g.op("Mul", u, "s"))
    h = g.op("Relu", g.op("Add", a, b))
    step, zero = g.init(F32(0.03)), g.init(np.uint8(3))
    q = g.op("QuantizeLinear", h, step, zero)
    w, t = quantized(8, 5)
    h = g.op("Relu", g.op("MatMulIntegerToFloat", q, w, step, t, zero, domain="com.microsoft"))
    q = g.op("QuantizeLinear", h, step, zero)
    w, t = quantized(5, 4)
    return g.model(g.op("Mul", g.op("Cast", g.op("MatMulInteger", q, w, zero), to=1), g.init(F32(2e-4))))


WRITTEN = [int4_blocks, int4_signed, n_bits(4), n_bits(8), weights_in_floats, integer_to_float]


def last_step(model):
    """The step of the quantizer that the output comes from; 0 when it comes from none."""
    last = model.graph.node[-1]
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type in (1,)}
    return float(constants[last.input[1]]) if last.op_type == "DequantizeLinear" else 0.0


def write(folder, name, model):
    data = model.SerializeToString(deterministic=True)
    (folder / f"{name}.onnx").write_bytes(data)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    shape = [d if isinstance(d, int) else 1 for d in session.get_inputs()[0].shape]
    rng = np.random.default_rng(11)
    inputs, outputs = [], []
    for _ in range(SAMPLES):
        x = rng.uniform(-1, 1, shape).astype(F32)
        inputs.append([float(v) for v in x.ravel()])
        outputs.append([float(v) for v in session.run(None, {"x": x})[0].ravel()])
    rows = lambda name, v: f' "{name}": [\n' + ",\n".join("  " + json.dumps(r) for r in v) + "\n ]"
    text = "{\n" + rows("inputs", inputs) + ",\n" + rows("outputs", outputs)
    (folder / f"{name}.json").write_text(text + f',\n "step": {last_step(model)}\n}}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_folder", type=pathlib.Path)
    folder = parser.parse_args().out_folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        plain, quantized = pathlib.Path(scratch) / "plain.onnx", pathlib.Path(scratch) / "quantized.onnx"
        for name, build, form, weights, activations, per_channel in QUANTIZED:
            graph, model = build()
            onnx.save(onnx.shape_inference.infer_shapes(model), plain)
            quantize_static(plain, quantized, Calibration(graph.shape), quant_format=form, per_channel=per_channel,
                            weight_type=weights, activation_type=activations,
                            extra_options={"ActivationSymmetric": False})
            write(folder, name, onnx.load(quantized))
        for name, build, weights, per_channel in DYNAMIC:
            _, model = build()
            onnx.save(onnx.shape_inference.infer_shapes(model), plain)
            quantize_dynamic(plain, quantized, weight_type=weights, per_channel=per_channel)
            write(folder, name, onnx.load(quantized))
            if name in FUSED:
                options = ort.SessionOptions()
                options.optimized_model_filepath = str(plain)
                options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
                ort.InferenceSession(str(quantized), options, providers=["CPUExecutionProvider"])
                fused = onnx.load(plain)
                fused.producer_name = "weightproof-tests"
                write(folder, FUSED[name], fused)
    for build in WRITTEN:
        model = build()
        write(folder, model.graph.name, model)
    print(f"{len(QUANTIZED) + len(DYNAMIC) + len(FUSED) + len(WRITTEN)} models")


if __name__ == "__main__":
    main()
