"""Threat models: in which set the weights may move."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import _check
from ._weightproof import ThreatError, parse_threat, read_threat, write_threat
from ._words import FloatFormat, Rounding

__all__ = ["LayerRadii", "Threat"]


@dataclass(frozen=True)
class LayerRadii:
    """Radii of one layer that differ from those of the threat model.

    Attributes:
        radius: Radius of the weights: one number, or one for each output channel (row of the weight matrix).
        bias_radius: Radius of the biases.
    """

    radius: float | tuple[float, ...] | None = None
    bias_radius: float | None = None

    def __post_init__(self) -> None:
        if self.radius is not None:
            radii = _check.numbers("radius", self.radius, "not negative", ThreatError)
            one = not isinstance(self.radius, Sequence) and not hasattr(self.radius, "__len__")
            object.__setattr__(self, "radius", radii[0] if one else tuple(radii))
        _set_number(self, "bias_radius")


@dataclass(frozen=True)
class Threat:
    """A threat model. The command line reads the same from TOML, see :meth:`from_toml`.

    Attributes:
        kind: ``absolute``, ``relative``, ``per-channel``, ``frobenius``, ``row-ball``, ``int2`` … ``int16`` (also
            ``int8:per-channel``), or ``format:bf16``, ``fp16``, ``tf32``, ``fp32``, ``fp8e4m3``, ``fp8e5m2``
            (with ``:any`` behind it for hardware that does not round to nearest).
        radius: Radius of the weights. Its unit is that of the kind: the weights' own for ``absolute`` and
            ``frobenius`` and ``row-ball``, a fraction of each weight for ``relative``, of the largest weight of each output channel for
            ``per-channel``, an optional multiple (1 by default) of half a quantization step or of the error of the
            format otherwise.
        bias_radius: Radius of the biases in the same unit; by default they move like the weights of their layer.
        layers: Names of the layers that move; by default all with weights.
        input_radius: Radius of a joint perturbation of the input, in the unit of the data.
        activation_radius: Radius of an error added to every activation, absolute.
        layer: Radii of single layers, by name.
    """

    kind: str = "absolute"
    radius: float | None = None
    bias_radius: float | None = None
    layers: tuple[str, ...] | None = None
    input_radius: float = 0.0
    activation_radius: float = 0.0
    layer: Mapping[str, LayerRadii] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("radius", "bias_radius", "input_radius", "activation_radius"):
            _set_number(self, name)
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(_check.names("layers", self.layers)))
        write_threat(self._json())

    def __hash__(self) -> int:
        return hash(self._json())

    @classmethod
    def absolute(cls, radius: float | None = None, **rest: Any) -> Threat:
        """Every weight moves by at most ``radius``, in the unit of the weights."""
        return cls("absolute", radius, **rest)

    @classmethod
    def relative(cls, radius: float | None = None, **rest: Any) -> Threat:
        """Every weight moves by at most the fraction ``radius`` of itself: drift, analog noise."""
        return cls("relative", radius, **rest)

    @classmethod
    def per_channel(cls, radius: float | None = None, **rest: Any) -> Threat:
        """Every weight moves by at most the fraction ``radius`` of the largest weight of its output channel."""
        return cls("per-channel", radius, **rest)

    @classmethod
    def frobenius(cls, radius: float | None = None, **rest: Any) -> Threat:
        """The weights of each layer move by a matrix of Frobenius norm at most ``radius``."""
        return cls("frobenius", radius, **rest)

    @classmethod
    def row_ball(cls, radius: float | None = None, **rest: Any) -> Threat:
        """The weights of each output channel move by a vector of Euclidean norm at most ``radius``."""
        return cls("row-ball", radius, **rest)

    @classmethod
    def integer(
        cls,
        bits: int = 8,
        *settings: str,
        per_channel: bool = False,
        radius: float | None = None,
        **rest: Any,
    ) -> Threat:
        """Quantization of the weights to integers of ``bits`` (2 to 16), by default symmetric and rounded to nearest.

        Args:
            bits: Bits of an integer.
            per_channel: One step for each output channel instead of one for each layer.
            radius: A multiple of half a step; 1 by default.
            settings: How other quantizers differ: ``half-range``, ``full-range``, ``reduced-range``, ``power-of-two`` or
                ``asymmetric``; ``either``; ``bias-own-step`` or ``bias-float`` (docs/reference/threat-models.md).
        """
        words = [f"int{bits}", *(["per-channel"] if per_channel else []), *settings]
        return cls(":".join(words), radius, **rest)

    @classmethod
    def number_format(
        cls, name: FloatFormat, *, radius: float | None = None, rounding: Rounding = "nearest", **rest: Any
    ) -> Threat:
        """Inference in a number format with fp32 accumulation in any order.

        Args:
            name: ``bf16``, ``fp16``, ``tf32``, ``fp32``, ``fp8e4m3`` or ``fp8e5m2``.
            radius: A multiple of the error of the format; 1 by default.
            rounding: ``"any"`` covers hardware that truncates or rounds at random.
        """
        return cls(f"format:{name}" + (":any" if rounding == "any" else ""), radius, **rest)

    def to_dict(self) -> dict[str, Any]:
        """The fields as the TOML file has them, in kebab-case; what is not set is left out."""
        fields: dict[str, Any] = {"kind": self.kind}
        if self.radius is not None:
            fields["radius"] = self.radius
        if self.bias_radius is not None:
            fields["bias-radius"] = self.bias_radius
        if self.layers is not None:
            fields["layers"] = list(self.layers)
        fields["input-radius"] = self.input_radius
        fields["activation-radius"] = self.activation_radius
        if self.layer:
            fields["layer"] = {name: _layer_fields(radii) for name, radii in self.layer.items()}
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Threat:
        """The inverse of :meth:`to_dict`.

        Raises:
            ThreatError: A field is unknown or has a wrong value.
        """
        try:
            text = json.dumps(dict(fields), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ThreatError(f"threat: {error}") from None
        return cls._from_json(parse_threat(write_threat(text)))

    def to_toml(self) -> str:
        """The text of a threat file of the command line."""
        return write_threat(self._json())

    @classmethod
    def from_toml(cls, text: str) -> Threat:
        """The threat model of a TOML text.

        Raises:
            ThreatError: Where and why it is none.
        """
        return cls._from_json(parse_threat(text))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Threat:
        """The threat model of a TOML file.

        Raises:
            FormatError: The file cannot be read.
            ThreatError: Where and why it is no threat model.
        """
        return cls._from_json(read_threat(os.fspath(path)))

    def _json(self) -> str:
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def _from_json(cls, text: str) -> Threat:
        fields = json.loads(text)
        layer = {
            name: LayerRadii(radii.get("radius"), radii.get("bias-radius"))
            for name, radii in fields.pop("layer", {}).items()
        }
        return cls(**{name.replace("-", "_"): value for name, value in fields.items()}, layer=layer)


def _set_number(record: Any, name: str) -> None:
    value = getattr(record, name)
    if value is not None:
        found = _check.number(name, value, "not negative", ThreatError)
        object.__setattr__(record, name, found)


def _layer_fields(radii: LayerRadii) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if radii.radius is not None:
        fields["radius"] = list(radii.radius) if isinstance(radii.radius, tuple) else radii.radius
    if radii.bias_radius is not None:
        fields["bias-radius"] = radii.bias_radius
    return fields
