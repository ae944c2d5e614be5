"""The radii of the parameters of a layer, ``E`` of its weights and ``e`` of its biases."""

from __future__ import annotations

import torch
from torch import Tensor

from ..threat import Threat
from .._weightproof import ThreatError
from ._graph import Affine


class Radii:
    """What a threat model says about layers; radii are multiplied by `factor`, which a schedule may move."""

    def __init__(self, threat: Threat, names: list[str]) -> None:
        if threat.kind not in ("absolute", "relative"):
            raise ThreatError(f"threat: expected the kind absolute or relative, found {threat.kind}")
        if threat.activation_radius or threat.layer:
            raise ThreatError("threat: expected radii that are the same for all layers, and none of activations, found others")
        for name in threat.layers or ():
            if name not in names:
                raise ThreatError(f"layers: expected one of {', '.join(names)}, found {name}")
        self.relative = threat.kind == "relative"
        self.radius = 0.0 if threat.radius is None else threat.radius
        self.bias_radius = self.radius if threat.bias_radius is None else threat.bias_radius
        self.layers = threat.layers
        self.input_radius = threat.input_radius

    def of(self, affine: Affine, factor: Tensor) -> LayerRadii:
        """The radii of one layer at its present parameters."""
        moves = self.layers is None or affine.name in self.layers
        weight, bias = (factor * self.radius, factor * self.bias_radius) if moves else (0.0 * factor, 0.0 * factor)
        return LayerRadii(affine, self.relative, weight, bias)


class LayerRadii:
    """One layer with its radii."""

    def __init__(self, affine: Affine, relative: bool, radius: Tensor, bias_radius: Tensor) -> None:
        self.affine, self.relative, self.radius, self.bias_radius = affine, relative, radius, bias_radius
        self.weight, self.bias = affine.weight(), affine.bias()

    def extents(self) -> Tensor:
        """``E`` in the shape of the weights."""
        return self.weight.abs() * self.radius if self.relative else self.radius.expand_as(self.weight)

    def push(self, z: Tensor) -> Tensor:
        """``E |z| + e``, (batch, in…) to (batch, out…) or one number for all outputs of a dense layer."""
        moved = z.abs()
        if self.relative or not self.affine.is_dense:
            pushed = self._one_channel(moved) if self._is_alike() else self.affine.product(moved, self.extents())
        else:
            pushed = self.radius * moved.sum(1, keepdim=True)
        return pushed + self.biases()

    def _is_alike(self) -> bool:
        """Whether every output channel of a convolution is pushed alike."""
        return not self.relative and self.affine.module.groups == 1

    def _one_channel(self, z: Tensor) -> Tensor:
        """The push of a convolution whose channels are pushed alike: (batch, 1, …)."""
        return self.affine.product(z, self.radius.expand_as(self.weight[:1]))

    def biases(self) -> Tensor:
        """``e``, which broadcasts over the outputs; zero without biases."""
        if self.bias is None:
            return torch.zeros_like(self.radius)
        return self.affine.spread(self.bias.abs() * self.bias_radius) if self.relative else self.bias_radius
