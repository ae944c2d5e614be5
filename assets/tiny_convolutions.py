"""Tiny convolutional and residual models for make_tiny_onnx.py."""

import numpy as np
import onnxruntime
from onnx import TensorProto

F32 = np.float32


def ending(m, h, size, rows=3):
    """A ReLU and a dense layer on everything, so that every element counts."""
    return m.finish(m.dense(m.op("Relu", m.op("Flatten", h)), rows, size))


def conv(m, x, channels, inputs, *kernel, bias=True, **attributes):
    more = [m.init(m.values(channels), "b")] if bias else []
    return m.op("Conv", x, m.init(m.values(channels, inputs, *kernel), "w"), *more, **attributes)


def norm(m, x, channels, **attributes):
    positive = lambda: m.init(np.abs(m.values(channels)) + F32(0.5))
    signed = lambda: m.init(m.values(channels))
    return m.op("BatchNormalization", x, positive(), signed(), signed(), positive(), **attributes)


def convolutions(Model):
    """Every attribute of Conv, on (2, 5, 6); the size of the output is what Flatten gives."""
    shape = ("N", 2, 5, 6)
    for name, channels, group, kernel, attributes, size in [
        ("plain", 3, 1, (3, 2), {}, 3 * 3 * 5),
        ("kernel-shape", 3, 1, (3, 2), {"kernel_shape": [3, 2]}, 3 * 3 * 5),
        ("one-by-one", 3, 1, (1, 1), {}, 3 * 30),
        ("strides", 2, 1, (2, 3), {"strides": [2, 3]}, 2 * 2 * 2),
        ("pads", 2, 1, (3, 3), {"pads": [1, 1, 1, 1]}, 2 * 30),
        ("pads-asymmetric", 2, 1, (3, 3), {"pads": [0, 2, 1, 0]}, 2 * 4 * 6),
        ("pads-large", 1, 1, (2, 2), {"pads": [3, 0, 0, 4]}, 7 * 9),
        ("dilations", 2, 1, (2, 3), {"dilations": [3, 2]}, 2 * 2 * 2),
        ("all", 2, 1, (2, 2), {"dilations": [2, 3], "strides": [2, 1], "pads": [1, 0, 2, 1]}, 2 * 3 * 4),
        ("groups", 4, 2, (2, 2), {"group": 2}, 4 * 4 * 5),
        ("depthwise", 4, 2, (3, 3), {"group": 2, "pads": [1, 1, 1, 1]}, 4 * 30),
        ("auto-pad-notset", 2, 1, (3, 3), {"auto_pad": "NOTSET", "pads": [1, 0, 0, 1]}, 2 * 4 * 5),
        ("auto-pad-valid", 2, 1, (3, 3), {"auto_pad": "VALID"}, 2 * 3 * 4),
        ("auto-pad-same-upper", 2, 1, (2, 4), {"auto_pad": "SAME_UPPER"}, 2 * 30),
        ("auto-pad-same-lower", 2, 1, (2, 4), {"auto_pad": "SAME_LOWER"}, 2 * 30),
        ("auto-pad-same-upper-strides", 2, 1, (3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 4]}, 2 * 3 * 2),
        ("auto-pad-same-lower-strides", 2, 1, (3, 3), {"auto_pad": "SAME_LOWER", "strides": [3, 2]}, 2 * 2 * 3),
    ]:
        m = Model("conv-" + name, shape=shape)
        yield ending(m, conv(m, "x", channels, 2 // group, *kernel, **attributes), size)
    for name, channels, group, kernel, attributes, size in [
        ("plain", 3, 1, 3, {}, 3 * 6),
        ("all", 4, 2, 2, {"group": 2, "dilations": [3], "strides": [2], "pads": [1, 2]}, 4 * 4),
        ("auto-pad", 3, 1, 4, {"auto_pad": "SAME_LOWER", "strides": [3]}, 3 * 3),
    ]:
        m = Model("conv-1d-" + name, shape=("N", 2, 8))
        yield ending(m, conv(m, "x", channels, 2 // group, kernel, **attributes), size)
    m = Model("conv-without-bias", shape=shape)
    yield ending(m, conv(m, "x", 3, 2, 2, 2, bias=False), 3 * 4 * 5)
    m = Model("conv-opset-7", shape=shape, opset=7)
    yield ending(m, conv(m, "x", 3, 2, 2, 2, auto_pad="SAME_UPPER"), 3 * 30)
    for name, constant, first in [
        ("rank-3", (3, 1, 1), False),
        ("rank-4-first", (1, 3, 1, 1), True),
        ("scalar", (), False),
    ]:
        m = Model("conv-add-bias-" + name, shape=shape)
        h, b = conv(m, "x", 3, 2, 2, 2, bias=False), m.init(m.values(*constant), "b")
        yield ending(m, m.op("Add", *((b, h) if first else (h, b))), 3 * 4 * 5)
    m = Model("conv-sub-bias", shape=shape)
    yield ending(m, m.op("Sub", conv(m, "x", 3, 2, 2, 2, bias=False), m.init(m.values(3, 1, 1), "b")), 60)
    m = Model("conv-add-per-column", shape=shape)
    yield ending(m, m.op("Add", conv(m, "x", 3, 2, 2, 2, bias=False), m.init(m.values(5), "b")), 60)
    m = Model("conv-scale-per-channel", shape=shape)
    h = m.op("Mul", conv(m, "x", 3, 2, 2, 2, bias=False), m.init(m.values(1, 3, 1, 1)))
    yield ending(m, m.op("Add", h, m.init(m.values(3, 1, 1))), 60)
    m = Model("conv-nhwc", shape=("N", 5, 6, 2))
    h = m.op("Relu", conv(m, m.op("Transpose", "x", perm=[0, 3, 1, 2]), 3, 2, 2, 2))
    yield ending(m, m.op("Transpose", h, perm=[0, 2, 3, 1]), 60)
    m = Model("conv-constant-weight-computed", shape=shape)
    w = m.op("Transpose", m.init(m.values(2, 2, 2, 3), "w"), perm=[3, 2, 0, 1])
    yield ending(m, m.op("Conv", "x", w), 60)


def pooling(Model):
    """Windows on (2, 5, 7)."""
    shape = ("N", 2, 5, 7)
    forms = [
        ("plain", {}),
        ("strides", {"strides": [2, 2]}),
        ("pads", {"pads": [1, 1, 1, 1], "strides": [2, 3]}),
        ("pads-asymmetric", {"pads": [0, 1, 1, 0], "strides": [1, 2]}),
        ("ceil", {"strides": [2, 3], "ceil_mode": 1}),
        ("ceil-pads", {"strides": [2, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
        ("ceil-beyond", {"strides": [3, 4], "pads": [1, 0, 1, 1], "ceil_mode": 1}),
        ("auto-pad-valid", {"auto_pad": "VALID", "strides": [2, 2]}),
        ("auto-pad-same-upper", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ("auto-pad-same-lower", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ]
    for kind in ["MaxPool", "AveragePool"]:
        for name, attributes in forms:
            for count in [0, 1] if kind == "AveragePool" else [None]:
                more = {} if not count else {"count_include_pad": 1}
                suffix = "-counting" if count else ""
                m = Model(f"{kind.lower()}-{name}{suffix}", shape=shape, opset=19)
                # With ceil_mode shape inference may differ from ONNX Runtime, so nothing may follow.
                last = "ceil_mode" in attributes
                h = m.op("Relu", conv(m, "x", 2, 2, 1, 1)) if last else "x"
                h = m.op(kind, h, kernel_shape=[2, 2], **attributes, **more)
                m = m.finish(h) if last else sized_ending(m, h)
                if last:
                    m.proto.graph.output[0].type.tensor_type.ClearField("shape")
                yield m
        m = Model(f"{kind.lower()}-1d", shape=("N", 2, 9), opset=11)
        yield sized_ending(m, m.op(kind, "x", kernel_shape=[3], strides=[2], pads=[1, 0]))
        m = Model(f"{kind.lower()}-opset-7", shape=shape, opset=7)
        yield sized_ending(m, m.op(kind, "x", kernel_shape=[3, 2], strides=[1, 2]))
        m = Model(f"{kind.lower()}-dilations", shape=shape, opset=19)
        yield sized_ending(m, m.op(kind, "x", kernel_shape=[2, 3], dilations=[3, 2], pads=[1, 0, 0, 1]))
    m = Model("maxpool-unused-indices", shape=shape)
    h, _ = m.op("MaxPool", "x", kernel_shape=[2, 2], outputs=2)
    yield sized_ending(m, h)
    for kind in ["GlobalAveragePool", "GlobalMaxPool"]:
        m = Model(kind.lower(), shape=shape)
        yield ending(m, m.op(kind, "x"), 2)
        m = Model(kind.lower() + "-1d", shape=("N", 3, 4))
        yield ending(m, m.op(kind, "x"), 3)
    for name, kind, shape, axes, keep, opset in [
        ("mean-nchw", "ReduceMean", ("N", 3, 2, 4), [2, 3], 1, 13),
        ("mean-nchw-negative", "ReduceMean", ("N", 3, 2, 4), [-1, -2], 0, 11),
        ("mean-nchw-operand", "ReduceMean", ("N", 3, 2, 4), [-2, -1], 0, 18),
        ("mean-nhwc", "ReduceMean", ("N", 2, 4, 3), [1, 2], 0, 13),
        ("mean-nhwc-keep", "ReduceMean", ("N", 2, 4, 3), [1, 2], 1, 18),
        ("mean-channels", "ReduceMean", ("N", 3, 2, 4), [1], 1, 13),
        ("mean-rows", "ReduceMean", ("N", 3, 2, 4), [2], 0, 13),
        ("mean-features", "ReduceMean", ("N", 6), [1], 1, 13),
        ("max-nhwc", "ReduceMax", ("N", 2, 4, 3), [1, 2], 0, 13),
        ("max-columns", "ReduceMax", ("N", 3, 2, 4), [3], 1, 18),
        ("sum-nchw", "ReduceSum", ("N", 3, 2, 4), [2, 3], 0, 13),
        ("sum-opset-11", "ReduceSum", ("N", 2, 4, 3), [1, 2], 1, 11),
    ]:
        m = Model("reduce-" + name, shape=shape, opset=opset)
        if opset >= (13 if kind == "ReduceSum" else 18):
            h = m.op(kind, "x", m.ints(*axes), keepdims=keep)
        else:
            h = m.op(kind, "x", axes=axes, keepdims=keep)
        yield sized_ending(m, h)


def sized_ending(m, h):
    """As ending, for outputs whose size ONNX Runtime tells."""
    m.finish(h)
    m.proto.graph.output[0].type.tensor_type.ClearField("shape")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    data = m.proto.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    zeros = np.zeros([d if isinstance(d, int) else 1 for d in m.shape], m.dtype)
    size = session.run(None, {"x": zeros})[0].size
    for node in m.nodes:
        node.output[:] = ["sized" if name == "y" else name for name in node.output]
        node.input[:] = ["sized" if name == "y" else name for name in node.input]
    return ending(m, "sized", size)


def normalizations(Model):
    shape = ("N", 2, 4, 4)
    m = Model("batchnorm-after-conv", shape=shape)
    yield ending(m, norm(m, conv(m, "x", 3, 2, 3, 3, pads=[1, 1, 1, 1]), 3), 48)
    m = Model("batchnorm-after-conv-without-bias", shape=shape, opset=15)
    yield ending(m, norm(m, conv(m, "x", 3, 2, 3, 3, bias=False), 3, epsilon=0.01), 12)
    m = Model("batchnorm-after-dense")
    yield m.finish(m.tail(norm(m, m.dense("x", 5, 6), 5)))
    m = Model("batchnorm-after-conv-1d", shape=("N", 2, 6), opset=7)
    yield ending(m, norm(m, conv(m, "x", 3, 2, 3), 3), 12)
    m = Model("batchnorm-before-conv", shape=shape)
    yield ending(m, conv(m, norm(m, m.op("Relu", "x"), 2), 4, 1, 3, 2, group=2), 4 * 2 * 3)
    m = Model("batchnorm-before-padded-conv", shape=shape)
    yield ending(m, conv(m, norm(m, "x", 2), 3, 2, 3, 3, pads=[1, 1, 1, 1]), 48)
    m = Model("batchnorm-before-dense", shape=shape)
    yield m.finish(m.tail(m.dense(m.op("Flatten", norm(m, m.op("Relu", "x"), 2)), 5, 32)))
    m = Model("batchnorm-twice", shape=shape)
    yield ending(m, norm(m, norm(m, conv(m, "x", 3, 2, 3, 3), 3), 3), 12)
    m = Model("batchnorm-of-conv-read-twice", shape=shape)
    h = conv(m, "x", 3, 2, 3, 3)
    yield ending(m, m.op("Add", m.op("Relu", norm(m, h, 3)), h), 12)
    m = Model("batchnorm-after-add", shape=shape)
    h = m.op("Add", conv(m, "x", 3, 2, 3, 3), conv(m, "x", 3, 2, 3, 3))
    yield ending(m, m.op("Relu", norm(m, h, 3)), 12)
    m = Model("batchnorm-training-off", shape=shape, opset=14)
    yield ending(m, norm(m, conv(m, "x", 3, 2, 3, 3), 3, training_mode=0), 12)
    m = Model("batchnorm-decomposed", shape=shape)
    h = m.op("Mul", m.op("Sub", conv(m, "x", 3, 2, 3, 3, bias=False), m.init(m.values(1, 3, 1, 1))), m.init(m.values(3, 1, 1)))
    yield ending(m, m.op("Add", h, m.init(m.values(3, 1, 1))), 12)


def joins(Model):
    shape = ("N", 2, 4, 4)
    m = Model("residual-block", shape=shape)
    h = m.op("Relu", conv(m, "x", 3, 2, 3, 3, pads=[1, 1, 1, 1], strides=[2, 2]))
    y = conv(m, m.op("Relu", conv(m, h, 3, 3, 3, 3, pads=[1, 1, 1, 1])), 3, 3, 3, 3, pads=[1, 1, 1, 1])
    yield ending(m, m.op("Relu", m.op("Add", y, h)), 12)
    m = Model("residual-projection", shape=shape)
    y = conv(m, m.op("Relu", conv(m, "x", 3, 2, 3, 3)), 3, 3, 1, 1)
    yield ending(m, m.op("Add", conv(m, "x", 3, 2, 3, 3), y), 12)
    m = Model("sub-of-two")
    h = m.dense("x", 5, 6)
    yield m.finish(m.tail(m.op("Sub", m.op("Tanh", h), m.op("Relu", h))))
    m = Model("add-of-itself")
    h = m.op("Relu", m.dense("x", 5, 6))
    yield m.finish(m.dense(m.op("Add", h, h), 4, 5))
    m = Model("sum-of-three")
    h = m.dense("x", 5, 6)
    yield m.finish(m.tail(m.op("Sum", m.op("Tanh", h), h, m.op("Relu", h))))
    m = Model("sum-with-constant")
    h = m.op("MatMul", "x", m.init(m.values(6, 5), "w"))
    yield m.finish(m.tail(m.op("Sum", m.init(m.values(5)), h, m.init(m.values(1, 5)))))
    m = Model("sum-of-one")
    yield m.finish(m.tail(m.op("Sum", m.dense("x", 5, 6))))
    for axis in [1, -1]:
        m = Model(f"concat-axis-{'minus-1' if axis < 0 else axis}", shape=shape)
        h = m.op("Concat", conv(m, "x", 2, 2, 3, 3), m.op("Tanh", conv(m, "x", 2, 2, 3, 3)), axis=axis)
        yield ending(m, m.op("Relu", h), 16)
    m = Model("concat-with-constants", shape=("N", 2, 3))
    shape_of = (1, 1, 3)
    h = m.op("Concat", m.init(m.values(*shape_of)), "x", m.op("Tanh", "x"), m.init(m.values(*shape_of)), axis=1)
    yield ending(m, h, 18)
    m = Model("concat-of-itself")
    h = m.dense("x", 5, 6)
    yield m.finish(m.tail(m.op("Concat", h, h, axis=1), 10))
    m = Model("branches-of-one-scale", shape=("N", 6))
    h = m.op("Mul", "x", m.floats(0.5))
    yield m.finish(m.tail(m.op("Add", m.op("Mul", h, m.floats(3.0)), m.dense(h, 6, 6)), 6))


def choices(Model):
    shape = ("N", 2, 3, 4)
    for name, perm in [("hwc", [0, 2, 3, 1]), ("swap", [0, 1, 3, 2]), ("reverse", [0, 3, 2, 1])]:
        m = Model("transpose-" + name, shape=shape)
        yield ending(m, m.op("Transpose", "x", perm=perm), 24)
    m = Model("transpose-there-and-back", shape=shape)
    h = m.op("Transpose", m.op("Transpose", "x", perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    yield ending(m, conv(m, h, 2, 2, 2, 2), 12)
    m = Model("transpose-reshape-transpose", shape=shape)
    h = m.op("Reshape", m.op("Transpose", "x", perm=[0, 2, 3, 1]), m.ints(0, 6, 4))
    yield ending(m, m.op("Transpose", h, perm=[0, 2, 1]), 24)
    m = Model("shuffle-channels", shape=("N", 4, 2, 2))
    h = m.op("Transpose", m.op("Reshape", "x", m.ints(0, 2, 2, 2, 2)), perm=[0, 2, 1, 3, 4])
    yield ending(m, conv(m, m.op("Reshape", h, m.ints(0, 4, 2, 2)), 2, 2, 2, 2, group=2), 2)
    m = Model("slice-opset-9", shape=shape, opset=9)
    yield ending(m, m.op("Slice", "x", axes=[2, 3], starts=[1, -3], ends=[3, 10]), 2 * 2 * 3)
    m = Model("slice-steps", shape=shape)
    h = m.op("Slice", "x", m.ints(3, 0), m.ints(-10, 3), m.ints(-1, 2), m.ints(-2, 2))
    yield ending(m, h, 2 * 2 * 2)
    m = Model("gather-channels", shape=shape)
    yield ending(m, m.op("Gather", "x", m.ints(1, 0, -1), axis=1), 36)
    m = Model("gather-one", shape=shape)
    yield ending(m, m.op("Gather", "x", m.init(np.array(1, np.int64)), axis=2), 8)
    for opset in [11, 13, 18]:
        m = Model(f"split-opset-{opset}", shape=("N", 6, 2), opset=opset)
        if opset == 11:
            a, b, c = m.op("Split", "x", axis=1, split=[1, 2, 3], outputs=3)
        elif opset == 13:
            a, b, c = m.op("Split", "x", m.ints(1, 2, 3), axis=1, outputs=3)
        else:
            a, b, c = m.op("Split", "x", axis=1, num_outputs=3, outputs=3)
            a, c = m.op("Concat", a, c, axis=1), m.op("Tanh", c)
        h = m.op("Concat", m.op("Tanh", c), b, m.op("Neg", a), axis=1)
        yield sized_ending(m, h)
    m = Model("pad-opset-7", shape=shape, opset=7)
    yield ending(m, m.op("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5), 2 * 4 * 7)
    m = Model("pad-opset-11", shape=shape, opset=11)
    yield ending(m, m.op("Pad", "x", m.ints(0, 1, 1, 0, 0, 0, 2, 1)), 3 * 6 * 5)
    m = Model("pad-value", shape=shape)
    yield ending(m, m.op("Pad", "x", m.ints(0, 0, 1, 0, 0, 0, 0, 1), m.floats(-1.5)), 2 * 4 * 5)
    m = Model("pad-negative", shape=shape)
    yield ending(m, m.op("Pad", "x", m.ints(0, 0, -1, 1, 0, 0, 0, -2)), 2 * 2 * 3)
    m = Model("pad-axes", shape=shape, opset=18)
    yield ending(m, m.op("Pad", "x", m.ints(1, 0, 2, 1), "", m.ints(3, -2)), 2 * 4 * 7)
    for mode in ["reflect", "edge", "wrap"]:
        m = Model("pad-" + mode, shape=shape, opset=19)
        yield ending(m, m.op("Pad", "x", m.ints(0, 0, 2, 1, 0, 0, 1, 3), mode=mode), 2 * 6 * 8)
    m = Model("pad-conv", shape=shape)
    h = m.op("Pad", "x", m.ints(0, 0, 1, 1, 0, 0, 0, 1))
    yield ending(m, conv(m, h, 2, 2, 2, 3), 2 * 3 * 4)

    # x.view(x.size(0), -1) after a convolution, and a target put together from the input's shape.
    m = Model("shape-chain", shape=("N", 2, 4, 4))
    h = m.op("Relu", conv(m, "x", 3, 2, 3, 3))
    n = m.op("Gather", m.op("Shape", h), m.init(np.array(0, np.int64)), axis=0)
    target = m.op("Concat", m.op("Unsqueeze", n, m.ints(0)), m.ints(-1), axis=0)
    yield m.finish(m.dense(m.op("Reshape", h, target), 3, 12))
    m = Model("shape-chain-slice-cast", shape=("N", 2, 4, 4), opset=11)
    h = m.op("Relu", conv(m, "x", 3, 2, 3, 3))
    n = m.op("Cast", m.op("Shape", h), to=TensorProto.INT32)
    n = m.op("Squeeze", m.op("Slice", n, m.ints(0), m.ints(1), m.ints(0)), axes=[0])
    n = m.op("Unsqueeze", m.op("Cast", n, to=TensorProto.INT64), axes=[0])
    yield m.finish(m.dense(m.op("Reshape", h, m.op("Concat", n, m.ints(12), axis=0)), 3, 12))


def clips(Model):
    shape = ("N", 2, 3, 3)
    for name, opset, ends in [
        ("relu6", 13, (0.0, 1.5)),
        ("relu", 13, (0.0, None)),
        ("low", 11, (-0.5, None)),
        ("high", 11, (None, 0.75)),
        ("nothing", 13, (None, None)),
        ("hardtanh", 12, (-1.0, 1.0)),
    ]:
        m = Model("clip-" + name, shape=shape, opset=opset)
        operands = ["" if end is None else m.floats(end) for end in ends]
        while operands and operands[-1] == "":
            operands.pop()
        h = m.op("Clip", conv(m, "x", 2, 2, 2, 2), *operands)
        yield ending(m, m.op("Neg", h), 8)
    for name, attributes in [("both", {"min": 0.0, "max": 1.5}), ("low", {"min": -0.5}), ("none", {})]:
        m = Model("clip-opset-7-" + name, shape=shape, opset=7)
        yield ending(m, m.op("Neg", m.op("Clip", conv(m, "x", 2, 2, 2, 2), **attributes)), 8)
    m = Model("max-min", shape=shape)
    h = m.op("Min", m.op("Max", conv(m, "x", 2, 2, 2, 2), m.floats(0.0)), m.init(np.full((1, 1), 1.5, F32)))
    yield ending(m, m.op("Neg", h), 8)


CASES = [convolutions, pooling, normalizations, joins, choices, clips]
