#!/usr/bin/env python3
"""Record what quantizers of other programs make of the last layer of the embedded network, for the test of the sets `int8`, `int4`, …

    python3 record_quantizers.py OUT.json

OUT.json has the weights and, for each quantizer, the set that must hold what it writes, its steps (one, or one for each row),
zero points and integers. Needs numpy, onnx and onnxruntime; with PyTorch its observers are recorded, too, else those that OUT.json
has stay.
"""

import argparse
import json
import pathlib

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.quant_utils import quantize_data

HERE = pathlib.Path(__file__).resolve().parent
#: Set, type, symmetric, reduced range, whether every row has a step of its own.
ONNX_RUNTIME = [
    ("int8", QuantType.QInt8, True, False, False),
    ("int8:per-channel", QuantType.QInt8, True, False, True),
    ("int8:reduced-range", QuantType.QInt8, True, True, False),
    ("int8:asymmetric", QuantType.QInt8, False, False, False),
    ("int8:asymmetric", QuantType.QUInt8, False, False, False),
    ("int8:per-channel:asymmetric", QuantType.QUInt8, False, False, True),
    ("int4:per-channel", QuantType.QInt4, True, False, True),
    ("int16", QuantType.QInt16, True, False, False),
]


def weights():
    model = onnx.load(HERE / "mnist-784-128-64-32-10.onnx")
    tensors = [numpy_helper.to_array(t) for t in model.graph.initializer]
    last = [t for t in tensors if t.ndim == 2 and 10 in t.shape][-1]
    return last if last.shape[0] == 10 else last.T


def record(program, name, steps, zeros, integers):
    flat = lambda values, kind: [kind(v) for v in np.asarray(values).ravel()]
    return {
        "program": program, "set": name, "steps": flat(steps, float), "zeros": flat(zeros, int),
        "integers": flat(np.asarray(integers).astype(np.int64), int),
    }  # fmt: skip


def by_onnx_runtime(w, name, kind, symmetric, reduced, per_row):
    groups = list(w) if per_row else [w]
    zeros, steps, integers = zip(*(quantize_data(g.ravel(), kind.tensor_type, symmetric, reduced) for g in groups))
    return record("ONNX Runtime", name, np.concatenate([np.atleast_1d(s) for s in steps]),
                  np.concatenate([np.atleast_1d(z) for z in zeros]), np.concatenate(integers))  # fmt: skip


def by_pytorch(w):
    import torch
    from torch.ao.quantization import MinMaxObserver, PerChannelMinMaxObserver

    w = torch.from_numpy(w.copy())
    found = []
    for scheme, name in [(torch.per_tensor_symmetric, "int8:half-range"), (torch.per_tensor_affine, "int8:asymmetric")]:
        observer = MinMaxObserver(dtype=torch.qint8, qscheme=scheme)
        observer(w)
        step, zero = observer.calculate_qparams()
        q = torch.quantize_per_tensor(w, float(step), int(zero), torch.qint8)
        found.append(record("PyTorch", name, [q.q_scale()], [q.q_zero_point()], q.int_repr()))
    observer = PerChannelMinMaxObserver(dtype=torch.qint8, qscheme=torch.per_channel_symmetric)
    observer(w)
    steps, zeros = observer.calculate_qparams()
    q = torch.quantize_per_channel(w, steps, zeros, 0, torch.qint8)
    found.append(record("PyTorch", "int8:per-channel:half-range", q.q_per_channel_scales(), q.q_per_channel_zero_points(),
                        q.int_repr()))  # fmt: skip
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    w = weights()
    quantizers = [by_onnx_runtime(w, *setting) for setting in ONNX_RUNTIME]
    try:
        quantizers += by_pytorch(w)
    except ImportError:
        known = json.loads(out.read_text())["quantizers"] if out.exists() else []
        quantizers += [q for q in known if q["program"] == "PyTorch"]
    lines = ",\n".join("  " + json.dumps(q) for q in quantizers)
    shape, values = list(w.shape), [float(v) for v in w.ravel()]
    out.write_text(f'{{\n "shape": {shape},\n "weights": {json.dumps(values)},\n "quantizers": [\n{lines}\n ]\n}}\n')
    print(f"{len(quantizers)} quantizers")


if __name__ == "__main__":
    main()
