"""Arrays as an architecture and the bytes of a safetensors file, which `Network.from_safetensors` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._weightproof import NetworkError

#: Activations that stand between layers, by their names here and in scikit-learn.
ACTIVATIONS = {
    **{name: name for name in ("relu", "sigmoid", "tanh", "softplus", "gelu", "gelu-tanh", "silu", "mish", "leaky-relu", "elu", "softsign")},
    "logistic": "sigmoid",
    "identity": None,
}


def safetensors(tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """A safetensors file: the length of the header, the header in JSON, the numbers, which are f64 where they are given so, else f32."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    end = 0
    for name, tensor in tensors.items():
        wide = tensor.dtype == np.float64
        part = np.ascontiguousarray(tensor).astype("<f8" if wide else "<f4", copy=False).tobytes()
        header[name] = {"dtype": "F64" if wide else "F32", "shape": list(tensor.shape), "data_offsets": [end, end + len(part)]}
        end += len(part)
        parts.append(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def chain(
    layers: Sequence[tuple[npt.ArrayLike, npt.ArrayLike | None]], activation: str, transposed: bool, names: Sequence[str] | None
) -> tuple[bytes, str]:
    """The bytes of the weights and the text of the architecture of a chain of dense layers.

    Raises:
        NetworkError: Arrays that do not fit together, by the name of the layer.
    """
    if activation not in ACTIVATIONS:
        raise NetworkError(f"activation: expected one of {', '.join(ACTIVATIONS)}, found {activation!r}")
    if not layers:
        raise NetworkError("layers: expected at least 1 layer, found none")
    names = [f"dense{k}" for k in range(1, len(layers) + 1)] if names is None else list(names)
    if len(names) != len(layers):
        raise NetworkError(f"names: expected {len(layers)}, one for each layer, found {len(names)}")
    tensors: dict[str, npt.NDArray[Any]] = {}
    lines: list[str] = []
    between = ACTIVATIONS[activation]
    for k, (name, (weight, bias)) in enumerate(zip(names, layers, strict=True)):
        matrix = _numbers(name, "weight", weight, 2)
        tensors[f"{name}.weight"] = matrix
        fields = [f"name = {json.dumps(name)}", f"weight = {json.dumps(f'{name}.weight')}"]
        if transposed:
            fields.append("transposed = true")
        if bias is not None:
            tensors[f"{name}.bias"] = _numbers(name, "bias", bias, 1)
            fields.append(f"bias = {json.dumps(f'{name}.bias')}")
        if k == 0:
            lines.append(f"input = [{matrix.shape[0 if transposed else 1]}]")
        lines += ["", "[[layer]]", 'type = "dense"', *fields]
        if between is not None and k + 1 < len(layers):
            lines += ["", "[[layer]]", f"type = {json.dumps(between)}"]
    return safetensors(tensors), "\n".join(lines) + "\n"


def _numbers(name: str, what: str, values: npt.ArrayLike, dimensions: int) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != dimensions or array.dtype.kind not in "fiu":
        raise NetworkError(f"{name}: expected a {what} of numbers with {dimensions} dimensions, found {array.dtype} of shape {array.shape}")
    return array
