"""`inspect`: layers, shapes, norms, and what a threat model would perturb."""

from __future__ import annotations

import json
from typing import Any

from . import _check, _show, _weightproof
from ._document import Document
from ._words import Kind
from .network import Network
from .threat import Threat

__all__ = ["Inspection", "inspect"]


def inspect(
    network: Network,
    threat: Threat | Kind = "absolute",
    *,
    radius: float | None = None,
    scale_radius: bool = False,
) -> Inspection:
    """Describes a network: its nodes with shapes and norms, what a threat model moves, and what `certify` will need.

    Args:
        network: The network.
        threat: A :class:`Threat`, or its kind: what moves.
        radius: Radius of the weights in the unit of the threat model. Radii of the layers are shown where it is known.
        scale_radius: A radius below 1 of integer or number formats is meant, a part of their own rounding.

    Returns:
        The description; nothing in it is a proof.

    Raises:
        Error: One of its kinds, when the threat model does not fit the network.
    """
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a weightproof.Network, found {type(network).__name__}")
    model = Threat(threat) if isinstance(threat, str) else threat
    if not isinstance(model, Threat):
        raise TypeError(f"threat: expected a weightproof.Threat or its kind, found {type(threat).__name__}")
    settings = {
        "threat": model.to_dict(),
        "radii": [] if radius is None else [_check.number("radius", radius, "not negative")],
        "scale_radius": bool(scale_radius),
    }
    return Inspection(_weightproof.inspect(network._native, json.dumps(settings)))


class Inspection(Document):
    """What `inspect` found. ``print`` shows it as the command line does; `to_pandas` has one row for each node."""

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """Every node in order, as JSON has it: name, kind, inputs, shape, parameters, norms, whether it is perturbed, radii."""
        return list(self.to_dict()["nodes"])

    @property
    def estimate(self) -> dict[str, int]:
        """What `certify` needs with its default method: bytes, bytes for each thread, multiply-adds."""
        return dict(self._found["estimate"])

    def __repr__(self) -> str:
        return f"<Inspection of {self._found['model']['name']}: {len(self._found['nodes'])} nodes>"

    def _repr_html_(self) -> str:
        rows: list[tuple[str, ...]] = [("node", "kind", "shape", "parameters", "spectral norm", "stable rank", "perturbed")]
        for node in self._found["nodes"]:
            norms = node.get("norms") or {}
            shown = [f"{norms[name]:.4g}" if norms.get(name) is not None else "" for name in ("spectral", "stable_rank")]
            shape = "×".join(map(str, node["shape"]))
            moves = ("yes" if node["perturbed"] else "no") if norms else ""
            rows.append((node["name"], node["kind"], shape, f"{node['parameters']:,}" if norms else "", *shown, moves))
        return _show.table("weightproof inspect", _show.question(self._found), rows)
