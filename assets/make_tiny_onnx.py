#!/usr/bin/env python3
"""Write tiny ONNX models that cover the reader's operators and encodings.

    python3 make_tiny_onnx.py OUT_FOLDER

Each NAME.onnx comes with NAME.json: {"inputs", "outputs", "opset"}, three
samples run one by one (batch 1) in ONNX Runtime and flattened.  The models in
OUT_FOLDER/later use things the reader does not take yet.  Needs numpy, onnx and
onnxruntime; the result does not depend on anything but their versions.
"""

import argparse
import json
import pathlib
import zlib

import numpy as np
import onnx
import onnxruntime
import tiny_convolutions
import tiny_jumps
from onnx import TensorProto, helper, numpy_helper

SAMPLES = 3
F32 = np.float32
CASES = []


def case(function):
    CASES.append(function)
    return function


class Model:
    """One model under construction; values are tensor names."""

    def __init__(self, name, opset=13, dtype=F32, shape=("N", 6), later=False, ir=None):
        self.name, self.opset, self.dtype, self.later = name, opset, np.dtype(dtype), later
        self.shape = list(shape)
        self.ir = ir or helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
        self.nodes, self.tensors, self.count = [], [], 0
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        # Up to IR version 3 every initializer is a graph input as well.
        self.tensors_as_inputs = self.ir < 4

    def values(self, *shape):
        return self.rng.uniform(-1, 1, shape).astype(self.dtype)

    def fresh(self, stem):
        self.count += 1
        return f"{stem}{self.count}"

    def op(self, kind, *inputs, outputs=1, **attributes):
        out = [self.fresh("v") for _ in range(outputs)]
        self.nodes.append(
            helper.make_node(kind, list(inputs), out, self.fresh(kind.lower()), **attributes)
        )
        return out[0] if outputs == 1 else out

    def tensor(self, proto):
        self.tensors.append(proto)
        return proto.name

    def init(self, array, stem="c"):
        return self.tensor(numpy_helper.from_array(np.asarray(array), self.fresh(stem)))

    def floats(self, *numbers):
        """A scalar for one number, else a vector, in the model's type."""
        return self.init(np.array(numbers[0] if len(numbers) == 1 else numbers, self.dtype))

    def ints(self, *numbers):
        return self.init(np.array(numbers, np.int64))

    def dense(self, x, rows, columns, bias=True):
        inputs = [x, self.init(self.values(rows, columns), "w")]
        if bias:
            inputs.append(self.init(self.values(rows), "b"))
        return self.op("Gemm", *inputs, transB=1)

    def tail(self, x, columns=5, rows=4):
        """Relu and one more layer, so that a mistake before it does not go unseen."""
        return self.dense(self.op("Relu", x), rows, columns)

    def finish(self, out):
        # The graph output gets a name of its own.
        for node in self.nodes:
            node.output[:] = ["y" if name == out else name for name in node.output]
            node.input[:] = ["y" if name == out else name for name in node.input]
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        inputs = [helper.make_tensor_value_info("x", kind, self.shape)]
        if self.tensors_as_inputs:
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in self.tensors]
        outputs = [helper.make_empty_tensor_value_info("y")]
        outputs[0].type.tensor_type.elem_type = kind
        graph = helper.make_graph(self.nodes, self.name, inputs, outputs, self.tensors)
        self.proto = helper.make_model(
            graph,
            producer_name="weightproof-tests",
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=self.ir,
        )
        inferred = onnx.shape_inference.infer_shapes(self.proto, data_prop=True)
        self.proto.graph.output[0].CopyFrom(inferred.graph.output[0])
        return self

    def write(self, folder):
        folder = folder / "later" if self.later else folder
        folder.mkdir(parents=True, exist_ok=True)
        data = self.proto.SerializeToString(deterministic=True)
        (folder / f"{self.name}.onnx").write_bytes(data)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        shape = [d if isinstance(d, int) and d > 0 else 1 for d in self.shape]
        inputs, outputs = [], []
        for _ in range(SAMPLES):
            x = self.rng.uniform(-2, 2, shape).astype(self.dtype)
            y = session.run(None, {"x": x})[0]
            assert y.dtype == self.dtype and np.isfinite(y).all()
            inputs.append([float(v) for v in x.ravel()])
            outputs.append([float(v) for v in y.ravel()])
        rows = lambda name, v: f' "{name}": [\n' + ",\n".join("  " + json.dumps(r) for r in v) + "\n ]"
        text = "{\n" + rows("inputs", inputs) + ",\n" + rows("outputs", outputs)
        text += f',\n "opset": {self.opset}\n}}\n'
        (folder / f"{self.name}.json").write_text(text)


# --- Gemm -------------------------------------------------------------------


@case
def gemm():
    yield plain("gemm-transb1")
    for name, attributes, c in [
        ("gemm-transb0", {}, (5,)),
        ("gemm-alpha", {"alpha": 0.5}, (5,)),
        ("gemm-beta", {"beta": -1.5}, (5,)),
        ("gemm-alpha-beta-transb1", {"alpha": 2.25, "beta": 0.3, "transB": 1}, (5,)),
        ("gemm-beta-zero", {"beta": 0.0, "transB": 1}, (5,)),
        ("gemm-without-c", {"transB": 1}, None),
        ("gemm-without-c-transb0", {"alpha": 0.7}, None),
        ("gemm-empty-c-name", {"transB": 1}, ""),
        ("gemm-c-scalar", {"transB": 1, "beta": 0.5}, ()),
        ("gemm-c-one", {"transB": 1}, (1,)),
        ("gemm-c-one-by-n", {"transB": 1}, (1, 5)),
        ("gemm-c-one-by-one", {}, (1, 1)),
        ("gemm-explicit-defaults", {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}, (5,)),
    ]:
        m = Model(name)
        w = m.init(m.values(5, 6) if attributes.get("transB") else m.values(6, 5), "w")
        more = [] if c is None else [""] if c == "" else [m.init(m.values(*c), "b")]
        yield m.finish(m.tail(m.op("Gemm", "x", w, *more, **attributes)))
    # The constant on the left: columns as samples, W'x + c.
    m = Model("gemm-constant-left-transa", shape=(6, 1))
    w, c = m.init(m.values(6, 5), "w"), m.init(m.values(5, 1), "b")
    yield m.finish(m.op("Tanh", m.op("Gemm", w, "x", c, transA=1)))
    m = Model("gemm-constant-left-both-transposed", shape=(1, 6))
    w, c = m.init(m.values(6, 5), "w"), m.init(m.values(5, 1), "b")
    yield m.finish(m.op("Tanh", m.op("Gemm", w, "x", c, transA=1, transB=1)))


def plain(name, activation="Relu", **options):
    """Dense, activation, dense."""
    attributes = options.pop("attributes", {})
    m = Model(name, **options)
    h = m.op(activation, m.dense("x", 5, 6), **attributes)
    return m.finish(m.dense(h, 4, 5))


# --- MatMul and Add -----------------------------------------------------------


@case
def matmul():
    for name, bias, first in [
        ("matmul-add", (5,), False),
        ("matmul-add-bias-first", (5,), True),
        ("matmul-add-one-by-n", (1, 5), False),
        ("matmul-add-one-by-n-first", (1, 5), True),
        ("matmul-add-scalar", (), False),
        ("matmul-add-one", (1,), False),
        ("matmul-only", None, False),
    ]:
        m = Model(name)
        h = m.op("MatMul", "x", m.init(m.values(6, 5), "w"))
        if bias is not None:
            b = m.init(m.values(*bias), "b")
            h = m.op("Add", *((b, h) if first else (h, b)))
        yield m.finish(m.tail(h))
    m = Model("matmul-sub-bias")
    h = m.op("Sub", m.op("MatMul", "x", m.init(m.values(6, 5), "w")), m.init(m.values(5), "b"))
    yield m.finish(m.tail(h))
    m = Model("matmul-transposed-weight")
    w = m.op("Transpose", m.init(m.values(5, 6), "w"), perm=[1, 0])
    h = m.op("Add", m.op("MatMul", "x", w), m.init(m.values(5), "b"))
    yield m.finish(m.tail(h))
    m = Model("gemm-transposed-weight-default-perm")
    w = m.op("Transpose", m.init(m.values(5, 6), "w"))
    yield m.finish(m.tail(m.op("Gemm", "x", w, m.init(m.values(5), "b"))))
    m = Model("gemm-reshaped-weight")
    w = m.op("Reshape", m.init(m.values(30), "w"), m.ints(5, -1))
    yield m.finish(m.tail(m.op("Gemm", "x", w, m.init(m.values(5), "b"), transB=1)))
    m = Model("matmul-reshaped-weight-zero")
    w = m.op("Reshape", m.init(m.values(6, 5, 1), "w"), m.ints(0, 5))
    yield m.finish(m.tail(m.op("MatMul", "x", w)))
    m = Model("gemm-identity-weight")
    w, b = m.init(m.values(5, 6), "w"), m.init(m.values(5), "b")
    yield m.finish(m.tail(m.op("Gemm", "x", m.op("Identity", w), m.op("Identity", b), transB=1)))


# --- Encodings of constants -----------------------------------------------------


def typed_tensor(m, array, kind, field):
    """An initializer with its numbers in the named field of TensorProto."""
    t = TensorProto(name=m.fresh("w"), data_type=kind, dims=array.shape)
    if field == "raw_data":
        t.raw_data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    elif array.dtype == np.float16:
        t.int32_data.extend(int(v) for v in array.ravel().view(np.uint16))
    else:
        getattr(t, field).extend(array.ravel().tolist())
    return m.tensor(t)


@case
def encodings():
    for field in ["raw_data", "float_data"]:
        m = Model("weight-" + field.replace("_", "-"))
        w = typed_tensor(m, m.values(5, 6), TensorProto.FLOAT, field)
        b = typed_tensor(m, m.values(5), TensorProto.FLOAT, field)
        yield m.finish(m.tail(m.op("Gemm", "x", w, b, transB=1)))
    for field in ["raw_data", "double_data"]:
        m = Model("double-" + field.replace("_", "-"), dtype=np.float64)
        w = typed_tensor(m, m.values(5, 6), TensorProto.DOUBLE, field)
        b = typed_tensor(m, m.values(5), TensorProto.DOUBLE, field)
        yield m.finish(m.tail(m.op("Gemm", "x", w, b, transB=1)))
    for field in ["raw_data", "int32_data"]:
        m = Model("half-weight-cast-" + field.replace("_", "-"))
        w = typed_tensor(m, m.values(5, 6).astype(np.float16), TensorProto.FLOAT16, field)
        b = typed_tensor(m, m.values(5).astype(np.float16), TensorProto.FLOAT16, field)
        w, b = (m.op("Cast", t, to=TensorProto.FLOAT) for t in (w, b))
        yield m.finish(m.tail(m.op("Gemm", "x", w, b, transB=1)))
    m = Model("double-weight-cast")
    w = m.op("Cast", m.init(m.values(5, 6).astype(np.float64), "w"), to=TensorProto.FLOAT)
    yield m.finish(m.tail(m.op("Gemm", "x", w, transB=1)))

    m = Model("weight-constant-node")
    w, b = (m.op("Constant", value=numpy_helper.from_array(m.values(*s))) for s in [(5, 6), (5,)])
    yield m.finish(m.tail(m.op("Gemm", "x", w, b, transB=1)))
    m = Model("constant-value-float")
    h = m.op("Mul", "x", m.op("Constant", value_float=0.75))
    yield m.finish(m.tail(m.dense(h, 5, 6)))
    m = Model("constant-value-floats")
    b = m.op("Constant", value_floats=[0.5, -0.25, 0.125, 1.0, -2.0])
    h = m.op("Add", m.op("MatMul", "x", m.init(m.values(6, 5), "w")), b)
    yield m.finish(m.tail(h))
    m = Model("constant-value-ints", shape=("N", 1, 2, 3))
    h = m.op("Reshape", "x", m.op("Constant", value_ints=[-1, 6]))
    yield m.finish(m.tail(m.dense(h, 5, 6)))
    m = Model("constant-identity-chain")
    b = m.op("Identity", m.op("Identity", m.op("Constant", value=numpy_helper.from_array(m.values(5)))))
    h = m.op("Add", b, m.op("MatMul", "x", m.init(m.values(6, 5), "w")))
    yield m.finish(m.tail(h))

    m = plain("initializers-as-inputs", opset=8, ir=3)
    yield m
    m = Model("initializers-as-inputs-first", opset=7, ir=3)
    m.finish(m.tail(m.dense("x", 5, 6)))
    values = list(m.proto.graph.input)
    del m.proto.graph.input[:]
    m.proto.graph.input.extend(values[1:] + values[:1])
    yield m
    m = Model("unused-initializer")
    m.init(m.values(3, 3), "unused")
    yield m.finish(m.tail(m.dense("x", 5, 6)))
    m = plain("unnamed-nodes")
    for node in m.proto.graph.node:
        node.name = ""
    yield m
    m = plain("extra-metadata")
    m.proto.doc_string = "A description.\n\u00fcber"
    m.proto.graph.doc_string = "graph"
    helper.set_model_props(m.proto, {"author": "tests", "note": "\u03b1"})
    m.proto.graph.node[0].doc_string = "first"
    m.proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    m.proto.graph.value_info.append(
        helper.make_tensor_value_info(m.proto.graph.node[0].output[0], TensorProto.FLOAT, ["N", 5])
    )
    yield m
    m = plain("output-without-shape")
    m.proto.graph.output[0].type.tensor_type.ClearField("shape")
    yield m
    m = plain("long-opset-domain")
    m.proto.opset_import[0].domain = "ai.onnx"
    yield m


# --- Opsets, batch dimensions and input shapes ------------------------------------


@case
def opsets():
    for opset in [7, 8, 9, 11, 13, 14, 17, 19, 20, 21, 22, 23]:
        yield plain(f"opset-{opset}", opset=opset)


@case
def batches():
    yield plain("batch-1", shape=(1, 6))
    yield plain("batch-symbolic", shape=("batch_size", 6))
    yield plain("batch-minus-1", shape=(-1, 6))
    yield plain("batch-unknown", shape=(None, 6))
    m = Model("input-rank-3", shape=(1, 2, 3))
    h = m.op("MatMul", m.op("Flatten", "x", axis=1), m.init(m.values(6, 5), "w"))
    yield m.finish(m.tail(h))
    m = Model("input-column", shape=(1, 6, 1))
    yield m.finish(m.tail(m.dense(m.op("Flatten", "x"), 5, 6)))


# --- Activations --------------------------------------------------------------------


@case
def activations():
    for name, activation, attributes, opset in [
        ("leakyrelu-default", "LeakyRelu", {}, 13),
        ("leakyrelu-alpha", "LeakyRelu", {"alpha": 0.2}, 13),
        ("leakyrelu-opset-16", "LeakyRelu", {"alpha": 0.125}, 16),
        ("sigmoid", "Sigmoid", {}, 13),
        ("tanh", "Tanh", {}, 13),
        ("softplus", "Softplus", {}, 13),
        ("gelu-default", "Gelu", {}, 20),
        ("gelu-none", "Gelu", {"approximate": "none"}, 20),
        ("gelu-tanh", "Gelu", {"approximate": "tanh"}, 20),
    ]:
        yield plain(name, activation, attributes=attributes, opset=opset)
    for activation in ["Sigmoid", "Tanh"]:
        yield plain(f"{activation.lower()}-double", activation, dtype=np.float64)
    m = Model("relu-final")
    yield m.finish(m.op("Relu", m.dense(m.op("Relu", m.dense("x", 5, 6)), 4, 5)))
    m = Model("relu-first")
    yield m.finish(m.tail(m.dense(m.op("Relu", "x"), 5, 6)))
    m = Model("linear-pair")
    yield m.finish(m.dense(m.dense("x", 5, 6), 4, 5))
    m = Model("single-layer")
    yield m.finish(m.dense("x", 4, 6))
    m = Model("activation-mix")
    h = m.op("Tanh", m.dense("x", 5, 6))
    h = m.op("LeakyRelu", m.dense(h, 5, 5), alpha=0.3)
    h = m.op("Sigmoid", m.dense(h, 5, 5))
    yield m.finish(m.dense(h, 4, 5))

    # GELU as exporters before opset 20 write it.
    for name, constant_first, half_first, nodes in [
        ("gelu-decomposed", False, False, False),
        ("gelu-decomposed-constants-first", True, False, False),
        ("gelu-decomposed-half-first", False, True, False),
        ("gelu-decomposed-constant-nodes", False, False, True),
    ]:
        m = Model(name)
        if nodes:
            scalar = lambda v: m.op("Constant", value=numpy_helper.from_array(np.array(v, F32)))
        else:
            scalar = m.floats
        h = m.dense("x", 5, 6)
        swap = (lambda a, b: (b, a)) if constant_first else (lambda a, b: (a, b))
        e = m.op("Erf", m.op("Div", h, scalar(np.sqrt(2))))
        e = m.op("Add", *swap(e, scalar(1.0)))
        if half_first:
            g = m.op("Mul", m.op("Mul", h, scalar(0.5)), e)
        else:
            g = m.op("Mul", *swap(m.op("Mul", *swap(h, e)), scalar(0.5)))
        yield m.finish(m.dense(g, 4, 5))
    m = Model("gelu-decomposed-reciprocal")
    h = m.dense("x", 5, 6)
    e = m.op("Add", m.op("Erf", m.op("Mul", h, m.floats(np.sqrt(0.5)))), m.floats(1.0))
    g = m.op("Mul", m.op("Mul", h, e), m.floats(0.5))
    yield m.finish(m.dense(g, 4, 5))


@case
def final():
    for name, kind, opset, attributes in [
        ("softmax-final-opset-11", "Softmax", 11, {}),
        ("softmax-final-opset-11-axis-1", "Softmax", 11, {"axis": 1}),
        ("softmax-final-opset-13", "Softmax", 13, {}),
        ("softmax-final-axis-1", "Softmax", 13, {"axis": 1}),
        ("logsoftmax-final-opset-11", "LogSoftmax", 11, {}),
        ("logsoftmax-final-opset-13", "LogSoftmax", 13, {"axis": -1}),
    ]:
        m = Model(name, opset=opset)
        yield m.finish(m.op(kind, m.tail(m.dense("x", 5, 6)), **attributes))


# --- Shapes ---------------------------------------------------------------------------


@case
def shapes():
    for name, shape, attributes in [
        ("flatten-default", ("N", 1, 2, 3), {}),
        ("flatten-axis-1", ("N", 2, 3), {"axis": 1}),
        ("flatten-axis-minus-1", (1, 1, 6), {"axis": -1}),
        ("flatten-axis-minus-3", (1, 1, 2, 3), {"axis": -3}),
        ("flatten-axis-0", (1, 2, 3), {"axis": 0}),
        ("flatten-axis-2", (1, 1, 6), {"axis": 2}),
        ("flatten-flat-input", ("N", 6), {}),
    ]:
        m = Model(name, shape=shape)
        yield m.finish(m.tail(m.dense(m.op("Flatten", "x", **attributes), 5, 6)))
    m = Model("flatten-twice", shape=("N", 2, 3))
    h = m.tail(m.dense(m.op("Flatten", "x"), 5, 6))
    yield m.finish(m.op("Flatten", h))

    for name, shape, target in [
        ("reshape-minus-1", ("N", 1, 2, 3), (-1, 6)),
        ("reshape-zero", ("N", 1, 2, 3), (0, 6)),
        ("reshape-zero-minus-1", ("N", 1, 2, 3), (0, -1)),
        ("reshape-one", (1, 2, 3), (1, 6)),
        ("reshape-one-minus-1", (1, 2, 3), (1, -1)),
    ]:
        m = Model(name, shape=shape)
        yield m.finish(m.tail(m.dense(m.op("Reshape", "x", m.ints(*target)), 5, 6)))
    m = Model("reshape-back-and-forth", shape=("N", 6))
    h = m.op("Reshape", "x", m.ints(-1, 1, 2, 3))
    h = m.op("Reshape", h, m.ints(0, 6))
    yield m.finish(m.tail(m.dense(h, 5, 6)))
    m = Model("reshape-allowzero", opset=14, shape=("N", 2, 3))
    yield m.finish(m.tail(m.dense(m.op("Reshape", "x", m.ints(-1, 6), allowzero=1), 5, 6)))
    m = Model("reshape-hidden")
    h = m.op("Relu", m.dense("x", 6, 6))
    h = m.op("Reshape", m.op("Reshape", h, m.ints(0, 2, 3)), m.ints(0, 6))
    yield m.finish(m.dense(h, 4, 6))

    m = Model("squeeze-opset-11", opset=11, shape=(1, 1, 1, 6))
    yield m.finish(m.tail(m.dense(m.op("Squeeze", "x", axes=[1, 2]), 5, 6)))
    m = Model("squeeze-opset-13", shape=(1, 1, 6, 1))
    yield m.finish(m.tail(m.dense(m.op("Squeeze", "x", m.ints(1, -1)), 5, 6)))
    m = Model("unsqueeze-opset-11", opset=11, shape=(6,))
    yield m.finish(m.tail(m.dense(m.op("Unsqueeze", "x", axes=[0]), 5, 6)))
    m = Model("unsqueeze-squeeze-opset-13")
    h = m.op("Relu", m.dense("x", 5, 6))
    h = m.op("Squeeze", m.op("Unsqueeze", h, m.ints(2)), m.ints(2))
    yield m.finish(m.dense(h, 4, 5))


# --- Normalisation by constants -----------------------------------------------------------


@case
def normalisation():
    nchw, nhwc = ("N", 3, 2, 2), ("N", 2, 2, 3)
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

    def steps(name, shape, *ops, opset=13, dtype=F32):
        """ops: (kind, constant, constant on the left?)"""
        m = Model(name, opset=opset, shape=shape, dtype=dtype)
        h = "x"
        for kind, constant, left in ops:
            if constant is None:
                h = m.op(kind, h)
            else:
                c = m.init(np.asarray(constant, m.dtype))
                h = m.op(kind, *((c, h) if left else (h, c)))
        size = int(np.prod(shape[1:]))
        if len(shape) > 2:
            h = m.op("Flatten", h)
        return m.finish(m.tail(m.dense(h, 5, size)))

    column = lambda v: np.reshape(v, (3, 1, 1))
    four = lambda v: np.reshape(v, (1, 3, 1, 1))
    yield steps("normalise-nchw", nchw, ("Sub", four(mean), 0), ("Div", four(deviation), 0))
    yield steps("normalise-nchw-rank-3", nchw, ("Sub", column(mean), 0), ("Div", column(deviation), 0))
    yield steps("normalise-nchw-batch-1", (1, 3, 2, 2), ("Sub", four(mean), 0), ("Div", four(deviation), 0))
    yield steps("normalise-nhwc", nhwc, ("Sub", mean, 0), ("Div", deviation, 0))
    yield steps("normalise-nhwc-rank-4", (1, 2, 2, 3), ("Sub", np.reshape(mean, (1, 1, 1, 3)), 0), ("Mul", 4.0, 0))
    yield steps("normalise-per-row", nchw, ("Mul", [[0.5], [2.0]], 0))
    yield steps("normalise-per-pixel", (1, 1, 2, 3), ("Sub", np.arange(6).reshape(1, 1, 2, 3) / 8, 0))
    yield steps("normalise-flat-vector", ("N", 6), ("Sub", np.arange(6) / 4, 0), ("Div", np.arange(1, 7) / 2, 0))
    yield steps("normalise-scalar", ("N", 6), ("Sub", 0.1307, 0), ("Div", 0.3081, 0))
    yield steps("normalise-one", ("N", 6), ("Sub", [0.1307], 0), ("Div", [0.3081], 0))
    yield steps("normalise-ones-rank-4", (1, 1, 2, 3), ("Sub", [[[[0.1307]]]], 0), ("Div", [[[[0.3081]]]], 0))
    yield steps("normalise-scalar-mul-add", ("N", 6), ("Mul", 2.0, 0), ("Add", -1.0, 0))
    yield steps("constant-minus-x", ("N", 6), ("Sub", 1.0, 1))
    yield steps("constant-minus-x-per-channel", nchw, ("Sub", four(mean), 1))
    yield steps("constant-plus-x", ("N", 6), ("Add", np.arange(6) / 8, 1))
    yield steps("constant-times-x", ("N", 6), ("Mul", np.arange(6) / 8 - 0.25, 1))
    yield steps("constant-times-x-per-channel", nchw, ("Mul", column(deviation), 1))
    yield steps("neg-input", ("N", 6), ("Neg", None, 0))
    yield steps("neg-and-scale", ("N", 6), ("Neg", None, 0), ("Mul", 0.5, 1), ("Add", 1.0, 1), ("Neg", None, 0))
    yield steps("normalise-opset-7", ("N", 6), ("Sub", 0.5, 0), ("Div", [0.25] * 6, 0), opset=7)
    yield steps("normalise-double", ("N", 6), ("Sub", 0.1307, 0), ("Div", 0.3081, 0), dtype=np.float64)

    m = Model("normalise-constant-nodes", shape=(1, 1, 2, 3))
    h = "x"
    for kind, v in [("Sub", 0.1307), ("Div", 0.3081)]:
        h = m.op(kind, h, m.op("Constant", value=numpy_helper.from_array(np.full((1, 1, 1, 1), v, F32))))
    yield m.finish(m.tail(m.dense(m.op("Flatten", h), 5, 6)))
    m = Model("scale-hidden")
    h = m.op("Mul", m.dense("x", 5, 6), m.floats(0.5))
    h = m.op("Sub", m.floats(0.25), m.op("Relu", h))
    h = m.op("Div", m.op("Neg", m.dense(h, 5, 5)), m.floats(2.0, 1.0, 4.0, 0.5, -1.0))
    yield m.finish(m.tail(h))
    m = Model("scale-output")
    h = m.op("Mul", m.tail(m.dense("x", 5, 6)), m.floats(10.0))
    yield m.finish(m.op("Add", h, m.floats(1.0, 2.0, 3.0, 4.0)))


# --- Nodes that do nothing ------------------------------------------------------------------


@case
def nothing():
    m = Model("identity")
    h = m.op("Identity", m.dense(m.op("Identity", "x"), 5, 6))
    yield m.finish(m.op("Identity", m.tail(h)))
    m = Model("dropout-opset-7", opset=7)
    yield m.finish(m.tail(m.op("Dropout", m.dense("x", 5, 6), ratio=0.4)))
    m = Model("dropout-opset-10-mask", opset=10)
    h, _ = m.op("Dropout", m.dense("x", 5, 6), ratio=0.4, outputs=2)
    yield m.finish(m.tail(h))
    m = Model("dropout-opset-12", opset=12)
    yield m.finish(m.tail(m.op("Dropout", m.dense("x", 5, 6))))
    m = Model("dropout-opset-12-ratio", opset=12)
    yield m.finish(m.tail(m.op("Dropout", m.dense("x", 5, 6), m.floats(0.3))))
    m = Model("dropout-opset-13-not-training")
    no = m.init(np.array(False))
    yield m.finish(m.tail(m.op("Dropout", m.dense("x", 5, 6), m.floats(0.3), no)))
    m = Model("dropout-opset-13-no-ratio-not-training")
    no = m.init(np.array(False))
    yield m.finish(m.tail(m.op("Dropout", m.dense("x", 5, 6), "", no)))
    m = Model("cast-float-to-float")
    yield m.finish(m.tail(m.op("Cast", m.dense(m.op("Cast", "x", to=1), 5, 6), to=1)))


# --- Graphs that branch, and models that are not taken yet ------------------------------------------


@case
def branches():
    m = Model("residual-add")
    h = m.op("Relu", m.dense("x", 5, 6))
    yield m.finish(m.dense(m.op("Add", m.op("Relu", m.dense(h, 5, 5)), h), 4, 5))
    m = Model("input-skip")
    h = m.op("Relu", m.dense("x", 6, 6))
    yield m.finish(m.dense(m.op("Add", "x", h), 4, 6))
    m = Model("concat-branches")
    h = m.op("Concat", m.op("Relu", m.dense("x", 3, 6)), m.op("Tanh", m.dense("x", 2, 6)), axis=1)
    yield m.finish(m.dense(h, 4, 5))
    m = Model("shared-weight")
    w, b = m.init(m.values(6, 6), "w"), m.init(m.values(6), "b")
    h = m.op("Relu", m.op("Gemm", "x", w, b, transB=1))
    yield m.finish(m.dense(m.op("Relu", m.op("Gemm", h, w, b, transB=1)), 4, 6))
    m = Model("shared-bias")
    b = m.init(m.values(6), "b")
    h = "x"
    for _ in range(2):
        h = m.op("Relu", m.op("Gemm", h, m.init(m.values(6, 6), "w"), b, transB=1))
    yield m.finish(m.dense(h, 4, 6))
    m = Model("reshape-computed-shape", shape=("N", 2, 3))
    n = m.op("Gather", m.op("Shape", "x"), m.init(np.array(0, np.int64)), axis=0)
    target = m.op("Concat", m.op("Unsqueeze", n, m.ints(0)), m.ints(-1), axis=0)
    yield m.finish(m.tail(m.dense(m.op("Reshape", "x", target), 5, 6)))
    m = Model("transpose-data", shape=("N", 2, 3))
    h = m.op("Flatten", m.op("Transpose", "x", perm=[0, 2, 1]))
    yield m.finish(m.tail(m.dense(h, 5, 6)))
    m = Model("gelu-tanh-decomposed", later=True)
    h = m.dense("x", 5, 6)
    cube = m.op("Mul", m.op("Pow", h, m.floats(3.0)), m.floats(0.044715))
    t = m.op("Tanh", m.op("Mul", m.op("Add", h, cube), m.floats(np.sqrt(2 / np.pi))))
    g = m.op("Mul", m.op("Mul", h, m.floats(0.5)), m.op("Add", t, m.floats(1.0)))
    yield m.finish(m.dense(g, 4, 5))
    m = Model("two-relus-of-one")
    h = m.dense("x", 5, 6)
    h = m.op("Sub", m.op("Relu", h), m.op("Relu", m.op("Neg", h)))
    yield m.finish(m.dense(h, 4, 5))
    m = Model("dead-branch")
    m.op("Sin", "x")
    yield m.finish(m.tail(m.dense("x", 5, 6)))
    m = Model("batchnorm")
    h = m.dense("x", 5, 6)
    parameters = [m.init(np.abs(m.values(5)) + F32(0.5)) for _ in range(4)]
    yield m.finish(m.tail(m.op("BatchNormalization", h, *parameters)))
    m = Model("convolution", shape=("N", 1, 3, 3))
    h = m.op("Relu", m.op("Conv", "x", m.init(m.values(2, 1, 2, 2), "w"), m.init(m.values(2), "b")))
    yield m.finish(m.dense(m.op("Flatten", h), 4, 8))
    m = Model("half-model", dtype=np.float16, later=True)
    yield m.finish(m.tail(m.op("MatMul", "x", m.init(m.values(6, 5), "w"))))
    m = Model("batch-fixed-4", shape=(4, 6), later=True)
    yield m.finish(m.tail(m.dense("x", 5, 6)))
    m = Model("elu-activation", later=True)
    yield m.finish(m.dense(m.op("Elu", m.dense("x", 5, 6)), 4, 5))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_folder", type=pathlib.Path)
    folder = parser.parse_args().out_folder
    names = set()
    later = [lambda cases=cases: cases(Model) for cases in tiny_convolutions.CASES + tiny_jumps.CASES]
    for function in CASES + later:
        for model in function():
            assert model.name not in names
            names.add(model.name)
            try:
                model.write(folder)
            except Exception as error:
                raise SystemExit(f"{model.name}: {error}")
    print(f"{len(names)} models")


if __name__ == "__main__":
    main()
