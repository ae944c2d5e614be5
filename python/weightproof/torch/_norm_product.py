"""The paper's margin bound by products of norms, theory.md §4.1, and its norm term, §8.

    δ_0 = ε_x,   δ_k = ‖Wᵏ‖_∞ δ_{k−1} + max over rows of (Eᵏ z*ᵏ⁻¹ + eᵏ)        z*: upper ends of the interval bounds
    m_j ≥ f_y − f_j − ‖W_y − W_j‖₁ δ_{L−1} − (E_y + E_j) z*^{L−1} − e_y − e_j
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._weightproof import NetworkError, SettingError
from ..threat import Threat
from ._graph import steps_of
from ._interval import propagate
from ._loss import BoundLoss, differences, pairs, rivals, sums

#: Activations that are not negative, monotone, and nowhere steeper than one.
_ACTIVATIONS = (nn.Sigmoid, nn.Softplus, nn.ReLU6, nn.Hardsigmoid)


class RobustLoss(BoundLoss):
    """The paper's robust term: hinge or softplus of the worst margin by products of norms.

    For a chain of dense layers with activations between them that are monotone, not negative and nowhere steeper than one.
    """

    def __init__(
        self,
        module: nn.Module,
        example: Tensor | Sequence[int],
        threat: Threat,
        *,
        of: Literal["hinge", "softplus"] = "hinge",
        input_range: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        super().__init__(module, example, threat, input_range=input_range)
        if of not in ("hinge", "softplus"):
            raise SettingError(f"of: expected hinge or softplus, found {of!r}")
        self.of = of
        for index, step in enumerate(self.steps[1:], 1):
            dense = step.affine is not None and step.affine.is_dense
            activation = step.kind == "relu" or isinstance(step.apply, _ACTIVATIONS)
            follows = dense and self.steps[index - 1].affine is not None
            if not (dense or activation or step.kind == "reshape") or follows or step.sources != (index - 1,):
                expected = "a chain of dense layers with non-negative monotone activations between them"
                raise NetworkError(f"{step.name}: expected {expected}, found {step.kind}")

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over the batch."""
        margins = self.margins(x, y)
        label = rivals(y, margins) == 0
        worst = (-margins).masked_fill(label, -torch.inf).amax(1)
        return (F.relu(worst) if self.of == "hinge" else F.softplus(worst)).mean()

    def margins(self, x: Tensor, y: Tensor) -> Tensor:
        """Lower bounds of ``f_y − f_j``, (batch, classes), zero where ``j = y``.

        # Guarantee
        Sound in real arithmetic, and at most those of ``certify(method="norm-product")``, which knows two more forms and takes the best.
        """
        ranges, _ = propagate(self, x)
        logits = self.values(x)[-1]
        moved = (self.factor * self.radii.input_radius).expand(len(x), 1)
        for step in self.steps[:-1]:
            if step.affine is not None:
                radii = self.at(step)
                push = radii.push(ranges[step.sources[0]][1])
                moved = moved * norm_inf(radii.weight) + push.expand(len(x), -1).amax(1, keepdim=True)
        last = self.steps[-1]
        radii = self.at(last)
        push = radii.push(ranges[last.sources[0]][1])
        norms_of_pairs = pairs(radii.weight, -1.0).abs().sum(2)[y]
        return differences(logits, y) - norms_of_pairs * moved - sums(push, y, logits)


def norm_inf(weight: Tensor) -> Tensor:
    """``‖W‖_∞``, the largest ℓ1 norm of a row."""
    return weight.flatten(1).abs().sum(1).amax()


def norm_one(weight: Tensor) -> Tensor:
    """``‖W‖_1``, the largest ℓ1 norm of a column."""
    return weight.flatten(1).abs().sum(0).amax()


def norms(module: nn.Module, example: Tensor | Sequence[int]) -> Tensor:
    """The paper's norm term ``Σ_k ‖Wᵏ‖_∞ + ‖Wᵏ‖_1``; of a convolution the norms of its matrix of parameters."""
    weights = [step.affine.weight() for step in steps_of(module, example) if step.affine is not None]
    return torch.stack([norm_inf(weight) + norm_one(weight) for weight in weights]).sum()
