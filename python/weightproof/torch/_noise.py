"""Bounds against random weights, theory.md §14: linear bounds over intervals that hold at one quantile ``q``.

    variance of an element     v = σ² (Σ_j ζ_j² + 1)             σ: a fraction of the largest weight of its layer
    box                        p = W c + b ± (|W| r + q √v)
    row                        m − q √V,  V = Σ_k v_k ‖Aᵏ‖₂²     A, m as in the linear bounds, noise left out

The output layer has two rows in every margin, so its ``v`` counts twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import _check
from .._weightproof import NetworkError, SettingError
from ..threat import Threat
from ._interval import midpoint_radius
from ._linear import relax
from ._loss import BoundLoss, pairs, rivals

#: Keeps roots from zero.
_TINY = 1e-12


@dataclass
class _Hidden:
    """A layer in front of the output: its parameters, ends of its box, and the variance of each of its elements, (batch, 1)."""

    weight: Tensor
    bias: Tensor | None
    ends: tuple[Tensor, Tensor]
    variance: Tensor

    def reached(self) -> tuple[Tensor, Tensor]:
        """The box behind its relu."""
        return F.relu(self.ends[0]), F.relu(self.ends[1])


class NoiseLoss(BoundLoss):
    """Cross-entropy or hinge of the margins that Gaussian noise of every weight and bias leaves but for a probability.

    For chains of dense layers with ReLU between them.

    Args:
        module: The module. It is held, not copied.
        example: An input, (batch, …), or the shape of one sample.
        sigma: Deviation, a fraction of the largest weight of each layer: the noise ``gaussian-of-max`` of `certify`.
        failure_probability: Probability with which a certified sample may fail. It gives the number of deviations that boxes and rows hold for,
            √(−2 ln p).
        quantile: That number itself.
        of: ``cross-entropy``: ``log Σ_j exp(−m_j)``, or ``hinge``: ``max_j [1 − m_j]₊``.
    """

    def __init__(
        self,
        module: nn.Module,
        example: Tensor | Sequence[int],
        sigma: float,
        failure_probability: float = 1e-9,
        *,
        quantile: float | None = None,
        of: Literal["cross-entropy", "hinge"] = "cross-entropy",
    ) -> None:
        super().__init__(module, example, Threat.absolute(0.0))
        self.sigma = _check.number("sigma", sigma, "not negative")
        probability = _check.number("failure_probability", failure_probability, "positive")
        if probability >= 1:
            raise SettingError(f"failure_probability: expected a number below 1, found {probability:g}")
        if of not in ("cross-entropy", "hinge"):
            raise SettingError(f"of: expected cross-entropy or hinge, found {of!r}")
        self.quantile = math.sqrt(-2 * math.log(probability))
        if quantile is not None:
            self.quantile = _check.number("quantile", quantile, "not negative")
        self.of = of
        before = None
        for k, step in enumerate(self.steps):
            is_dense = step.affine is not None and step.affine.is_dense
            fits = step.kind in ("input", "reshape") or is_dense and before != "affine" or step.kind == "relu" and before == "affine"
            if not fits or step.sources not in ((), (k - 1,)):
                raise NetworkError(f"{step.name}: expected a chain of dense layers with relu between them, found {step.kind}")
            before = before if step.kind == "reshape" else step.kind

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over the batch."""
        margins = self.margins(x, y)
        if self.of == "cross-entropy":
            return F.cross_entropy(-margins, y)
        label = rivals(y, margins) == 0
        return F.relu(1 - margins.masked_fill(label, math.inf).amin(1)).mean()

    def margins(self, x: Tensor, y: Tensor) -> Tensor:
        """Lower bounds of ``f_y − f_j``, (batch, classes), zero where ``j = y``.

        # Guarantee
        Each holds at the quantile, given boxes that do: what is proved of a trained network, `certify` with ``noise`` says.
        """
        values = self.values(x)
        layers: list[_Hidden] = []
        first: Tensor | None = None
        for k, step in enumerate(self.steps[:-1]):
            if step.affine is None:
                continue
            weight, bias = step.affine.weight(), step.affine.bias()
            if first is None:
                variance = self._variance(weight, bias, values[step.sources[0]])
                first = values[k]
                middle, radius = first, torch.zeros_like(first)
            else:
                box = layers[-1].reached()
                variance = self._variance(weight, bias, box[1])
                c, r = midpoint_radius(box)
                middle, radius = F.linear(c, weight, bias), F.linear(r, weight.abs())
            radius = radius + self.quantile * _root(variance)
            layers.append(_Hidden(weight, bias, (middle - radius, middle + radius), variance))
        return self._backward(values[self.steps[-1].sources[0]], first, layers, y)

    def _variance(self, weight: Tensor, bias: Tensor | None, z: Tensor) -> Tensor:
        """``σ² (Σ ζ² + 1)``, (batch, 1); without the 1 where there are no biases."""
        sigma = self.factor * self.sigma * weight.abs().amax()
        return sigma.square() * (z.square().sum(1, keepdim=True) + (0.0 if bias is None else 1.0))

    def _backward(self, before: Tensor, first: Tensor | None, layers: list[_Hidden], y: Tensor) -> Tensor:
        affine = self.steps[-1].affine
        assert affine is not None
        weight, bias = affine.weight(), affine.bias()
        a = pairs(weight, -1.0)[y]
        offset = pairs(torch.zeros_like(weight[:, 0]) if bias is None else bias, -1.0)[y]
        total = 2 * self._variance(weight, bias, layers[-1].reached()[1] if layers else before)
        for k in reversed(range(len(layers))):
            layer = layers[k]
            a, charge = relax(a, layer.ends)
            offset = offset + charge
            total = total + a.square().sum(2) * layer.variance
            if k == 0 and first is not None:
                before = first
            else:
                if layer.bias is not None:
                    offset = offset + a @ layer.bias
                a = a @ layer.weight
        offset = offset + (a * before[:, None]).sum(2)
        return (offset - self.quantile * _root(total)) * rivals(y, offset)


def _root(variance: Tensor) -> Tensor:
    return (variance + _TINY).sqrt()

