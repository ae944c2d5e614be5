"""Tiny models with functions that jump, heads of two classes and embeddings, for make_tiny_onnx.py."""

import numpy as np

F32 = np.float32


def jumps(Model):
    """Sign, ThresholdedRelu and Shrink, between two dense layers."""
    for name, kind, opset, attributes in [
        ("sign", "Sign", 13, {}),
        ("thresholdedrelu", "ThresholdedRelu", 13, {}),
        ("thresholdedrelu-alpha", "ThresholdedRelu", 10, {"alpha": 0.25}),
        ("thresholdedrelu-below", "ThresholdedRelu", 13, {"alpha": -0.5}),
        ("shrink-hard", "Shrink", 13, {"lambd": 0.75}),
        ("shrink-soft", "Shrink", 13, {"lambd": 0.75, "bias": 0.75}),
        ("shrink-any", "Shrink", 9, {"lambd": 0.5, "bias": -0.25}),
    ]:
        m = Model(name, opset=opset)
        yield m.finish(m.dense(m.op(kind, m.dense("x", 5, 6), **attributes), 4, 5))


def two_classes(Model):
    """Softmax, LogSoftmax and ArgMax of two elements, with something behind them."""
    for name, kind, attributes in [
        ("pair", "Softmax", {"axis": -1}),
        ("pair-logarithm", "LogSoftmax", {"axis": -1}),
    ]:
        m = Model(f"two-classes-{name}")
        yield m.finish(m.dense(m.op(kind, m.dense("x", 2, 6), **attributes), 3, 2))
        m = Model(f"two-classes-{name}-of-four")
        h = m.op("Reshape", m.dense("x", 8, 6), m.ints(-1, 2, 4))
        h = m.op("Reshape", m.op(kind, h, axis=1), m.ints(-1, 8))
        yield m.finish(m.dense(h, 3, 8))
    m = Model("two-classes-opset-11", opset=11)
    h = m.op("Reshape", m.dense("x", 8, 6), m.ints(1, 4, 2))
    yield m.finish(m.dense(m.op("Reshape", m.op("Softmax", h, axis=2), m.ints(1, 8)), 3, 8))
    m = Model("two-classes-first")
    h = m.op("Softmax", m.dense("x", 2, 6), axis=1)
    yield m.finish(m.op("Gather", h, m.ints(1), axis=1))
    for name, attributes in [
        ("argmax", {"axis": 1, "keepdims": 0}),
        ("argmax-keeps", {"axis": 1}),
        ("argmax-last", {"axis": 1, "keepdims": 0, "select_last_index": 1}),
    ]:
        m = Model(f"two-classes-{name}")
        h = m.op("Reshape", m.dense("x", 8, 6), m.ints(-1, 2, 4))
        h = m.op("Cast", m.op("ArgMax", h, **attributes), to=1)
        yield m.finish(m.dense(m.op("Reshape", h, m.ints(-1, 4)), 3, 4))


def embeddings(Model):
    """Rows of a table, chosen by numbers that are cast to integers."""
    for name, to in [("embedding", 7), ("embedding-int32", 6)]:
        m = Model(name)
        places = m.op("Cast", m.op("Mul", m.op("Abs", "x"), m.floats(2.5)), to=to)
        h = m.op("Gather", m.init(m.values(5, 3), "table"), places, axis=0)
        yield m.finish(m.tail(m.op("ReduceMean", h, axes=[1], keepdims=0), 3, 4))


CASES = [jumps, two_classes, embeddings]
