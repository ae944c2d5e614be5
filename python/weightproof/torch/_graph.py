"""A module as steps that bounds are carried through: the same steps that `Network.from_torch` reads, with the parameters of the module itself."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from .. import _torch
from .._weightproof import NetworkError

#: Activations that grow with their input; whether none of their values is negative.
_MONOTONE: dict[type[nn.Module], bool] = {
    nn.ReLU: True,
    nn.ReLU6: True,
    nn.Sigmoid: True,
    nn.Softplus: True,
    nn.Hardsigmoid: True,
    nn.LeakyReLU: False,
    nn.Tanh: False,
    nn.ELU: False,
    nn.SELU: False,
    nn.CELU: False,
    nn.Hardtanh: False,
    nn.Softsign: False,
    nn.LogSigmoid: False,
}
_MONOTONE_FUNCTIONS: dict[Any, bool] = {
    **dict.fromkeys((torch.relu, F.relu, "relu", F.relu6, torch.sigmoid, F.sigmoid, "sigmoid", F.softplus, F.hardsigmoid), True),
    **dict.fromkeys((torch.tanh, F.tanh, "tanh", F.leaky_relu, F.elu, F.selu, F.celu, F.hardtanh, F.softsign, F.logsigmoid), False),
}
#: What moves values and takes means or maxima of them: monotone, and no sign is changed.
_KEEPS_SIGN: tuple[type[nn.Module], ...] = (
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
)
_KEEPS_SIGN_FUNCTIONS: frozenset[Any] = frozenset(
    (
        F.max_pool1d,
        torch.max_pool1d,
        F.max_pool2d,
        torch.max_pool2d,
        F.avg_pool1d,
        F.avg_pool2d,
        F.adaptive_avg_pool1d,
        F.adaptive_avg_pool2d,
        torch.flatten,
        torch.reshape,
        torch.squeeze,
        torch.unsqueeze,
        torch.cat,
        torch.concat,
        torch.mean,
        *("flatten", "view", "reshape", "unflatten", "squeeze", "unsqueeze", "contiguous", "mean"),
    )
)
_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_ADD = (operator.add, operator.iadd, torch.add, "add", "add_")
_SCALES = (operator.sub, operator.isub, torch.sub, "sub", operator.mul, operator.imul, torch.mul, "mul", operator.truediv, torch.div, "div")
_HEADS = (nn.Softmax, nn.LogSoftmax)

#: A map of tensors to a tensor.
Map = Callable[..., Tensor]


class Affine:
    """A dense layer or a convolution, with the batch normalization behind it folded in as it is deployed."""

    def __init__(self, name: str, module: nn.Module, norm: nn.Module | None = None) -> None:
        self.name = name
        self.module: Any = module
        self.norm: Any = norm
        self.is_dense = isinstance(module, nn.Linear)

    def weight(self) -> Tensor:
        weight: Tensor = self.module.weight
        return weight if self.norm is None else weight * self._gain().view(-1, *[1] * (weight.ndim - 1))

    def bias(self) -> Tensor | None:
        bias: Tensor | None = self.module.bias
        if self.norm is None:
            return bias
        shift = -self.norm.running_mean if bias is None else bias - self.norm.running_mean
        shift = shift * self._gain()
        return shift if self.norm.bias is None else shift + self.norm.bias

    def _gain(self) -> Tensor:
        gain: Tensor = (self.norm.running_var + self.norm.eps).rsqrt()
        return gain if self.norm.weight is None else gain * self.norm.weight

    def product(self, z: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The layer with another weight: (batch, in…) to (batch, out…)."""
        if self.is_dense:
            return F.linear(z, weight, bias)
        m = self.module
        convolve = F.conv1d if weight.ndim == 3 else F.conv2d
        return convolve(z, weight, bias, m.stride, m.padding, m.dilation, m.groups)

    def transposed(self, a: Tensor, weight: Tensor, shape: Sequence[int]) -> Tensor:
        """Coefficients of the inputs of this shape from those of the outputs: (rows, out…) to (rows, in…)."""
        if self.is_dense:
            return a @ weight
        m = self.module
        gradient = torch.nn.grad.conv1d_input if weight.ndim == 3 else torch.nn.grad.conv2d_input
        return gradient([a.shape[0], *shape], weight, a, m.stride, m.padding, m.dilation, m.groups)

    def spread(self, row: Tensor) -> Tensor:
        """One number for each output channel, in the shape of an output."""
        return row if self.is_dense else row.view(-1, *[1] * (self.module.weight.ndim - 2))


class Step:
    """What one node of the module computes.

    Attributes:
        kind: ``input``, ``affine``, ``relu``, ``monotone``, ``add`` (also a monotone map of several values) or ``scale``.
        sources: Numbers of the steps that it reads.
        apply: Its value from those of its sources.
        nonnegative: Whether no value is negative; ``None`` where that is so when it is of all sources.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        sources: Sequence[int],
        apply: Map | None = None,
        nonnegative: bool | None = None,
        affine: Affine | None = None,
    ) -> None:
        self.name, self.kind, self.sources = name, kind, tuple(sources)
        self.apply, self.nonnegative, self.affine = apply, nonnegative, affine
        #: Shape of a sample.
        self.shape: tuple[int, ...] = ()


def steps_of(module: nn.Module, example: Tensor | Sequence[int]) -> list[Step]:
    """The steps of a module, the last of which is a dense layer with the outputs.

    Raises:
        NetworkError: A part of the module has no rule; the message names it.
    """
    shape = _torch._sample_shape(example)
    leaf = module if list(module.children()) else nn.Sequential(module)
    try:
        traced = torch.fx.symbolic_trace(leaf)
    except Exception as error:
        raise NetworkError(f"module {type(module).__name__}: torch.fx cannot trace it: {error}") from error
    modules: dict[str, Any] = dict(traced.named_modules())
    steps: list[Step] = []
    place: dict[torch.fx.Node, int] = {}
    for node in traced.graph.nodes:
        if node.op == "output":
            break
        step = _step(node, modules, traced, place, steps)
        if step is not None:
            place[node] = len(steps)
            steps.append(step)
    _measure(steps, module, shape)
    last = steps[-1]
    if last.kind != "affine" or not last.affine or not last.affine.is_dense:
        raise NetworkError(f"{last.name}: expected a dense layer as the output, found {last.kind}")
    return steps


def _step(
    node: torch.fx.Node, modules: dict[str, Any], traced: nn.Module, place: dict[torch.fx.Node, int], steps: list[Step]
) -> Step | None:
    """The step of a node; `None` where it adds nothing to the steps before."""
    name = str(node.target) if node.op == "call_module" else node.name
    if node.op == "placeholder":
        return Step("input", "input", [])
    if node.op == "get_attr":
        return None
    sources = [place[n] for n in node.all_input_nodes if n in place]
    if node.op == "call_module":
        module = modules[name]
        kind = type(module)
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            if not isinstance(module, nn.Linear) and module.padding_mode != "zeros":
                raise NetworkError(f"module {name} ({kind.__name__}): expected padding with zeros, found {module.padding_mode}")
            affine = Affine(name, module)
            return Step(name, "affine", sources, nonnegative=False, affine=affine)
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            _fold(node, name, module, place, steps)
            return None
        if isinstance(module, (*_DROPOUT, *_HEADS)):
            # As in evaluation mode; a Softmax does not change the order of the classes.
            place[node] = sources[0]
            return None
        if kind in _MONOTONE:
            is_relu = kind is nn.ReLU
            return Step(name, "relu" if is_relu else "monotone", sources, F.relu if is_relu else module, _MONOTONE[kind])
        if isinstance(module, _KEEPS_SIGN):
            linear = isinstance(module, (nn.Flatten, nn.Unflatten, nn.Identity))
            return Step(name, "reshape" if linear else "monotone", sources, module)
        raise NetworkError(f"module {name} ({kind.__name__}): expected a module that is monotone or linear, found another one")
    target = node.target if node.op == "call_function" else str(node.target)
    if target in _MONOTONE_FUNCTIONS:
        is_relu = target in (torch.relu, F.relu, "relu")
        kind_of = "relu" if is_relu else "monotone"
        return Step(name, kind_of, sources, F.relu if is_relu else _partial(node), _MONOTONE_FUNCTIONS[target])
    if target in _KEEPS_SIGN_FUNCTIONS:
        linear = target in (torch.flatten, torch.reshape, "flatten", "view", "reshape", "unflatten", "contiguous")
        return Step(name, "reshape" if linear else "monotone", sources, _partial(node))
    if target in _ADD and len(sources) == 2:
        return Step(name, "add", sources, torch.add)
    if (target in _SCALES or target in _ADD) and len(sources) == 1:
        return Step(name, "scale", sources, _partial(node, traced), nonnegative=False)
    if target in (getattr, "size", operator.getitem) or node.op == "call_method" and target == "size":
        raise NetworkError(f"function {name}: expected constant shapes, found one that is computed\nhint: nn.Flatten, or flatten(1)")
    raise NetworkError(f"function {name}: expected a function that is monotone or linear, found another one")


def _fold(node: torch.fx.Node, name: str, norm: Any, place: dict[torch.fx.Node, int], steps: list[Step]) -> None:
    """Folds batch normalization into the layer before it."""
    source = node.args[0]
    step = steps[place[source]] if isinstance(source, torch.fx.Node) and source in place else None
    if step is None or step.affine is None or step.affine.norm is not None or len(source.users) > 1:
        raise NetworkError(f"module {name}: expected batch normalization behind a layer with weights, found it elsewhere")
    if norm.running_mean is None:
        raise NetworkError(f"module {name}: expected running statistics, found none (track_running_stats=False)")
    step.affine.norm = norm
    place[node] = place[source]


def _partial(node: torch.fx.Node, traced: nn.Module | None = None) -> Map:
    """What a node computes from its values that depend on the input; its constants are those of the module."""

    def constant(value: Any) -> Any:
        if isinstance(value, torch.fx.Node) and value.op == "get_attr":
            found: Any = traced
            for part in str(value.target).split("."):
                found = getattr(found, part)
            return found
        return value

    def is_value(argument: Any) -> bool:
        return isinstance(argument, torch.fx.Node) and argument.op != "get_attr"

    if node.args and isinstance(node.args[0], (list, tuple)):
        rest, keywords, function = node.args[1:], dict(node.kwargs), node.target
        return lambda *values: function(list(values), *rest, **keywords)
    arguments = [None if is_value(a) else constant(a) for a in node.args]
    holes = [k for k, a in enumerate(node.args) if is_value(a)]
    keywords = {key: constant(value) for key, value in node.kwargs.items()}
    target = node.target

    def apply(*values: Tensor) -> Tensor:
        filled = list(arguments)
        for k, value in zip(holes, values, strict=True):
            filled[k] = value
        if isinstance(target, str):
            found: Tensor = getattr(filled[0], target)(*filled[1:], **keywords)
            return found
        result: Tensor = target(*filled, **keywords)
        return result

    return apply


def _measure(steps: list[Step], module: nn.Module, shape: Sequence[int]) -> None:
    """Finds the shapes of all values with one sample."""
    parameter = next(module.parameters(), None)
    # Another number of samples than 1, so that the batch dimension is told apart.
    kind = {} if parameter is None else {"dtype": parameter.dtype, "device": parameter.device}
    with torch.no_grad():
        for step, value in zip(steps, values_of(steps, torch.zeros(2, *shape, **kind)), strict=True):
            if value.shape[0] != 2:
                raise NetworkError(f"{step.name}: expected a value for each sample, found the shape {tuple(value.shape)}")
            step.shape = tuple(value.shape[1:])


def values_of(steps: list[Step], x: Tensor) -> list[Tensor]:
    """Values of all steps of the unperturbed module, (batch, …), with batch normalization as it is deployed."""
    values: list[Tensor] = []
    for step in steps:
        if step.affine is not None:
            values.append(step.affine.product(values[step.sources[0]], step.affine.weight(), step.affine.bias()))
        elif step.apply is None:
            values.append(x)
        else:
            values.append(step.apply(*(values[k] for k in step.sources)))
    return values


def width(step: Step) -> int:
    """Number of values of a sample."""
    return math.prod(step.shape)
