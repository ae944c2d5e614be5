"""Optimizers that take their gradient elsewhere than at the weights: adversarial weight perturbation and sharpness-aware minimization.

    AWP:  w' = w + γ ‖w‖ g / ‖g‖ for each parameter with more than one dimension     step of the optimizer from w with the gradient at w'
    SAM:  w' = w + ρ g / ‖g‖ with the norm over all parameters                       the same
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import _check

#: Keeps norms from zero.
_TINY = 1e-12


class _Elsewhere:
    """An optimizer whose gradient is that at other weights."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        #: The optimizer; its state, groups and schedules are its own.
        self.optimizer = optimizer

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """One step.

        Args:
            closure: Sets all gradients to zero, computes the loss and its gradients, and returns the loss. It is called twice.

        Returns:
            The loss at the weights as they are.
        """
        with torch.enable_grad():
            loss = closure()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        with torch.no_grad():
            kept = [p.clone() for p in parameters]
            self._move(parameters)
        try:
            with torch.enable_grad():
                closure()
        finally:
            with torch.no_grad():
                for parameter, value in zip(parameters, kept, strict=True):
                    parameter.copy_(value)
        self.optimizer.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As that of the optimizer."""
        self.optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """That of the optimizer."""
        state: dict[str, Any] = self.optimizer.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """That of the optimizer."""
        self.optimizer.load_state_dict(state)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the optimizer."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        return groups

    def _move(self, parameters: list[Tensor]) -> None:
        raise NotImplementedError


class AdversarialWeights(_Elsewhere):
    """Adversarial weight perturbation (Wu et al., NeurIPS 2020): every weight matrix and kernel moves by ``gamma`` of its own norm against the
    loss before the gradient is taken; biases stay.

    Args:
        optimizer: The optimizer of the parameters.
        gamma: Length of the move, a fraction of the norm of each parameter.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, gamma: float = 0.005) -> None:
        super().__init__(optimizer)
        self.gamma = _check.number("gamma", gamma, "positive")

    def _move(self, parameters: list[Tensor]) -> None:
        for parameter in parameters:
            gradient = parameter.grad
            if parameter.ndim > 1 and gradient is not None:
                parameter.add_(gradient * (self.gamma * parameter.norm() / (gradient.norm() + _TINY)))


class SharpnessAware(_Elsewhere):
    """Sharpness-aware minimization (Foret et al., ICLR 2021).

    Args:
        optimizer: The optimizer of the parameters.
        rho: Length of the move, over all parameters together.
        adaptive: Whether every parameter moves in proportion to its own square (ASAM, Kwon et al., ICML 2021).
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rho: float = 0.05, *, adaptive: bool = False) -> None:
        super().__init__(optimizer)
        self.rho = _check.number("rho", rho, "positive")
        self.adaptive = bool(adaptive)

    def _move(self, parameters: list[Tensor]) -> None:
        pairs = [(p, p.grad) for p in parameters if p.grad is not None]
        lengths = [((p.abs() * g) if self.adaptive else g).norm() for p, g in pairs]
        length = torch.stack(lengths).norm() + _TINY
        for parameter, gradient in pairs:
            move = parameter.square() * gradient if self.adaptive else gradient
            parameter.add_(move * (self.rho / length))
