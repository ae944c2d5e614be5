"""Radii that grow while a network is trained."""

from __future__ import annotations

from ._loss import BoundLoss


def ramp(loss: BoundLoss, progress: float) -> None:
    """Sets all radii of a loss to the part ``progress`` of those of its threat model, 0 to 1: proofs are learned from small radii to large ones."""
    loss.factor.fill_(min(max(float(progress), 0.0), 1.0))
