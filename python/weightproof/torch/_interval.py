"""Interval bounds, theory.md §4.2.

    z ∈ c ± r, z ≥ 0:   p_lo = W c + b − E c − e − |W − E| r      p_hi = W c + b + E c + e + |W + E| r
    z ∈ c ± r:          p    = W c + b ± (E (|c| + r) + |W| r + e)                          (looser than the core's)
    z fixed:            p    = W z + b ± (E |z| + e)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._graph import Step
from ._loss import BoundLoss, differences, rivals, sums
from ._radii import LayerRadii

#: Values of a step, (batch, …): lower and upper ends, which are one tensor where it is fixed.
Range = tuple[Tensor, Tensor]


class IntervalLoss(BoundLoss):
    """Cross-entropy of the worst case by intervals: ``log Σ_j exp(−m_j)`` with the bounds ``m_j`` of the margins, ``m_y = 0``."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over the batch."""
        return F.cross_entropy(-self.margins(x, y), y)

    def margins(self, x: Tensor, y: Tensor) -> Tensor:
        """Lower bounds of ``f_y − f_j``, (batch, classes), zero where ``j = y``.

        # Guarantee
        Sound in real arithmetic. Equal to those of ``certify(method="interval")`` where inputs do not move and activations are not negative.
        """
        ranges, nonnegative = propagate(self, x)
        return interval_margins(self, ranges, nonnegative, y)


def propagate(loss: BoundLoss, x: Tensor) -> tuple[list[Range], list[bool]]:
    """Ranges of all steps before the output, and which of them are never negative."""
    ranges: list[Range] = []
    nonnegative: list[bool] = []
    for step in loss.steps[:-1]:
        of = [ranges[k] for k in step.sources]
        signless = all(nonnegative[k] for k in step.sources)
        if step.kind == "input":
            ranges.append(_input(loss, x))
            low = None if loss.input_range is None else loss.input_range[0]
            nonnegative.append(loss.radii.input_radius > 0 and low is not None and low >= 0)
            continue
        if step.affine is not None:
            ranges.append(_affine(loss.at(step), of[0], signless))
        elif step.kind == "scale":
            ranges.append(_scale(step, of[0]))
        else:
            ranges.append(_monotone(step, of))
        nonnegative.append(signless if step.nonnegative is None else step.nonnegative)
    return ranges, nonnegative


def is_fixed(z: Range) -> bool:
    """Whether a step does not move."""
    return z[0] is z[1]


def _input(loss: BoundLoss, x: Tensor) -> Range:
    if loss.radii.input_radius == 0:
        return x, x
    moved = loss.factor * loss.radii.input_radius
    if loss.input_range is None:
        return x - moved, x + moved
    return (x - moved).clamp(*loss.input_range), (x + moved).clamp(*loss.input_range)


def _affine(radii: LayerRadii, z: Range, signless: bool) -> Range:
    affine = radii.affine
    if is_fixed(z):
        middle = affine.product(z[0], radii.weight, radii.bias)
        push = radii.push(z[0])
        return middle - push, middle + push
    c, r = midpoint_radius(z)
    middle, push = affine.product(c, radii.weight, radii.bias), radii.push(c)
    extents = radii.extents()
    if signless:
        down = affine.product(r, (radii.weight - extents).abs())
        up = affine.product(r, (radii.weight + extents).abs())
        return middle - push - down, middle + push + up
    spread = affine.product(r, radii.weight.abs() + extents) + push
    return middle - spread, middle + spread


def midpoint_radius(z: Range) -> Range:
    """Midpoint and radius of a box."""
    r = (z[1] - z[0]) / 2
    return z[0] + r, r


def _scale(step: Step, z: Range) -> Range:
    assert step.apply is not None
    a = step.apply(z[0])
    if is_fixed(z):
        return a, a
    b = step.apply(z[1])
    return torch.minimum(a, b), torch.maximum(a, b)


def _monotone(step: Step, of: list[Range]) -> Range:
    assert step.apply is not None
    lower = step.apply(*(z[0] for z in of))
    if all(is_fixed(z) for z in of):
        return lower, lower
    return lower, step.apply(*(z[1] for z in of))


def interval_margins(loss: BoundLoss, ranges: list[Range], nonnegative: list[bool], y: Tensor) -> Tensor:
    """The margins: the rows of the output layer are merged, ``(W_y − W_j) z`` is bounded over the box of ``z`` as one row."""
    last = loss.steps[-1]
    before, radii = last.sources[0], loss.at(last)
    z = ranges[before]
    c, r = (z[0], None) if is_fixed(z) else midpoint_radius(z)
    middle = F.linear(c, radii.weight, radii.bias)
    unspread = differences(middle, y) - sums(radii.push(c), y, middle)
    if r is None:
        return unspread
    weight, extents = radii.weight, radii.extents()
    classes = weight.shape[0]
    if classes <= len(y):
        # Rows of all pairs of classes, of which each sample takes those of its label.
        rows = _reach(weight[:, None] - weight[None], extents[:, None] + extents[None], nonnegative[before])
        all_pairs = F.linear(r, rows.flatten(0, 1)).view(-1, classes, classes)
        spread = all_pairs.gather(1, y[:, None, None].expand(-1, 1, classes)).squeeze(1)
    else:
        rows = _reach(weight[y][:, None] - weight[None], extents[y][:, None] + extents[None], nonnegative[before])
        spread = torch.einsum("bn,bcn->bc", r, rows)
    return unspread - spread * rivals(y, middle)


def _reach(rows: Tensor, extents: Tensor, signless: bool) -> Tensor:
    """How far a row pushes the lower end below its midpoint, for each unit of the radius of its input."""
    return (rows - extents).abs() if signless else rows.abs() + extents
