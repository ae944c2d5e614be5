#!/usr/bin/env python3
"""Write damaged, hostile and unsupported ONNX files the reader must refuse.

    python3 make_bad_onnx.py OUT_FOLDER

OUT_FOLDER/expected.json says of each file what is wrong with it.  Needs numpy
and onnx; deterministic.
"""

import argparse
import json
import pathlib
import random

import numpy as np
from onnx import TensorProto, helper, numpy_helper

EXPECTED = {}
FILES = {}


def values(*shape):
    return np.random.default_rng(sum(shape) + 1).uniform(-1, 1, shape).astype(np.float32)


def tensor(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def info(name, *shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, list(shape))


def good(rows=5, columns=6):
    """x[N,6] -> Gemm -> Relu -> Gemm -> y[N,4]; every case damages a copy."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h1"], "dense1", transB=1),
        helper.make_node("Relu", ["h1"], ["h2"], "relu1"),
        helper.make_node("Gemm", ["h2", "w2", "b2"], ["y"], "dense2", transB=1),
    ]
    tensors = [
        tensor("w1", values(rows, columns)),
        tensor("b1", values(rows)),
        tensor("w2", values(4, rows)),
        tensor("b2", values(4)),
    ]
    graph = helper.make_graph(nodes, "g", [info("x", "N", columns)], [info("y", "N", 4)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def bad(name, what, data=None):
    """Register bytes, or decorate a function that damages the good model."""
    assert name not in EXPECTED

    def register(content):
        if callable(content):
            m = good()
            content = content(m) or m
        if not isinstance(content, bytes):
            content = content.SerializeToString(deterministic=True)
        EXPECTED[name + ".onnx"] = what
        FILES[name + ".onnx"] = content

    if data is None:
        return register
    register(data)


def weight(m, name="w1"):
    return next(t for t in m.graph.initializer if t.name == name)


def replace(m, name, array):
    weight(m, name).CopyFrom(tensor(name, array))


def external(m, location):
    t = weight(m)
    t.ClearField("raw_data")
    t.data_location = TensorProto.EXTERNAL
    for key, value in [("location", location), ("offset", "0"), ("length", "120")]:
        t.external_data.add(key=key, value=value)


def resize(m, dims, raw):
    t = weight(m)
    t.dims[:] = dims
    t.ClearField("raw_data")
    if raw:
        t.raw_data = raw


def reshape(m, shape):
    m.graph.initializer.append(tensor("shape", np.array(shape, np.int64)))
    m.graph.node.insert(1, helper.make_node("Reshape", ["h1", "shape"], ["h1r"], "reshape"))
    m.graph.node[2].input[0] = "h1r"


# --- Bytes ---------------------------------------------------------------------

GOOD = good().SerializeToString(deterministic=True)
bad("empty-file", "the file has no bytes", b"")
bad("truncated", "the file ends in the middle of a message", GOOD[: len(GOOD) * 6 // 10])
bad("truncated-by-one", "the last byte of the file is missing", GOOD[:-1])
bad("random-bytes", "4 KiB of random bytes", random.Random(7).randbytes(4096))
bad("zero-bytes", "4 KiB of zero bytes", bytes(4096))
bad("text", "a text file", b"this is not a network\n" * 20)
bad("trailing-garbage", "a valid model followed by bytes that are no message", GOOD + b"\xff" * 16)
bad("length-bomb", "a field claims 2^31-1 bytes in a file of a few", b"\x3a\xff\xff\xff\xff\x07abc")
bad("length-overflow", "a field claims 2^64-1 bytes", b"\x3a" + b"\xff" * 9 + b"\x01abc")
bad("endless-varint", "a number that never ends", b"\x08" + b"\xff" * 200)
bad("gzip-magic", "a gzip file's header", b"\x1f\x8b\x08" + bytes(61))


def field(number, content):
    """A length-delimited protobuf field."""
    size, head = len(content), bytes([number << 3 | 2])
    while size > 127:
        head += bytes([size & 127 | 128])
        size >>= 7
    return head + bytes([size]) + content


def nested(depth):
    """Graph in attribute in node in graph, depth times (too deep for the writers)."""
    graph = b""
    for _ in range(depth):
        attribute = field(1, b"then_branch") + field(6, graph) + b"\xa0\x01\x05"
        node = field(1, b"x") + field(2, b"y") + field(4, b"If") + field(5, attribute)
        graph = field(1, node)
    return b"\x08\x07" + field(8, b"\x10\x0d") + field(7, graph)


bad("deep-nesting", "subgraphs nested 1000 deep", nested(1000))
bad("nested-subgraph", "the data path runs through an If node", nested(2))


# --- Model header -----------------------------------------------------------------


@bad("no-graph", "the model has no graph")
def _(m):
    m.ClearField("graph")


@bad("no-nodes", "the graph has no nodes, its output is its input")
def _(m):
    del m.graph.node[:]
    del m.graph.initializer[:]
    m.graph.output[0].CopyFrom(info("x", "N", 6))


@bad("no-nodes-no-output", "the graph has neither nodes nor outputs")
def _(m):
    del m.graph.node[:]
    del m.graph.output[:]


@bad("no-opset", "the model names no operator set")
def _(m):
    del m.opset_import[:]


@bad("opset-3", "operator set 3 is too old")
def _(m):
    m.opset_import[0].version = 3


@bad("opset-99", "operator set 99 does not exist")
def _(m):
    m.opset_import[0].version = 99


@bad("opset-negative", "operator set -1")
def _(m):
    m.opset_import[0].version = -1


@bad("two-opsets", "two different versions of the default operator set")
def _(m):
    m.opset_import.append(helper.make_opsetid("", 9))


@bad("custom-domain", "a Gemm of the unknown domain com.example")
def _(m):
    m.opset_import.append(helper.make_opsetid("com.example", 1))
    m.graph.node[0].domain = "com.example"


# --- Graph ----------------------------------------------------------------------------


@bad("cycle", "two nodes feed each other")
def _(m):
    m.graph.node[0].input[0] = "h3"
    m.graph.node.insert(2, helper.make_node("Add", ["h2", "x"], ["h3"], "add"))


@bad("self-loop", "a node reads its own output")
def _(m):
    m.graph.node[1].input[0] = "h2"


@bad("duplicate-output-names", "two nodes write the value h2")
def _(m):
    m.graph.node.append(helper.make_node("Relu", ["h1"], ["h2"], "relu2"))


@bad("output-shadows-input", "a node writes the value x, which is the graph input")
def _(m):
    m.graph.node.insert(0, helper.make_node("Relu", ["x"], ["x"], "relu0"))


@bad("output-shadows-initializer", "a node writes the value w2, which is an initializer")
def _(m):
    m.graph.node.insert(0, helper.make_node("Relu", ["x"], ["w2"], "relu0"))


@bad("duplicate-initializer-names", "two initializers are called w1, with different values")
def _(m):
    m.graph.initializer.append(tensor("w1", values(5, 6) + 1))


@bad("missing-initializer", "the weight w2 does not exist")
def _(m):
    m.graph.initializer.remove(weight(m, "w2"))


@bad("missing-bias", "the bias b1 does not exist")
def _(m):
    m.graph.initializer.remove(weight(m, "b1"))


@bad("output-not-produced", "no node writes the graph output")
def _(m):
    m.graph.output[0].name = "z"


@bad("output-is-initializer", "the graph output is the constant w2")
def _(m):
    m.graph.output[0].CopyFrom(info("w2", 4, 5))


@bad("no-output", "the graph has no outputs")
def _(m):
    del m.graph.output[:]


@bad("no-input", "the graph has no inputs")
def _(m):
    del m.graph.input[:]


@bad("input-not-used", "the graph input leads nowhere, the output is constant")
def _(m):
    m.graph.initializer.append(tensor("c", values(1, 6)))
    m.graph.node[0].input[0] = "c"


@bad("input-without-shape", "the graph input has no shape")
def _(m):
    m.graph.input[0].type.tensor_type.ClearField("shape")


@bad("input-without-type", "the graph input has no type")
def _(m):
    m.graph.input[0].ClearField("type")


@bad("input-int64", "the graph input holds int64")
def _(m):
    m.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64


@bad("input-unknown-width", "the width of the graph input is not known")
def _(m):
    m.graph.input[0].CopyFrom(info("x", "N", "D"))


@bad("input-huge", "the graph input claims 2^62 elements")
def _(m):
    m.graph.input[0].CopyFrom(info("x", 1, 1 << 31, 1 << 31))


@bad("input-overflow", "the element count of the graph input overflows 64 bits")
def _(m):
    m.graph.input[0].CopyFrom(info("x", 1, 1 << 33, 1 << 33))


@bad("input-wrong-width", "the graph input has 7 elements, the first layer takes 6")
def _(m):
    m.graph.input[0].CopyFrom(info("x", "N", 7))


@bad("output-wrong-width", "the graph output is declared with 3 elements, the layer gives 4")
def _(m):
    m.graph.output[0].CopyFrom(info("y", "N", 3))


# --- Weights -----------------------------------------------------------------------------


@bad("nan-weight", "a weight is NaN")
def _(m):
    w = values(5, 6)
    w[2, 3] = np.nan
    replace(m, "w1", w)


@bad("inf-weight", "a weight is infinite")
def _(m):
    w = values(5, 6)
    w[4, 0] = np.inf
    replace(m, "w1", w)


@bad("negative-inf-bias", "a bias is minus infinity")
def _(m):
    replace(m, "b2", np.array([0, 1, -np.inf, 2], np.float32))


@bad("nan-alpha", "alpha of a Gemm is NaN")
def _(m):
    m.graph.node[0].attribute.append(helper.make_attribute("alpha", float("nan")))


@bad("double-overflow-cast", "a double weight overflows when cast to float")
def _(m):
    w = values(5, 6).astype(np.float64)
    w[0, 0] = 1e300
    replace(m, "w1", w)
    m.graph.node.insert(0, helper.make_node("Cast", ["w1"], ["w1f"], "cast", to=1))
    m.graph.node[1].input[1] = "w1f"


@bad("dimension-mismatch", "the second layer takes 7 values, the first gives 5")
def _(m):
    replace(m, "w2", values(4, 7))


@bad("bias-mismatch", "the first layer has 5 rows and a bias of 3")
def _(m):
    replace(m, "b1", values(3))


@bad("weight-rank-3", "the weight of a Gemm has three dimensions")
def _(m):
    replace(m, "w1", values(5, 6, 1))


@bad("weight-zero-rows", "the first layer has no rows")
def _(m):
    replace(m, "w1", np.zeros((0, 6), np.float32))
    replace(m, "b1", np.zeros((0,), np.float32))
    replace(m, "w2", np.zeros((4, 0), np.float32))


@bad("int64-weights", "the weight of a Gemm holds int64")
def _(m):
    replace(m, "w1", np.arange(30).reshape(5, 6))


@bad("mixed-types", "the second layer holds double, the first float")
def _(m):
    replace(m, "w2", values(4, 5).astype(np.float64))
    replace(m, "b2", values(4).astype(np.float64))


@bad("string-weights", "the weight of a Gemm holds strings")
def _(m):
    t = weight(m)
    t.Clear()
    t.name, t.data_type = "w1", TensorProto.STRING
    t.dims.extend([5, 6])
    t.string_data.extend([b"1"] * 30)


@bad("unknown-data-type", "a weight has the data type 999")
def _(m):
    weight(m).data_type = 999


@bad("no-data-type", "a weight has no data type")
def _(m):
    weight(m).ClearField("data_type")


@bad("external-data", "a weight is kept in another file, which is absent")
def _(m):
    external(m, "weights.bin")


@bad("external-data-escape", "a weight is kept outside of the model's folder")
def _(m):
    external(m, "../../../../../../../../etc/hostname")


@bad("huge-dimensions", "a weight claims 2^40 elements and has no data")
def _(m):
    resize(m, [1 << 20, 1 << 20], b"")


@bad("overflowing-dimensions", "the element count of a weight wraps to 0 in 64 bits")
def _(m):
    resize(m, [1 << 32, 1 << 32], b"")


@bad("negative-dimensions", "a weight has negative dimensions whose product fits its data")
def _(m):
    weight(m).dims[:] = [-5, -6]


@bad("many-dimensions", "a weight has 10000 dimensions")
def _(m):
    weight(m).dims[:] = [5, 6] + [1] * 9998


@bad("raw-data-short", "raw_data of a weight is four bytes short")
def _(m):
    resize(m, [5, 6], values(5, 6).tobytes()[:-4])


@bad("raw-data-long", "raw_data of a weight is four bytes too long")
def _(m):
    resize(m, [5, 6], values(5, 6).tobytes() + bytes(4))


@bad("raw-data-ragged", "raw_data of a weight is no multiple of four bytes")
def _(m):
    resize(m, [5, 6], values(5, 6).tobytes()[:-1])


@bad("no-data", "a weight has no data")
def _(m):
    resize(m, [5, 6], b"")


@bad("float-data-short", "float_data of a weight has 29 of 30 numbers")
def _(m):
    resize(m, [5, 6], b"")
    weight(m).float_data.extend(values(5, 6).ravel()[:-1].tolist())


@bad("wrong-data-field", "a float weight has its numbers in int32_data")
def _(m):
    resize(m, [5, 6], b"")
    weight(m).int32_data.extend(range(30))


@bad("two-data-fields", "a weight has different numbers in raw_data and float_data")
def _(m):
    weight(m).float_data.extend([1.0] * 30)


# --- Nodes ----------------------------------------------------------------------------------


@bad("sin", "a Sin on the data path")
def _(m):
    m.graph.node[1].op_type = "Sin"


@bad("unknown-operator", "an operator that does not exist")
def _(m):
    m.graph.node[1].op_type = "Frobnicate"


@bad("no-operator", "a node without an operator")
def _(m):
    m.graph.node[1].ClearField("op_type")


@bad("long-name", "an operator whose name has 40000 letters")
def _(m):
    m.graph.node[1].op_type = "Q" * 40000


@bad("control-characters", "an operator whose name holds control characters and an escape sequence")
def _(m):
    m.graph.node[1].op_type = "Re\x1b[31mlu\x00\r\n"


bad(
    "invalid-utf8",
    "the operator's name is not UTF-8",
    GOOD.replace(b"Relu", b"Re\xff\xfe"),
)


@bad("transposed-data", "a Gemm with transA of the data")
def _(m):
    m.graph.node[0].attribute.append(helper.make_attribute("transA", 1))


@bad("divide-by-zero", "the data divided by the constant 0")
def _(m):
    m.graph.initializer.append(tensor("zero", np.zeros(5, np.float32)))
    m.graph.node[1].CopyFrom(helper.make_node("Div", ["h1", "zero"], ["h2"], "div"))


@bad("relu-two-inputs", "a Relu with two inputs")
def _(m):
    m.graph.node[1].input.append("h1")


@bad("relu-no-inputs", "a Relu without input")
def _(m):
    del m.graph.node[1].input[:]


@bad("relu-empty-input", "a Relu whose input has the empty name")
def _(m):
    m.graph.node[1].input[0] = ""


@bad("gemm-one-input", "a Gemm without weight")
def _(m):
    del m.graph.node[0].input[1:]


@bad("node-no-outputs", "a node without outputs")
def _(m):
    del m.graph.node[1].output[:]


@bad("attribute-wrong-type", "transB is a text")
def _(m):
    del m.graph.node[0].attribute[:]
    m.graph.node[0].attribute.append(helper.make_attribute("transB", "yes"))


@bad("attribute-twice", "transB is given twice, as 1 and as 0")
def _(m):
    m.graph.node[0].attribute.append(helper.make_attribute("transB", 0))


@bad("reshape-wrong-count", "a Reshape of 5 values to 7")
def _(m):
    reshape(m, [1, 7])


@bad("reshape-two-unknown", "a Reshape with -1 twice")
def _(m):
    reshape(m, [-1, -1])


@bad("reshape-minus-2", "a Reshape to -2")
def _(m):
    reshape(m, [1, -2])


@bad("reshape-overflow", "a Reshape whose element count overflows 64 bits")
def _(m):
    reshape(m, [1 << 62, 1 << 62, 1 << 62])


@bad("reshape-mixes-samples", "a Reshape that moves the batch into the features")
def _(m):
    reshape(m, [5, -1])


@bad("reshape-data-shape", "a Reshape whose shape is the data")
def _(m):
    m.graph.node[1].CopyFrom(helper.make_node("Reshape", ["h1", "x"], ["h2"], "reshape"))


@bad("flatten-axis-out-of-range", "a Flatten with axis 9")
def _(m):
    m.graph.node.insert(1, helper.make_node("Flatten", ["h1"], ["h1f"], "flatten", axis=9))
    m.graph.node[2].input[0] = "h1f"


@bad("constant-without-value", "a Constant node without a value")
def _(m):
    m.graph.initializer.remove(weight(m, "b1"))
    m.graph.node.insert(0, helper.make_node("Constant", [], ["b1"], "constant"))


@bad("dropout-training", "a Dropout in training mode")
def _(m):
    m.graph.initializer.extend([tensor("ratio", np.float32(0.5)), tensor("yes", np.array(True))])
    m.graph.node[1].CopyFrom(helper.make_node("Dropout", ["h1", "ratio", "yes"], ["h2"], "dropout"))


@bad("cast-to-int", "the data path is cast to int64")
def _(m):
    m.graph.node[1].CopyFrom(helper.make_node("Cast", ["h1"], ["h2"], "cast", to=TensorProto.INT64))


@bad("leakyrelu-nan", "a LeakyRelu with alpha NaN")
def _(m):
    m.graph.node[1].CopyFrom(helper.make_node("LeakyRelu", ["h1"], ["h2"], "leaky", alpha=float("nan")))


@bad("gelu-unknown-approximation", "a Gelu with an approximation that does not exist")
def _(m):
    m.opset_import[0].version = 20
    m.graph.node[1].CopyFrom(helper.make_node("Gelu", ["h1"], ["h2"], "gelu", approximate="cubic"))


# --- Convolutions, pooling and graphs that branch -----------------------------------------------


def image(*nodes, shape=(2, 5, 6), opset=13, **tensors):
    """x[N,2,5,6] -> conv1 (3 channels) -> c[N,3,5,6] -> nodes -> h -> Flatten -> y; a case is in the nodes."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], "conv1", pads=[1, 1, 1, 1]),
        *nodes,
        helper.make_node("Relu", ["h"], ["r"], "relu1"),
        helper.make_node("Flatten", ["r"], ["y"], "flatten1"),
    ]
    stored = [tensor("w1", values(3, 2, 3, 3)), tensor("b1", values(3))]
    stored += [tensor(name, array) for name, array in tensors.items()]
    output = helper.make_empty_tensor_value_info("y")
    output.type.tensor_type.elem_type = TensorProto.FLOAT
    graph = helper.make_graph(nodes, "g", [info("x", "N", *shape)], [output], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


def bad_node(name, what, kind, *inputs, opset=13, outputs=("h",), more=(), tensors=None, **attributes):
    node = helper.make_node(kind, ["c", *inputs], list(outputs), kind.lower(), **attributes)
    m = image(node, *more, opset=opset, **(tensors or {}))
    bad(name, what, m.SerializeToString(deterministic=True))


W = values(4, 3, 2, 2)
for name, what, w, attributes in [
    ("conv-wrong-channels", "a Conv for 4 channels of data with 3", values(4, 4, 2, 2), {}),
    ("conv-3d-weight", "a Conv over three axes of data with two", values(4, 3, 2, 2, 2), {}),
    ("conv-group-0", "a Conv with 0 groups", W, {"group": 0}),
    ("conv-group-negative", "a Conv with -3 groups", W, {"group": -3}),
    ("conv-group-overflow", "a Conv whose groups times channels overflow", W, {"group": (1 << 63) - 1}),
    ("conv-group-not-dividing", "a Conv of 4 channels in 3 groups", values(4, 1, 2, 2), {"group": 3}),
    ("conv-kernel-shape", "a Conv whose kernel_shape is not that of its weight", W, {"kernel_shape": [3, 3]}),
    ("conv-kernel-too-large", "a Conv with a kernel of 7 rows on 5", values(4, 3, 7, 2), {}),
    ("conv-kernel-zero", "a Conv with a kernel of 0 rows", values(4, 3, 0, 2), {}),
    ("conv-strides-0", "a Conv with stride 0", W, {"strides": [0, 1]}),
    ("conv-strides-negative", "a Conv with stride -1", W, {"strides": [1, -1]}),
    ("conv-strides-length", "a Conv with three strides", W, {"strides": [1, 1, 1]}),
    ("conv-dilations-0", "a Conv with dilation 0", W, {"dilations": [1, 0]}),
    ("conv-dilations-huge", "a Conv with dilation 2^62", W, {"dilations": [1 << 62, 1]}),
    ("conv-pads-negative", "a Conv with padding -1", W, {"pads": [0, 0, -1, 0]}),
    ("conv-pads-huge", "a Conv with padding 2^62", W, {"pads": [1 << 62, 0, 1 << 62, 0]}),
    ("conv-pads-large", "a Conv whose padded output has 2^40 elements", W, {"pads": [1 << 20] * 4}),
    ("conv-pads-length", "a Conv with two paddings for two axes", W, {"pads": [1, 1]}),
    ("conv-auto-pad-unknown", "a Conv with an auto_pad that does not exist", W, {"auto_pad": "SAME"}),
    ("conv-auto-pad-and-pads", "a Conv with auto_pad and pads", W, {"auto_pad": "SAME_UPPER", "pads": [1, 1, 1, 1]}),
    ("conv-unknown-attribute", "a Conv with an attribute that it does not have", W, {"ceil_mode": 1}),
]:
    bad_node(name, what, "Conv", "w", tensors={"w": w}, **attributes)
bad_node("conv-computed-weight", "a Conv whose weight depends on the input", "Conv", "c")
bad_node("conv-bias-mismatch", "a Conv of 4 channels with 3 biases", "Conv", "w", "b", tensors={"w": W, "b": values(3)})
bad_node("conv-bias-rank", "a Conv with a bias of three dimensions", "Conv", "w", "b", tensors={"w": W, "b": values(4, 1, 1)})
bad_node("conv-int-weight", "a Conv whose weight holds int64", "Conv", "w", tensors={"w": np.ones((4, 3, 2, 2), np.int64)})
bad_node("conv-nan-weight", "a Conv with a weight that is NaN", "Conv", "w", tensors={"w": W * np.float32(np.nan)})
bad_node("conv-no-weight", "a Conv without weight", "Conv")
cube = helper.make_node("Conv", ["x", "w"], ["h"], "conv")
bad("conv-3d", "a Conv over three axes", image(cube, shape=(2, 3, 3, 3), w=values(2, 2, 2, 2, 2)).SerializeToString())
bad("image-dynamic-height", "the height of the input is not known", image(cube, shape=(2, "H", 6), w=W).SerializeToString())

for kind in ["MaxPool", "AveragePool"]:
    k = kind.lower()
    bad_node(k + "-no-kernel", f"a {kind} without kernel_shape", kind)
    bad_node(k + "-kernel-0", f"a {kind} with a kernel of 0 columns", kind, kernel_shape=[1, 0])
    bad_node(k + "-kernel-huge", f"a {kind} with a kernel of 2^62 rows", kind, kernel_shape=[1 << 62, 1])
    bad_node(k + "-kernel-1d", f"a {kind} with a kernel of one axis on data with two", kind, kernel_shape=[2])
    bad_node(k + "-empty-window", f"a {kind} with a window of nothing but padding", kind, kernel_shape=[2, 2], pads=[2, 0, 0, 0])
    bad_node(k + "-ceil-mode", f"a {kind} with ceil_mode 7", kind, kernel_shape=[2, 2], ceil_mode=7)
bad_node("maxpool-storage-order", "a MaxPool with storage_order 1", "MaxPool", kernel_shape=[2, 2], storage_order=1)
indices = helper.make_node("Cast", ["i"], ["h"], "cast", to=TensorProto.FLOAT)
bad_node("maxpool-indices", "the indices of a MaxPool are used", "MaxPool", outputs=("m", "i"), more=(indices,), kernel_shape=[2, 2])
bad_node("reduce-batch", "a ReduceMean over the batch", "ReduceMean", axes=[0, 2])
bad_node("reduce-all", "a ReduceMean over everything", "ReduceMean")
bad_node("reduce-axis-twice", "a ReduceMean over one axis twice", "ReduceMean", axes=[2, -2])
bad_node("reduce-axis-out-of-range", "a ReduceMean over axis 4 of 4", "ReduceMean", axes=[4])

four = [values(3), values(3), values(3), np.abs(values(3))]
for name, what, parameters, attributes in [
    ("batchnorm-negative-variance", "a BatchNormalization with a negative variance", four[:3] + [-np.ones(3, np.float32)], {}),
    ("batchnorm-nan-variance", "a BatchNormalization with a variance that is NaN", four[:3] + [np.full(3, np.nan, np.float32)], {}),
    ("batchnorm-zero-variance", "a BatchNormalization with variance and epsilon 0", four[:3] + [np.zeros(3, np.float32)], {"epsilon": 0.0}),
    ("batchnorm-nan-mean", "a BatchNormalization with a mean that is NaN", four[:2] + [np.full(3, np.nan, np.float32), four[3]], {}),
    ("batchnorm-wrong-channels", "a BatchNormalization for 4 channels of data with 3", [values(4)] * 3 + [np.abs(values(4))], {}),
    ("batchnorm-training", "a BatchNormalization in training mode", four, {"training_mode": 1}),
]:
    names = [f"p{i}" for i in range(4)]
    bad_node(name, what, "BatchNormalization", *names, opset=14, tensors=dict(zip(names, parameters)), **attributes)
bad_node("batchnorm-computed", "a BatchNormalization whose factors depend on the input", "BatchNormalization", "c", "c", "c", "c")

bad_node("concat-batch", "a Concat along the batch", "Concat", "c", axis=0)
bad_node("concat-mismatch", "a Concat of 5 and of 2 rows", "Concat", "k", tensors={"k": values(1, 3, 2, 6)}, axis=1)
bad_node("pad-batch", "a Pad of the batch", "Pad", "p", tensors={"p": np.array([1, 0, 0, 0, 0, 0, 0, 0])})
bad_node("pad-everything-away", "a Pad that leaves no rows", "Pad", "p", tensors={"p": np.array([0, 0, -5, 0, 0, 0, 0, 0])})
bad_node("pad-huge", "a Pad by 2^62 rows", "Pad", "p", tensors={"p": np.array([0, 0, 1 << 62, 0, 0, 0, 1 << 62, 0])})
bad_node("pad-large", "a Pad to 2^40 elements", "Pad", "p", tensors={"p": np.array([0, 0, 1 << 20, 1 << 20, 0, 0, 0, 0])})
bad_node("pad-length", "a Pad with six numbers for four axes", "Pad", "p", tensors={"p": np.array([0] * 6)})
bad_node("pad-unknown-mode", "a Pad with a mode that does not exist", "Pad", "p", tensors={"p": np.array([0, 0, 1, 0, 0, 0, 0, 0])}, mode="mirror")
bad_node("pad-reflect-too-far", "a Pad that reflects more than there is", "Pad", "p", tensors={"p": np.array([0, 0, 5, 0, 0, 0, 0, 0])}, mode="reflect")
bad_node("pad-nan", "a Pad with NaN", "Pad", "p", "v", tensors={"p": np.array([0, 0, 1, 0, 0, 0, 0, 0]), "v": np.float32(np.nan)})
bad_node("slice-nothing", "a Slice of nothing", "Slice", "s", "e", tensors={"s": np.array([0, 3]), "e": np.array([1, 3])})
bad_node("gather-computed-indices", "a Gather whose indices depend on the input", "Gather", "c")
bad_node("gather-out-of-range", "a Gather of channel 3 of 3", "Gather", "i", tensors={"i": np.array([0, 3])}, axis=1)
zeros = helper.make_node("ConstantOfShape", ["s"], ["i"], "zeros", value=tensor("v", np.array([0])))
bomb = helper.make_node("Gather", ["c", "i"], ["h"], "gather", axis=1)
bad("gather-bomb", "a Gather of 2^20 copies of the data", image(zeros, bomb, s=np.array([1024, 1024])).SerializeToString())
bad_node("split-wrong-sum", "a Split of 3 channels into 1 and 3", "Split", "s", outputs=("h", "o"), tensors={"s": np.array([1, 3])}, axis=1)
bad_node("split-unequal", "a Split of 3 channels into 2 equal parts", "Split", outputs=("h", "o"), axis=1)
bad_node("transpose-not-a-permutation", "a Transpose with an axis twice", "Transpose", perm=[0, 1, 1, 2])
bad_node("clip-nan", "a Clip with NaN", "Clip", "a", tensors={"a": np.float32(np.nan)})
bad_node("clip-empty", "a Clip from 1 to 0", "Clip", "a", "b", tensors={"a": np.float32(1), "b": np.float32(0)})
bad_node("clip-computed", "a Clip whose end depends on the input", "Clip", "c")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_folder", type=pathlib.Path)
    folder = parser.parse_args().out_folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    text = json.dumps(dict(sorted(EXPECTED.items())), indent=1) + "\n"
    (folder / "expected.json").write_text(text)
    print(f"{len(FILES)} files")


if __name__ == "__main__":
    main()
