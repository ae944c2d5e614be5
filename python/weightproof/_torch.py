"""PyTorch modules as an architecture and the bytes of a safetensors file.

torch.fx lists what a module computes; every step becomes a layer of the architecture file that
`Network.from_safetensors` reads, so that shapes, padding and the folding of batch normalization have one implementation.
"""

from __future__ import annotations

import copy
import json
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from . import _arrays
from ._weightproof import NetworkError

try:
    import torch
    import torch.fx
    import torch.nn.functional as F
    from torch import nn
    from torch.fx.passes.shape_prop import ShapeProp
except ImportError as error:
    raise ImportError("Network.from_torch needs PyTorch\nhint: pip install 'weightproof[torch]'") from error

#: Samples of the batch that shapes are found with: another number than 1, so that the batch dimension is told apart.
_BATCH = 3


def convert(module: nn.Module, example: torch.Tensor | Sequence[int]) -> tuple[bytes, str, list[str], str | None]:
    """The bytes of the weights, the text of the architecture, notes, and a last Softmax that was left out, of a module in
    evaluation mode."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected a torch.nn.Module, found {type(module).__name__}")
    shape = _sample_shape(example)
    # Changes neither the mode nor the place of the user's module.
    module = copy.deepcopy(module).cpu().eval()
    kind = type(module).__name__
    try:
        # Whole modules of torch are leaves of a trace, so a single one is put into a sequence.
        traced = torch.fx.symbolic_trace(module if list(module.children()) else nn.Sequential(module))
    except Exception as error:
        raise NetworkError(
            f"module {kind}: torch.fx cannot trace it: {error}\n"
            "hint: leave out what depends on values, or export it to ONNX and use Network.from_onnx"
        ) from error
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    with torch.no_grad():
        try:
            ShapeProp(traced).propagate(torch.zeros(_BATCH, *shape, dtype=dtype))
        except Exception as error:
            ways = [_way_on(part) for part in module.modules() if isinstance(part, (nn.Embedding, nn.EmbeddingBag))]
            hint = "".join(f"\nhint: {way}" for way in ways[:1])
            raise NetworkError(f"module {kind}: it does not take samples of shape {shape}: {error}{hint}") from error
    return _Converter(traced, shape).run()


def _sample_shape(example: torch.Tensor | Sequence[int]) -> tuple[int, ...]:
    if isinstance(example, torch.Tensor):
        if example.ndim < 2:
            raise NetworkError(f"example: expected an input of shape (batch, …), found {tuple(example.shape)}")
        return tuple(example.shape[1:])
    try:
        shape = tuple(operator.index(size) for size in example)
    except TypeError:
        shape = ()
    if not shape or min(shape) < 1:
        raise NetworkError(
            f"example: expected an input tensor, or the shape of one sample such as (1, 28, 28), found {example!r}"
        )
    return shape


class _Unsupported(Exception):
    """What is not supported, without its place; then what to do instead, where that is known."""


class _Converter:
    """Turns the nodes of a trace into layers."""

    def __init__(self, traced: torch.fx.GraphModule, shape: tuple[int, ...]) -> None:
        self.traced = traced
        self.modules = dict(traced.named_modules())
        self.lines = [f"input = {_toml(list(shape))}"]
        self.tensors: dict[str, torch.Tensor] = {}
        # The layer that holds the value of a node, and the constants.
        self.layers: dict[torch.fx.Node, str] = {}
        self.constants: dict[torch.fx.Node, torch.Tensor] = {}
        self.taken = {"input"}
        self.notes: list[str] = []
        self.dropped_head: str | None = None

    def run(self) -> tuple[bytes, str, list[str], str | None]:
        inputs = 0
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                inputs += 1
                if inputs > 1:
                    raise NetworkError(f"input {node.name}: expected a module with one input, found another one")
                self.layers[node] = "input"
            elif node.op == "get_attr":
                self.constants[node] = self._attribute(str(node.target))
            elif node.op == "output":
                self._output(node.args[0])
            elif self._is_tensor(node):
                try:
                    self._step(node)
                except _Unsupported as error:
                    hint = "".join(f"\nhint: {way}" for way in error.args[1:])
                    raise NetworkError(f"{self._place(node)}: {error.args[0]}{hint}") from None
        return _safetensors(self.tensors), "\n".join(self.lines) + "\n", self.notes, self.dropped_head

    def _attribute(self, target: str) -> torch.Tensor:
        value: Any = self.traced
        for part in target.split("."):
            value = getattr(value, part)
        if not isinstance(value, torch.Tensor):
            raise NetworkError(f"attribute {target}: expected a tensor, found {type(value).__name__}")
        return value

    def _output(self, value: Any) -> None:
        node = value
        if not isinstance(node, torch.fx.Node) or node not in self.layers:
            raise NetworkError(f"output: expected one tensor, found {value!r}")
        if len(_shape(node)) != 1:
            raise NetworkError(f"output: expected outputs of shape (batch, classes), found (batch, *{_shape(node)})")
        # The last layer of the architecture is its output.
        if self.lines[-1] != f"# {self.layers[node]}":
            self._layer(node, "flatten")
        self.lines = [line for line in self.lines if not line.startswith("# ")]

    def _is_tensor(self, node: torch.fx.Node) -> bool:
        """Whether a value is a tensor or several; sizes and numbers are not, and ShapeProp says nothing about them."""
        return "tensor_meta" in node.meta

    def _place(self, node: torch.fx.Node) -> str:
        if node.op == "call_module":
            return f"module {node.target} ({type(self.modules[str(node.target)]).__name__})"
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        owner = list((node.meta.get("nn_module_stack") or {}).values())
        inside = f" in {owner[-1][0] or 'the module'}" if owner and isinstance(owner[-1], tuple) else ""
        return f"function {name}{inside}"

    def _step(self, node: torch.fx.Node) -> None:
        """Adds what a node computes."""
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            rule = next((rule for kinds, rule in _MODULES if isinstance(module, kinds)), None)
            if rule is None or type(module).forward is not _forward(type(module)):
                raise _Unsupported("this module is not supported", _way_on(module))
            rule(self, node, _Arguments(node.args, node.kwargs, module))
            return
        rule = _FUNCTIONS.get(_function(node))
        if rule is None:
            raise _Unsupported("this function is not supported", _way_on(_function(node)))
        rule(self, node, _Arguments(node.args, node.kwargs, None))

    # What rules are made of.

    def source(self, node: Any) -> str:
        """The layer that holds a value which depends on the input."""
        if isinstance(node, torch.fx.Node) and node in self.layers:
            return self.layers[node]
        raise _Unsupported(f"expected a value that depends on the input, found {node!r}")

    def _layer(self, node: torch.fx.Node, kind: str, *sources: Any, **fields: Any) -> str:
        """Adds a layer that reads `sources`, or the layer of `node` itself when there are none."""
        wanted = str(node.target) if node.op == "call_module" else node.name
        name, number = wanted, 1
        while name in self.taken:
            number += 1
            name = f"{wanted}_{number}"
        self.taken.add(name)
        inputs = [self.source(source) for source in sources] or [self.layers[node]]
        many = {"inputs": inputs} if kind in ("add", "concat") else {"input": inputs[0]}
        fields = {"type": kind, "name": name, **many, **fields}
        self.lines += ["", "[[layer]]"]
        self.lines += [f"{key} = {_toml(value)}" for key, value in fields.items() if value is not None]
        self.lines.append(f"# {name}")
        self.layers[node] = name
        return name

    def same(self, node: torch.fx.Node, source: Any) -> None:
        """A node that changes nothing."""
        self.layers[node] = self.source(source)

    def store(self, node: torch.fx.Node, name: str, tensor: torch.Tensor | None) -> str | None:
        """Adds a tensor and gives its name."""
        if tensor is None:
            return None
        if not tensor.is_floating_point():
            raise _Unsupported(f"expected a {name} of floating-point numbers, found {tensor.dtype}")
        key = f"{node.target if node.op == 'call_module' else node.name}.{name}"
        self.tensors[key] = tensor.detach()
        return key

    def reshaped(self, node: torch.fx.Node, source: Any) -> None:
        """A change of shape that keeps the batch dimension and the order of the elements."""
        shape, before = _shape(node), _shape(source)
        if _batch(node) != _BATCH or math.prod(shape) != math.prod(before):
            raise _Unsupported(f"expected a shape that keeps the batch dimension, found {tuple(_meta(node))}")
        if shape == before:
            self.same(node, source)
        elif len(shape) == 1:
            self._layer(node, "flatten", source)
        else:
            self._layer(node, "reshape", source, shape=list(shape))

    def scaled(self, node: torch.fx.Node, source: Any, scale: Any = None, shift: Any = None) -> None:
        """`scale · z + shift`, with constants that broadcast to a sample."""
        numbers = {"scale": self._spread(node, scale), "shift": self._spread(node, shift)}
        if _shape(node) != _shape(source):
            raise _Unsupported(f"expected a constant of the shape {_shape(source)} or less")
        self._layer(node, "scale", source, **numbers)

    def _spread(self, node: torch.fx.Node, constant: Any) -> float | list[float] | None:
        if constant is None or isinstance(constant, (int, float)):
            return None if constant is None else float(constant)
        sample = (1, *_shape(node))
        try:
            return [float(v) for v in constant.detach().double().broadcast_to(sample).flatten()]
        except RuntimeError:
            raise _Unsupported(f"expected a constant that is the same for every sample, found {tuple(constant.shape)}") from None

    def constant(self, value: Any) -> Any:
        """The number or tensor of a constant; `None` for what depends on the input."""
        if isinstance(value, torch.fx.Node):
            return self.constants.get(value)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


class _Arguments:
    """The arguments of a call: by name from a module's attributes, by place or name from a function's."""

    def __init__(self, args: Sequence[Any], kwargs: dict[str, Any], module: nn.Module | None) -> None:
        self.args, self.kwargs, self.module = args, kwargs, module
        self.input = args[0] if args else kwargs.get("input", kwargs.get("self"))

    def get(self, name: str, place: int, default: Any = None) -> Any:
        if self.module is not None:
            return getattr(self.module, name, default)
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)


_Rule = Callable[[_Converter, torch.fx.Node, _Arguments], None]


def _meta(node: Any) -> torch.Size:
    return node.meta["tensor_meta"].shape


def _shape(node: Any) -> tuple[int, ...]:
    """Shape of one sample."""
    return tuple(_meta(node)[1:])


def _batch(node: Any) -> int:
    shape = _meta(node)
    return int(shape[0]) if shape else 0


def _forward(kind: type[nn.Module]) -> Any:
    """The forward method of the class of torch that a class is, or is derived from."""
    own: Any = next(k for k in kind.__mro__ if k.__module__.startswith("torch."))
    return own.forward


def _function(node: torch.fx.Node) -> Any:
    return node.target if node.op == "call_function" else str(node.target)


def _require(what: str, expected: Any, found: Any) -> None:
    if found != expected:
        raise _Unsupported(f"expected {what} {expected!r}, found {found!r}")


def _axes(value: Any, axes: int) -> list[int]:
    return [int(value)] * axes if isinstance(value, int) else [int(v) for v in value]


def _image(node: Any, axes: int) -> None:
    if len(_shape(node)) != axes + 1:
        raise _Unsupported(f"expected samples with channels and {axes} dimensions, found the shape {_shape(node)}")


# The rules.


def _linear(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    if len(_shape(a.input)) != 1:
        raise _Unsupported(f"expected flat samples, found the shape {_shape(a.input)}; put a Flatten before it")
    m: Any = a.module
    weight, bias = c.store(node, "weight", m.weight), c.store(node, "bias", m.bias)
    c._layer(node, "dense", a.input, weight=weight, bias=bias)


def _conv(axes: int) -> _Rule:
    def rule(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
        _image(a.input, axes)
        m: Any = a.module
        padding = list(m.padding) if not isinstance(m.padding, str) else None
        if m.padding == "same":
            total = [d * (k - 1) for d, k in zip(m.dilation, m.kernel_size, strict=True)]
            padding = [t // 2 for t in total] + [t - t // 2 for t in total]
        if padding and any(padding):
            _require("padding_mode", "zeros", m.padding_mode)
        weight, bias = c.store(node, "weight", m.weight), c.store(node, "bias", m.bias)
        c._layer(
            node,
            "conv",
            a.input,
            weight=weight,
            bias=bias,
            stride=list(m.stride),
            padding=padding,
            dilation=list(m.dilation),
            groups=m.groups,
        )

    return rule


def _batch_norm(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    m: Any = a.module
    if m.running_mean is None or m.running_var is None:
        raise _Unsupported("expected running statistics, found none (track_running_stats=False)")
    ones = torch.ones_like(m.running_var)
    c._layer(
        node,
        "batch-norm",
        a.input,
        weight=c.store(node, "weight", ones if m.weight is None else m.weight),
        bias=c.store(node, "bias", torch.zeros_like(ones) if m.bias is None else m.bias),
        mean=c.store(node, "running_mean", m.running_mean),
        variance=c.store(node, "running_var", m.running_var),
        epsilon=float(m.eps),
    )


def _windows(c: _Converter, node: torch.fx.Node, source: Any, kind: str, **fields: Any) -> None:
    """Pooling; what `ceil_mode` adds at the end must be empty."""
    shape, before = _shape(node), _shape(source)
    kernel, stride, padding = fields["kernel"], fields["stride"], fields["padding"]
    dilation = fields.get("dilation") or [1] * len(kernel)
    floor = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(before[1:], kernel, stride, padding, dilation, strict=True)
    ]
    if list(shape[1:]) != floor:
        raise _Unsupported(f"ceil_mode: expected windows within the image, found an output of {list(shape[1:])}")
    c._layer(node, kind, source, **fields)


def _max_pool(axes: int) -> _Rule:
    def rule(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
        _image(a.input, axes)
        kernel = _axes(a.get("kernel_size", 1), axes)
        stride = a.get("stride", 2)
        _require("return_indices", False, a.get("return_indices", 6, False))
        _windows(
            c,
            node,
            a.input,
            "max-pool",
            kernel=kernel,
            stride=_axes(stride, axes) if stride else kernel,
            padding=_axes(a.get("padding", 3, 0), axes),
            dilation=_axes(a.get("dilation", 4, 1), axes),
        )

    return rule


def _average_pool(axes: int) -> _Rule:
    def rule(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
        _image(a.input, axes)
        kernel = _axes(a.get("kernel_size", 1), axes)
        stride = a.get("stride", 2)
        _require("divisor_override", None, a.get("divisor_override", 6))
        _windows(
            c,
            node,
            a.input,
            "average-pool",
            kernel=kernel,
            stride=_axes(stride, axes) if stride else kernel,
            padding=_axes(a.get("padding", 3, 0), axes),
            **{"count-padding": bool(a.get("count_include_pad", 5, True))},
        )

    return rule


def _adaptive(kind: str, axes: int) -> _Rule:
    def rule(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
        _image(a.input, axes)
        _require("return_indices", False, a.get("return_indices", 2, False))
        before, after = _shape(a.input)[1:], _shape(node)[1:]
        if any(size % parts for size, parts in zip(before, after, strict=True)):
            raise _Unsupported(f"expected an output size that divides {list(before)}, found {list(after)}")
        kernel = [size // parts for size, parts in zip(before, after, strict=True)]
        c._layer(node, kind, a.input, kernel=kernel, stride=kernel)

    return rule


def _activation(kind: str) -> _Rule:
    def rule(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
        c._layer(node, kind, a.input)

    return rule


def _leaky_relu(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    c._layer(node, "leaky-relu", a.input, slope=float(a.get("negative_slope", 1, 0.01)))


def _gelu(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    c._layer(node, "gelu-tanh" if a.get("approximate", 1, "none") == "tanh" else "gelu", a.input)


def _softplus(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    _require("beta", 1, a.get("beta", 1, 1))
    _require("threshold", 20, a.get("threshold", 2, 20))
    c._layer(node, "softplus", a.input)


def _clip(low: str, high: str, default: tuple[float | None, float | None]) -> _Rule:
    def rule(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
        ends = [a.get(low, 1, default[0]), a.get(high, 2, default[1])]
        if any(isinstance(end, torch.fx.Node) for end in ends):
            raise _Unsupported("expected numbers as ends")
        c._layer(node, "clip", a.input, **{k: None if e is None else float(e) for k, e in zip(("low", "high"), ends, strict=True)})

    return rule


def _relu6(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    c._layer(node, "clip", a.input, low=0.0, high=6.0)


def _elu(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    c._layer(node, "elu", a.input, alpha=float(a.get("alpha", 1, 1.0)))


def _soft_shrink(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    c._layer(node, "soft-threshold", a.input, **{"lambda": float(a.get("lambd", 1, 0.5))})


def _selu(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    c._layer(node, "elu", a.input, alpha=1.6732632423543772848170429916717)
    c._layer(node, "scale", scale=1.0507009873554804934193349852946)


def _celu(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    """``alpha · elu(x / alpha)``."""
    alpha = float(a.get("alpha", 1, 1.0))
    c._layer(node, "scale", a.input, scale=1 / alpha)
    c._layer(node, "elu")
    c._layer(node, "scale", scale=alpha)


def _hard_sigmoid(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    c._layer(node, "scale", a.input, scale=1 / 6, shift=0.5)
    c._layer(node, "clip", low=0.0, high=1.0)


def _log_sigmoid(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    """``−softplus(−x)``."""
    c._layer(node, "scale", a.input, scale=-1.0)
    c._layer(node, "softplus")
    c._layer(node, "scale", scale=-1.0)


def _prelu(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    slopes = a.module.weight if a.module is not None else c.constant(a.args[1] if len(a.args) > 1 else a.kwargs["weight"])
    if slopes is None or slopes.numel() != 1:
        raise _Unsupported("expected one slope for all channels, found several; an exported ONNX file may have several")
    c._layer(node, "leaky-relu", a.input, slope=float(slopes.detach()))


def _nothing(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    c.same(node, a.input)


def _dropout(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    if a.module is None:
        training = a.get("training", 2, True)
        _require("training", False, training)
    c.same(node, a.input)


def _reshape(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    c.source(a.input)
    c.reshaped(node, a.input)


def _softmax(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    """Dropped at the output, as the ONNX reader does: it does not change the order of the classes."""
    if any(user.op != "output" for user in node.users) or len(_shape(node)) != 1:
        raise _Unsupported("expected it at the output, over all classes")
    dim = a.get("dim", 1)
    _require("dim", 1, dim + 2 if dim is not None and dim < 0 else dim)
    c.dropped_head = c._place(node)
    c.notes.append(f"{c._place(node)}: dropped, it does not change the order of the classes")
    c.same(node, a.input)


def _add(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    left, right = a.args[0], a.args[1] if len(a.args) > 1 else a.kwargs.get("other")
    _require("alpha", 1, a.kwargs.get("alpha", 1))
    for value, other in ((left, right), (right, left)):
        constant = c.constant(value)
        if constant is not None:
            return c.scaled(node, other, shift=constant)
    if _shape(left) != _shape(right):
        raise _Unsupported(f"expected values of one shape, found {_shape(left)} and {_shape(right)}")
    c._layer(node, "add", left, right)


def _subtract(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    left, right = a.args[0], a.args[1] if len(a.args) > 1 else a.kwargs.get("other")
    _require("alpha", 1, a.kwargs.get("alpha", 1))
    if (constant := c.constant(right)) is not None:
        return c.scaled(node, left, shift=-constant)
    if (constant := c.constant(left)) is not None:
        return c.scaled(node, right, scale=-1.0, shift=constant)
    raise _Unsupported("expected a constant on one side, found none")


def _multiply(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    left, right = a.args[0], a.args[1] if len(a.args) > 1 else a.kwargs.get("other")
    for value, other in ((left, right), (right, left)):
        constant = c.constant(value)
        if constant is not None:
            return c.scaled(node, other, scale=constant)
    raise _Unsupported("expected a constant on one side, found none")


def _divide(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    constant = c.constant(a.args[1] if len(a.args) > 1 else a.kwargs.get("other"))
    if constant is None:
        raise _Unsupported("expected division by a constant, found none")
    tensor = torch.as_tensor(constant, dtype=torch.float64)
    c.scaled(node, a.args[0], scale=1.0 / tensor)


def _negate(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    c.scaled(node, a.input, scale=-1.0)


def _concat(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    parts = a.args[0] if a.args else a.kwargs["tensors"]
    dim = a.get("dim", 1, 0)
    _require("dim", 1, dim + len(_meta(node)) if dim < 0 else dim)
    c._layer(node, "concat", *parts)


def _mean(c: _Converter, node: torch.fx.Node, a: _Arguments) -> None:
    """The mean over all of the image: global average pooling."""
    shape = _shape(a.input)
    dims = a.get("dim", 1)
    found = sorted(d % (len(shape) + 1) for d in ([dims] if isinstance(dims, int) else dims or []))
    _require("dim", list(range(2, len(shape) + 1)), found)
    pooled = c._layer(node, "average-pool", a.input)
    if len(_shape(node)) == 1:
        c.layers[node] = pooled
        c._layer(node, "flatten")


_MODULES: tuple[tuple[Any, _Rule], ...] = (
    (nn.Linear, _linear),
    (nn.Conv1d, _conv(1)),
    (nn.Conv2d, _conv(2)),
    ((nn.BatchNorm1d, nn.BatchNorm2d), _batch_norm),
    (nn.MaxPool1d, _max_pool(1)),
    (nn.MaxPool2d, _max_pool(2)),
    (nn.AvgPool1d, _average_pool(1)),
    (nn.AvgPool2d, _average_pool(2)),
    (nn.AdaptiveAvgPool1d, _adaptive("average-pool", 1)),
    (nn.AdaptiveAvgPool2d, _adaptive("average-pool", 2)),
    (nn.AdaptiveMaxPool1d, _adaptive("max-pool", 1)),
    (nn.AdaptiveMaxPool2d, _adaptive("max-pool", 2)),
    ((nn.Flatten, nn.Unflatten), _reshape),
    (nn.Identity, _nothing),
    ((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout), _dropout),
    (nn.ReLU6, _relu6),
    (nn.ReLU, _activation("relu")),
    (nn.LeakyReLU, _leaky_relu),
    (nn.Hardtanh, _clip("min_val", "max_val", (-1.0, 1.0))),
    (nn.Sigmoid, _activation("sigmoid")),
    (nn.Tanh, _activation("tanh")),
    (nn.Softplus, _softplus),
    (nn.GELU, _gelu),
    (nn.ELU, _elu),
    (nn.SELU, _selu),
    (nn.CELU, _celu),
    (nn.SiLU, _activation("silu")),
    (nn.Mish, _activation("mish")),
    (nn.Hardswish, _activation("hard-swish")),
    (nn.Hardsigmoid, _hard_sigmoid),
    (nn.Softsign, _activation("softsign")),
    (nn.Softshrink, _soft_shrink),
    (nn.LogSigmoid, _log_sigmoid),
    (nn.PReLU, _prelu),
    ((nn.LogSoftmax, nn.Softmax), _softmax),
)

_FUNCTIONS: dict[Any, _Rule] = {
    **dict.fromkeys((torch.relu, F.relu, "relu", "relu_", torch.relu_), _activation("relu")),
    **dict.fromkeys((torch.sigmoid, F.sigmoid, "sigmoid"), _activation("sigmoid")),
    **dict.fromkeys((torch.tanh, F.tanh, "tanh"), _activation("tanh")),
    F.leaky_relu: _leaky_relu,
    F.gelu: _gelu,
    F.elu: _elu,
    **dict.fromkeys((F.selu, torch.selu), _selu),
    **dict.fromkeys((F.celu, torch.celu), _celu),
    F.silu: _activation("silu"),
    F.mish: _activation("mish"),
    F.hardswish: _activation("hard-swish"),
    F.hardsigmoid: _hard_sigmoid,
    F.softsign: _activation("softsign"),
    F.softshrink: _soft_shrink,
    F.logsigmoid: _log_sigmoid,
    **dict.fromkeys((F.prelu, torch.prelu), _prelu),
    **dict.fromkeys((torch.abs, operator.abs, "abs"), _activation("abs")),
    **dict.fromkeys((torch.atan, torch.arctan, "atan"), _activation("atan")),
    F.softplus: _softplus,
    F.relu6: _relu6,
    F.hardtanh: _clip("min_val", "max_val", (-1.0, 1.0)),
    **dict.fromkeys((torch.clamp, torch.clip, "clamp", "clip"), _clip("min", "max", (None, None))),
    F.dropout: _dropout,
    F.dropout2d: _dropout,
    F.max_pool1d: _max_pool(1),
    torch.max_pool1d: _max_pool(1),
    F.max_pool2d: _max_pool(2),
    torch.max_pool2d: _max_pool(2),
    F.avg_pool1d: _average_pool(1),
    F.avg_pool2d: _average_pool(2),
    F.adaptive_avg_pool1d: _adaptive("average-pool", 1),
    F.adaptive_avg_pool2d: _adaptive("average-pool", 2),
    F.adaptive_max_pool1d: _adaptive("max-pool", 1),
    F.adaptive_max_pool2d: _adaptive("max-pool", 2),
    **dict.fromkeys((torch.flatten, torch.reshape, "flatten", "view", "reshape", "unflatten"), _reshape),
    **dict.fromkeys((torch.squeeze, "squeeze", torch.unsqueeze, "unsqueeze"), _reshape),
    **dict.fromkeys(("contiguous", "clone", "detach"), _nothing),
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), _add),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, "sub"), _subtract),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul"), _multiply),
    **dict.fromkeys((operator.truediv, torch.div, "div"), _divide),
    **dict.fromkeys((operator.neg, torch.neg, "neg"), _negate),
    **dict.fromkeys((torch.cat, torch.concat), _concat),
    **dict.fromkeys((torch.mean, "mean"), _mean),
    **dict.fromkeys((F.log_softmax, F.softmax, torch.log_softmax, torch.softmax, "log_softmax", "softmax"), _softmax),
}


#: What to do about modules and functions that have no rule. The reader of ONNX says the same of their operators.
_WAYS_ON: tuple[tuple[Any, tuple[Any, ...], str], ...] = (
    (
        (nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.InstanceNorm1d, nn.InstanceNorm2d),
        (F.layer_norm, F.group_norm, F.instance_norm, F.normalize),
        "it divides by a deviation of the sample itself, which is not bounded yet; BatchNorm is read and may take its place, after some "
        "more training",
    ),
    (
        (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.Transformer),
        (F.scaled_dot_product_attention, F.multi_head_attention_forward),
        "attention multiplies computed values, which is not bounded yet; the part before it can be certified as a module of its own",
    ),
    (
        (),
        (torch.matmul, torch.bmm, torch.einsum, operator.matmul, "matmul", "bmm"),
        "products of computed values are not bounded yet; where one side is a constant, nn.Linear without bias is the same and is read",
    ),
    (
        (nn.RNNBase, nn.RNNCellBase),
        (),
        "recurrence is not read; unroll a fixed number of steps into modules that are, or certify the part before it",
    ),
    (
        (nn.Embedding, nn.EmbeddingBag),
        (F.embedding, F.embedding_bag),
        "it looks its weights up by whole numbers, which are no input that a bound can move; certify the part after it, on embedded samples",
    ),
    (
        (nn.Upsample, nn.PixelShuffle, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Conv3d),
        (F.interpolate, F.pixel_shuffle),
        "it is not read yet; the part before it can be certified as a module of its own",
    ),
    (
        (nn.PReLU, nn.SiLU, nn.Mish, nn.ELU, nn.SELU, nn.CELU, nn.Hardswish, nn.Hardsigmoid, nn.Softsign, nn.Softshrink, nn.GLU),
        (F.silu, F.mish, F.elu, F.selu, F.celu, F.hardswish, F.hardsigmoid, F.prelu, torch.exp, torch.sqrt, torch.pow, operator.pow),
        "other functions than the listed activations are not bounded yet; ReLU, LeakyReLU or GELU in its place, after some more training, are",
    ),
)


def _way_on(what: Any) -> str:
    """What to do about a module, or about the function of a node."""
    for modules, functions, way in _WAYS_ON:
        if isinstance(what, modules) if isinstance(what, nn.Module) else what in functions:
            return way
    return "the part before it can be certified as a module of its own"


def _toml(value: Any) -> str:
    """A value of a TOML file."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(v) for v in value)}]"
    return repr(value)


def _safetensors(tensors: dict[str, torch.Tensor]) -> bytes:
    """A safetensors file; what is not f64 becomes f32."""

    def numbers(tensor: torch.Tensor) -> Any:
        return tensor.to(torch.float64 if tensor.dtype == torch.float64 else torch.float32).contiguous().numpy()

    return _arrays.safetensors({name: numbers(tensor) for name, tensor in tensors.items()})
