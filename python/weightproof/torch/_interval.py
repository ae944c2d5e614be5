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

#: Values of a step: fixed, (batch, …); or the lower ends with the upper ends behind them, (2 · batch, …).
Range = tuple[bool, Tensor]


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


def ends(range_: Range) -> tuple[Tensor, Tensor]:
    """Lower and upper ends."""
    fixed, z = range_
    if fixed:
        return z, z
    lower, upper = z.chunk(2)
    return lower, upper


def _input(loss: BoundLoss, x: Tensor) -> Range:
    if loss.radii.input_radius == 0:
        return True, x
    moved = loss.factor * loss.radii.input_radius
    z = torch.cat([x - moved, x + moved])
    return False, z if loss.input_range is None else z.clamp(*loss.input_range)


def _affine(radii: LayerRadii, z: Range, signless: bool) -> Range:
    affine = radii.affine
    if z[0]:
        middle = affine.product(z[1], radii.weight, radii.bias)
        push = radii.push(z[1])
        return False, torch.cat([middle - push, middle + push])
    lower, upper = z[1].chunk(2)
    c, r = (lower + upper) / 2, (upper - lower) / 2
    middle, push = affine.product(c, radii.weight, radii.bias), radii.push(c)
    extents = radii.extents()
    if signless:
        below, above = (radii.weight - extents).abs(), (radii.weight + extents).abs()
        if affine.is_dense:
            # One product for both.
            down, up = F.linear(r, torch.cat([below, above])).chunk(2, 1)
        else:
            down, up = affine.product(r, below), affine.product(r, above)
        return False, torch.cat([middle - push - down, middle + push + up])
    spread = affine.product(r, radii.weight.abs() + extents) + push
    return False, torch.cat([middle - spread, middle + spread])


def _scale(step: Step, z: Range) -> Range:
    assert step.apply is not None
    if z[0]:
        return True, step.apply(z[1])
    a, b = step.apply(z[1]).chunk(2)
    return False, torch.cat([torch.minimum(a, b), torch.maximum(a, b)])


def _monotone(step: Step, of: list[Range]) -> Range:
    assert step.apply is not None
    if all(fixed for fixed, _ in of):
        return True, step.apply(*(z for _, z in of))
    return False, step.apply(*(torch.cat([z, z]) if fixed else z for fixed, z in of))


def interval_margins(loss: BoundLoss, ranges: list[Range], nonnegative: list[bool], y: Tensor) -> Tensor:
    """The margins: the rows of the output layer are merged, ``(W_y − W_j) z`` is bounded over the box of ``z`` as one row."""
    last = loss.steps[-1]
    before, radii = last.sources[0], loss.at(last)
    fixed, z = ranges[before]
    lower, upper = (z, z) if fixed else z.chunk(2)
    c = z if fixed else (lower + upper) / 2
    middle = F.linear(c, radii.weight, radii.bias)
    unspread = differences(middle, y) - sums(radii.push(c), y, middle)
    if fixed:
        return unspread
    r = (upper - lower) / 2
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
