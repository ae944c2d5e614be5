"""What all losses share: a module, its steps, and radii."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..threat import Threat
from ._graph import Step, steps_of, values_of
from ._radii import LayerRadii, Radii


class BoundLoss(nn.Module):  # type: ignore[misc]
    """A loss built on lower bounds of margins.

    Args:
        module: The module. It is held, not copied; batch normalization has its running statistics, as it is deployed.
        example: An input, (batch, …), or the shape of one sample: ``(1, 28, 28)``.
        threat: The threat model: absolute or relative radii of weights and biases, of all layers or of those named, and a radius of
            inputs.
        input_range: Where inputs stay when they move.
    """

    factor: Tensor

    def __init__(
        self,
        module: nn.Module,
        example: Tensor | Sequence[int],
        threat: Threat,
        *,
        input_range: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.module = module
        self.steps = steps_of(module, example)
        self.radii = Radii(threat, [step.name for step in self.steps if step.affine is not None])
        self.input_range = input_range
        parameter = next(module.parameters())
        #: Multiplies all radii; see `ramp`.
        self.register_buffer("factor", torch.ones((), dtype=parameter.dtype, device=parameter.device), persistent=False)

    def values(self, x: Tensor) -> list[Tensor]:
        """Values of all steps without perturbation."""
        return values_of(self.steps, x)

    def at(self, step: Step) -> LayerRadii:
        """The radii of a step with parameters."""
        assert step.affine is not None
        return self.radii.of(step.affine, self.factor)

    def margins(self, x: Tensor, y: Tensor) -> Tensor:
        """Lower bounds of ``f_y − f_j`` for every perturbation, (batch, classes), zero where ``j = y``."""
        raise NotImplementedError


def differences(values: Tensor, y: Tensor) -> Tensor:
    """``v_y − v_j``: (batch, classes) to (batch, classes)."""
    return values.gather(1, y[:, None]) - values


def rivals(y: Tensor, like: Tensor) -> Tensor:
    """1 for rivals, 0 for the label: (batch, classes)."""
    return 1 - nn.functional.one_hot(y, like.shape[1]).to(like.dtype)


def sums(values: Tensor, y: Tensor, like: Tensor) -> Tensor:
    """``v_y + v_j`` for every rival, zero at the label; a number or a column holds for all classes."""
    if values.ndim < 2 or values.shape[1] == 1:
        if values.ndim == 1:
            values = values[None, :].expand_as(like)
        else:
            return 2 * values * rivals(y, like)
    values = values.expand_as(like)
    return (values.gather(1, y[:, None]) + values) * rivals(y, like)


def pairs(rows: Tensor, sign: float) -> Tensor:
    """``R_y + sign · R_j`` for every two rows: (classes, …) to (classes, classes, …)."""
    return rows[:, None] + sign * rows[None, :]
