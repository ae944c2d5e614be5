"""Networks: read from files, PyTorch, scikit-learn or arrays, evaluated, written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _arrays, _check
from ._weightproof import Network as _Native
from ._weightproof import DataError, NetworkError, SettingError
from ._words import BatchNorm, StepRounding

if TYPE_CHECKING:
    import torch

    from ._words import Kind, Method
    from .data import Data
    from .threat import Threat

__all__ = ["Network", "Node"]


@dataclass(frozen=True)
class Node:
    """A node of a network.

    Attributes:
        name: What threat models refer to.
        kind: ``dense``, ``conv``, ``relu``, ``max-pool``, …
        inputs: Names of the nodes that it reads.
        shape: Shape of its output for one sample.
        weight_shape: (outputs, inputs) of a dense layer, (channels, inputs of a group, height, width) of a convolution;
            ``None`` without weights.
        bias_shape: (outputs,) or (channels,); ``None`` without biases.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    weight_shape: tuple[int, ...] | None
    bias_shape: tuple[int, ...] | None


class Network:
    """A network whose weights may move. Made by `from_onnx`, `from_safetensors`, `from_torch`, `from_sklearn`, `from_arrays` or `examples.mnist`."""

    def __init__(self, native: _Native, recipe: tuple[str, tuple[Any, ...]] | None = None) -> None:
        if not isinstance(native, _Native):
            raise TypeError("use Network.from_onnx, Network.from_safetensors or Network.from_torch")
        self._native = native
        # The native function that made it, and its arguments: a pickle has these.
        self._recipe = recipe
        self._model: dict[str, Any] = json.loads(native.model())

    @classmethod
    def _made(cls, method: str, *arguments: Any) -> Network:
        """The network that a function of the native half makes."""
        return cls(getattr(_Native, method)(*arguments), (method, arguments))

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle of a network from a file names the file; one from PyTorch has its weights."""
        if self._recipe is None:
            raise TypeError("network: expected one that from_onnx, from_safetensors, from_torch or examples.mnist made")
        method, arguments = self._recipe
        return _remade, (method, *arguments)

    @classmethod
    def from_onnx(
        cls,
        path: str | os.PathLike[str],
        *,
        batch_norm: BatchNorm = "fold",
        output: str | Sequence[str] | None = None,
        inputs: Mapping[str, str | os.PathLike[str]] | None = None,
        dims: Mapping[str, int] | None = None,
        rounding: StepRounding = "nearest-even",
    ) -> Network:
        """Reads an ONNX file (opsets 5 to 26).

        Args:
            path: The file.
            batch_norm: ``fold`` batch normalization into the neighbouring weights, as it is deployed, or keep it
                ``separate`` with parameters of its own that move.
            output: Name of an output, or of several that are laid end to end; by default the first one.
            inputs: ``.npy`` files with the values of inputs that are constants.
            dims: Values of dimensions that have a name.
            rounding: Which step comes out of quantizers: by the operator's text, to the nearest with ties to even, or
                ``any``: that one or one beside it.

        Raises:
            FormatError: The file cannot be read, or has an operator that is not supported; the message names the node.
        """
        outputs = [output] if isinstance(output, str) else list(output or ())
        constants = [(name, os.fspath(file)) for name, file in (inputs or {}).items()]
        values = list((dims or {}).items())
        if rounding not in ("nearest-even", "any"):
            raise SettingError(f"rounding: expected nearest-even or any, found {rounding!r}")
        separate = _is_separate(batch_norm)
        return cls._made("load", os.fspath(path), None, separate, outputs, constants, values, rounding == "any")

    @classmethod
    def from_safetensors(
        cls,
        path: str | os.PathLike[str],
        architecture: str | os.PathLike[str] | None = None,
        *,
        batch_norm: BatchNorm = "fold",
    ) -> Network:
        """Reads weights from a safetensors file and layers from a TOML file.

        Args:
            path: The file with the weights.
            architecture: The file with the layers; by default the ``.toml`` beside it.
            batch_norm: ``fold`` batch normalization into the neighbouring weights, as it is deployed, or keep it
                ``separate`` with parameters of its own that move.

        Raises:
            FormatError: A file cannot be read; the message names the layer or tensor.
        """
        text = None if architecture is None else os.fspath(architecture)
        return cls._made("load", os.fspath(path), text, _is_separate(batch_norm), [], [], [], False)

    @classmethod
    def from_torch(
        cls,
        module: torch.nn.Module,
        example: torch.Tensor | tuple[int, ...],
        *,
        batch_norm: BatchNorm = "fold",
        name: str | None = None,
    ) -> Network:
        """Converts a PyTorch module as it is in evaluation mode; the module itself is not changed.

        Linear, Conv1d and Conv2d, BatchNorm, max, average and adaptive pooling, Flatten, dropout, the usual activations,
        additions (residual blocks), concatenation and constants, in modules that `torch.fx` can trace.

        Args:
            module: The module. Its parameters are copied.
            example: An input, (batch, …), or the shape of one sample without the batch dimension: ``(1, 28, 28)``.
            batch_norm: ``fold`` batch normalization into the neighbouring weights, as it is deployed, or keep it
                ``separate`` with parameters of its own that move.
            name: Name in reports; the name of the class by default.

        Raises:
            NetworkError: A module or function is not supported; the message names it.
            ImportError: PyTorch is not installed.
        """
        from . import _torch

        separate = _is_separate(batch_norm)
        weights, architecture, notes, head = _torch.convert(module, example)
        name = name or type(module).__name__
        return cls._made("build", weights, architecture, separate, name, "torch", notes, head)

    @classmethod
    def from_arrays(
        cls,
        layers: Sequence[tuple[npt.ArrayLike, npt.ArrayLike | None]],
        *,
        activation: str = "relu",
        transposed: bool = False,
        names: Sequence[str] | None = None,
        name: str = "arrays",
    ) -> Network:
        """A chain of dense layers from arrays, with one activation between them.

        Args:
            layers: Weight (outputs, inputs) and bias (outputs,) of each layer; ``None`` for no bias.
            activation: ``relu``, ``sigmoid``, ``tanh``, …; ``identity`` for none.
            transposed: Weights are (inputs, outputs), as JAX, Flax and Keras have them.
            names: Names of the layers; ``dense1``, … by default.
            name: Name in reports.

        Raises:
            NetworkError: Arrays that do not fit together; the message names the layer.
        """
        weights, architecture = _arrays.chain(layers, activation, transposed, names)
        return cls._made("build", weights, architecture, False, name, "arrays", [], None)

    @classmethod
    def from_sklearn(cls, classifier: Any, *, name: str | None = None) -> Network:
        """Converts a fitted ``MLPClassifier`` of scikit-learn. Labels are places in its ``classes_``.

        The last Softmax or logistic function is left out: it does not change the order of the classes. A classifier of two classes has
        one output, class 1 is an output above zero (property ``positive``, the default for one output).

        Args:
            classifier: The classifier. Its parameters are copied.
            name: Name in reports; the name of the class by default.

        Raises:
            NetworkError: Another classifier, one that is not fitted, or one of several labels at once.
        """
        kind = type(classifier).__name__
        coefficients = getattr(classifier, "coefs_", None)
        if kind != "MLPClassifier" or coefficients is None:
            found = kind if kind != "MLPClassifier" else "one that is not fitted"
            raise NetworkError(f"classifier: expected a fitted MLPClassifier, found {found}")
        head, outputs = classifier.out_activation_, classifier.n_outputs_
        if head not in ("softmax", "logistic") or head == "logistic" and outputs > 1:
            raise NetworkError(f"classifier: expected one label for each sample, found {outputs} outputs of {head}")
        layers = list(zip(coefficients, classifier.intercepts_, strict=True))
        weights, architecture = _arrays.chain(layers, classifier.activation, True, None)
        note = f"{head}: dropped, it does not change the order of the classes"
        return cls._made("build", weights, architecture, False, name or kind, "scikit-learn", [note], head)

    def forward(self, x: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Outputs of the unperturbed network, in float64.

        Args:
            x: Samples, (n, …) with as many values as the input; float64 is read without copies, float32 is widened, bytes
                are not divided by 255 here but refused.

        Returns:
            (n, outputs).

        Raises:
            DataError: A wrong shape or type, or a number that is not finite.
        """
        array = _check.samples(x)
        if array.dtype == np.uint8:
            raise DataError("x: expected numbers of type float64 or float32, found uint8\nhint: x / 255")
        return self._native.forward(array).reshape(len(array), self.outputs)

    __call__ = forward

    @property
    def name(self) -> str:
        """Name in reports."""
        return str(self._model["name"])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self._model["input_shape"])

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return int(self._model["outputs"])

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, or of the parameters that came from PyTorch, in hexadecimal."""
        return str(self._model["sha256"])

    @property
    def notes(self) -> list[str]:
        """What the reader left out or changed."""
        return list(self._model["notes"])

    @property
    def nodes(self) -> list[Node]:
        """All nodes in order, the input first."""

        def shape(numbers: list[int] | None) -> tuple[int, ...] | None:
            return None if numbers is None else tuple(numbers)

        return [
            Node(
                node["name"],
                node["kind"],
                tuple(node["inputs"]),
                tuple(node["shape"]),
                shape(node["weight"]),
                shape(node["bias"]),
            )
            for node in json.loads(self._native.layers())
        ]

    def layers(
        self,
        x: npt.ArrayLike | Data | None = None,
        y: npt.ArrayLike | None = None,
        threat: Threat | Kind = "absolute",
        *,
        method: Method = "linear",
        threads: int | None = None,
    ) -> Any:
        """A table of the layers with weights, for a look at which of them are sensitive.

        Columns: ``layer``, ``kind``, ``shape`` of the weights, ``parameters``; norms of the matrix that the layer is:
        ``row_l1``, ``column_l1``, ``frobenius``, ``spectral`` (the largest singular value), ``stable_rank`` (‖W‖_F² / ‖W‖₂²), and
        ``largest``, the largest magnitude of a weight. These are measured. With samples also ``certified_radius``, the median over
        the samples of the radius that is proved when this layer alone moves, and ``limits``, for how many samples no other
        layer's radius is smaller.

        Args:
            x: Samples of shape (n, …), or `Data`; without them there are no radii.
            y: Labels, (n,) of an integer type; those of ``x`` where that is `Data`.
            threat: A :class:`weightproof.Threat`, or its kind: what moves, and the unit of the radii.
            method: How radii are proved: ``norm-product``, ``interval``, ``linear``, ``linear-interval``, ``optimized`` or ``exact``; their
                guarantee is ``rigorous``.
            threads: Number of threads; all processors by default.

        Returns:
            A pandas ``DataFrame`` where pandas is installed, else a list with a dictionary for each layer.
        """
        from .inspection import inspect
        from .run import radius

        shapes = {node.name: node.weight_shape for node in self.nodes}
        rows: list[dict[str, Any]] = []
        for node in inspect(self).nodes:
            if norms := node.get("norms"):
                row = {"layer": node["name"], "kind": node["kind"], "shape": shapes[node["name"]]}
                names = ("row_l1", "column_l1", "frobenius", "spectral", "stable_rank", "largest")
                rows.append({**row, "parameters": node["parameters"], **{name: norms[name] for name in names}})
        if x is not None:
            found = radius(self, x, y, threat, method=method, attack=None, by_layer=True, threads=threads)
            radii = {layer["layer"]: layer for layer in found.summary["layers"]}
            for row in rows:
                one = radii.get(row["layer"], {"median_certified_radius": None, "limits": 0})
                row |= {"certified_radius": one["median_certified_radius"], "limits": one["limits"]}
        try:
            import pandas
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    @property
    def parameters(self) -> dict[str, npt.NDArray[np.float64]]:
        """Copies of all weights and biases, ``NAME.weight`` and ``NAME.bias``, after folding; shapes as in :class:`Node`."""
        found = {}
        for name, weight, bias in self._native.parameters():
            found[f"{name}.weight"] = weight
            if bias is not None:
                found[f"{name}.bias"] = bias
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes ``.onnx`` (rounded to float32), or ``.safetensors`` with its architecture in ``.toml`` beside it.

        Raises:
            FormatError: The file cannot be written, or the format cannot say what a layer computes.
        """
        self._native.save(os.fspath(path))

    def _repr_html_(self) -> str:
        from .inspection import inspect

        return inspect(self)._repr_html_()

    def __repr__(self) -> str:
        count = self._model["parameters"]
        return f"<Network {self.name}: input {self.input_shape}, {self.outputs} outputs, {count:,} parameters>"


def _remade(method: str, *arguments: Any) -> Network:
    """A network from its pickle."""
    return Network._made(method, *arguments)


def _is_separate(batch_norm: str) -> bool:
    if batch_norm not in ("fold", "separate"):
        raise SettingError(f"batch_norm: expected fold or separate, found {batch_norm!r}")
    return batch_norm == "separate"
