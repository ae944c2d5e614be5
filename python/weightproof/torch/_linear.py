"""Linear bounds with interval intermediates, theory.md §4.3 (the recipe of CROWN-IBP).

    affine, p = W z, z ≥ 0:   offset += A b − |A| e            A ← A W − |A| E
    relu, z = ρ(p):           offset += A⁻ b₀                  A ← A⁺ α + A⁻ β       α = [u > −l], β = u/(u−l), b₀ = −β l
    z fixed:                  offset += min of A p over the box of p = W z + b
    z¹ = ρ(p¹), x fixed:      offset += min of A z¹ over the box of z¹                where p¹ is dense: every point is reached
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._weightproof import NetworkError
from ..threat import Threat
from ._graph import Step
from ._interval import Range, is_fixed, propagate
from ._loss import BoundLoss, pairs

#: Keeps ``u − l`` from zero.
_TINY = 1e-12


class LinearLoss(BoundLoss):
    """Cross-entropy of the worst case by linear bounds over intervals: ``log Σ_j exp(−m_j)``, ``m_y = 0``.

    For dense layers and convolutions with ReLU between them, and sums.
    """

    def __init__(
        self,
        module: nn.Module,
        example: Tensor | Sequence[int],
        threat: Threat,
        *,
        input_range: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        super().__init__(module, example, threat, input_range=input_range)
        signless: list[bool] = []
        for step in self.steps:
            before = all(signless[k] for k in step.sources)
            signless.append((step.kind == "relu" or before) and step.affine is None)
            if step.kind not in ("input", "affine", "relu", "add", "reshape") or step.affine is not None and not before:
                expected = "dense layers or convolutions with relu between them, and sums"
                raise NetworkError(f"{step.name}: expected {expected}, found {step.kind}")

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over the batch."""
        return F.cross_entropy(-self.margins(x, y), y)

    def margins(self, x: Tensor, y: Tensor) -> Tensor:
        """Lower bounds of ``f_y − f_j``, (batch, classes), zero where ``j = y``.

        # Guarantee
        Sound in real arithmetic. The larger of these and the interval's are those of ``certify(method="linear-interval")`` for two classes; the
        core takes the larger for each rival.
        """
        ranges, _ = propagate(self, x)
        last = self.steps[-1]
        rows, offset = self._output(last, y)
        coefficients: list[Tensor | None] = [None] * (len(self.steps) - 1)
        coefficients[last.sources[0]] = rows
        for index in reversed(range(len(self.steps) - 1)):
            a = coefficients[index]
            if a is None:
                continue
            step = self.steps[index]
            ends = is_fixed(ranges[index]) or step.kind == "input" or step.affine is not None and is_fixed(ranges[step.sources[0]])
            if ends or self._is_independent(ranges, index):
                # An input, and what depends on inputs that do not move, is a box of its own.
                offset = offset + _least(a, *ranges[index])
            elif step.affine is not None:
                a, charge = self._affine(step, a)
                offset = offset + charge
                _add(coefficients, step.sources[0], a)
            elif step.kind == "relu":
                a, charge = relax(a, ranges[step.sources[0]])
                offset = offset + charge
                _add(coefficients, step.sources[0], a)
            else:
                for source in step.sources:
                    _add(coefficients, source, a.reshape(*a.shape[:2], *self.steps[source].shape))
        return offset

    def _is_independent(self, ranges: Sequence[Range], index: int) -> bool:
        """Whether every point of the box of a step is reached: of a dense layer whose input does not move, and of what follows element by
        element where nothing else reads it."""
        step = self.steps[index]
        if step.affine is not None:
            return step.affine.is_dense and is_fixed(ranges[step.sources[0]])
        if step.kind not in ("relu", "reshape"):
            return False
        source = step.sources[0]
        return sum(source in other.sources for other in self.steps) == 1 and self._is_independent(ranges, source)

    def _output(self, last: Step, y: Tensor) -> tuple[Tensor, Tensor]:
        """``W_y − W_j − E_y − E_j``, (batch, classes, n), and ``b_y − b_j − e_y − e_j``, (batch, classes); zeros for ``j = y``."""
        radii = self.at(last)
        classes = radii.weight.shape[0]
        rival = 1 - torch.eye(classes, dtype=radii.weight.dtype, device=radii.weight.device)
        rows = (pairs(radii.weight, -1.0) - pairs(radii.extents(), 1.0)) * rival[:, :, None]
        biases = -pairs(radii.biases().expand(classes), 1.0)
        if radii.bias is not None:
            biases = biases + pairs(radii.bias, -1.0)
        return rows[y], (biases * rival)[y]

    def _affine(self, step: Step, a: Tensor) -> tuple[Tensor, Tensor]:
        radii = self.at(step)
        affine, shape = radii.affine, self.steps[step.sources[0]].shape
        magnitude = a.abs()
        charge = -_total(magnitude * radii.biases())
        if radii.bias is not None:
            charge = charge + _total(a * affine.spread(radii.bias))
        flat = a.flatten(0, 1)
        if affine.is_dense and not radii.relative:
            push = radii.radius * magnitude.flatten(0, 1).sum(1, keepdim=True)
        else:
            push = affine.transposed(magnitude.flatten(0, 1), radii.extents(), shape)
        carried = affine.transposed(flat, radii.weight, shape) - push
        return carried.view(*a.shape[:2], *shape), charge


def _add(coefficients: list[Tensor | None], index: int, a: Tensor) -> None:
    there = coefficients[index]
    coefficients[index] = a if there is None else there + a


def _total(a: Tensor) -> Tensor:
    """The sum over all values of a step: (batch, classes, …) to (batch, classes)."""
    return a.flatten(2).sum(2)


def _least(a: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The least ``a · v`` over the box from `lower` to `upper`."""
    return _total(F.relu(a) * lower[:, None] - F.relu(-a) * upper[:, None])


def relax(a: Tensor, of: Range) -> tuple[Tensor, Tensor]:
    """Coefficients of what a relu reads, from those of its values, (batch, classes, …), and what its lines add."""
    lower, upper = of
    low, high = lower.clamp(max=0.0), F.relu(upper)
    slope = high / (high - low + _TINY)
    adaptive = (lower + upper > 0).to(a.dtype)
    positive, negative = F.relu(a), -F.relu(-a)
    charge = _total(negative * (-slope * low)[:, None])
    return positive * adaptive[:, None] + negative * slope[:, None], charge
