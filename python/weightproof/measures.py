"""The fourth question, `measure`: what theory and measurement say about how a network generalizes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _check, _show, _weightproof
from ._document import Document
from ._words import BoundMethod, Intermediate, Kind, Layout, Precision
from .data import Data, arrays
from .network import Network
from .run import method_settings, shared_settings
from .threat import Threat

__all__ = ["Measures", "measure"]


def measure(
    network: Network,
    x: npt.ArrayLike | Data,
    y: npt.ArrayLike | None = None,
    threat: Threat | Kind = "absolute",
    *,
    radius: float | Sequence[float] | None = None,
    scale_radius: bool = False,
    train: Data | tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    initial: Network | None = None,
    ensemble: Sequence[Network] = (),
    method: BoundMethod = "linear",
    intermediate: Intermediate | None = None,
    delta: float = 0.05,
    search: bool = True,
    search_samples: int = 1000,
    draws: int = 8,
    passes: int = 20,
    truncate: str | os.PathLike[str] | None = None,
    gamma: float | None = None,
    rank: float | None = None,
    precision: Precision | None = None,
    seed: int = 0,
    threads: int | None = None,
    layout: Layout | None = None,
    scale: float | str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> Measures:
    """Bounds of the error of a network and of all perturbed ones, and the measures they are compared with.

    Args:
        network: The network.
        x: Samples of shape (n, …), or `Data`: held out where ``train`` is given, else in place of the training samples.
        y: Labels, (n,) of an integer type; those of ``x`` where that is `Data`.
        threat: The perturbations: a `Threat`, or its kind.
        radius: Radii besides 0, the unperturbed network, which is always measured.
        scale_radius: A radius below 1 is meant where it is a multiple of what an integer or number format rounds by itself; without
            it such a radius is refused.
        train: Samples and labels that the network was trained on.
        initial: The network before training, for distances and utilization.
        ensemble: More networks for the same task: bias and variance of them all.
        method: How margins are bounded: ``norm-product``, ``interval``, ``linear``, ``linear-interval`` or ``optimized``.
        intermediate: For ``linear``, where bounds of hidden neurons come from: ``linear`` (default) or ``interval``.
        delta: Probability with which each bound may fail, below 1.
        search: Whether to measure what must be searched: sharpness, PAC-Bayes, attacks.
        search_samples: Samples that searches use at most.
        draws: Random networks that an expectation over noise is the mean of.
        passes: Passes of the attack with one perturbation for all samples.
        truncate: File for the network with truncated layers, ``.onnx`` or ``.safetensors``.
        gamma: How far truncation may move a margin of the samples; their 10% quantile by default.
        rank: Keep this share of the components of every layer instead.
        precision: ``f32`` or ``f64``; by default that of the network.
        seed: Of everything random.
        threads: Number of threads; all processors by default. Results do not depend on it.
        layout: Order of channels, height and width that the network wants, ``nchw`` or ``nhwc``; from the shapes by default.
        scale: Multiplies the data: a number, or a ratio such as ``"1/255"``. By default 1/255 for uint8, 1 for others and where the
            network or ``std`` divide by 255 themselves; the result says which. `Data` is scaled when it is loaded.
        mean: Subtracted from the data inside of the network: one number, or one for each channel or value.
        std: Divides the data, likewise.

    Returns:
        Measures with what each is worth; bounds hold with probability 1 − ``delta`` over the samples.

    Raises:
        Error: One of its kinds, with what is wrong and where.
        KeyboardInterrupt: After Ctrl-C, once the measure that is under way is taken; nothing is kept.
    """
    if gamma is not None and rank is not None:
        raise _weightproof.SettingError("rank: expected no gamma beside it, found both")
    settings = shared_settings(
        threat, radius, None, None, (None, None, None), False, precision, seed, threads, None, layout, scale, mean, std
    )
    settings |= method_settings(method, intermediate, "rigorous", None, None, None, None, None)
    settings |= {
        "scale_radius": bool(scale_radius),
        "delta": _check.number("delta", delta, "positive"),
        "search": {
            "samples": _check.integer("search_samples", search_samples),
            "draws": _check.integer("draws", draws),
            "passes": _check.integer("passes", passes),
        }
        if search
        else None,
        "truncate": None if truncate is None else os.fspath(truncate),
        "gamma": None if gamma is None else _check.number("gamma", gamma, "positive"),
        "rank": None if rank is None else _check.number("rank", rank, "positive"),
    }
    for name, found in [("network", network), ("initial", initial), *(("ensemble", member) for member in ensemble)]:
        if not isinstance(found, Network) and not (name == "initial" and found is None):
            raise TypeError(f"{name}: expected a weightproof.Network, found {type(found).__name__}")
    training = None
    if train is not None:
        training = arrays(train) if isinstance(train, Data) else arrays(*train)
    return Measures(
        _weightproof.measure(
            network._native,
            arrays(x, y),
            training,
            None if initial is None else initial._native,
            [member._native for member in ensemble],
            json.dumps(settings),
        )
    )


class Measures(Document):
    """What `measure` found.

    ``measures["rademacher-bound"]`` is a number, or an array with one for each of `radii` where the measure has to do with the
    perturbations; NaN where there is none, which `refusals` explains.
    """

    _formats = {".json": "json", ".csv": "csv", ".txt": "text", ".html": "html"}

    def __init__(self, report: _weightproof.Document) -> None:
        super().__init__(report)
        self._records: dict[str, list[dict[str, Any]]] = {m["name"]: [m] for m in self._found["measures"]}
        for result in self._found["results"]:
            for m in result["measures"]:
                self._records.setdefault(m["name"], []).append(m)
        self._by_radius = {m["name"] for result in self._found["results"] for m in result["measures"]}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the measures that were asked for."""
        return tuple(self._records)

    @property
    def radii(self) -> tuple[float | None, ...]:
        """0 for the unperturbed network, then the radii that were asked for; ``None`` where every layer has its own."""
        return tuple(result["radius"] for result in self._found["results"])

    @property
    def guarantees(self) -> dict[str, str]:
        """What each measure is worth: ``rigorous`` (or ``real-arithmetic``) for a bound, ``estimate`` for what was found, ``measured``."""
        return {name: records[0]["guarantee"] for name, records in self._records.items()}

    @property
    def refusals(self) -> dict[str, str]:
        """Why a measure has no value, for those that have none at some radius."""
        return {name: m["refusal"] for name, records in self._records.items() for m in records if "refusal" in m}

    @property
    def errors(self) -> dict[str, float | None]:
        """Errors of the unperturbed network: ``training``, ``held_out`` and their difference, the ``gap``."""
        found: dict[str, float | None] = self._found["errors"]
        return dict(found)

    def __getitem__(self, name: str) -> Any:
        """A number, or an array with one for each radius."""
        values = [np.nan if m["value"] is None else float(m["value"]) for m in self._records[name]]
        return np.array(values) if name in self._by_radius else values[0]

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def __repr__(self) -> str:
        radii = ", ".join("per layer" if radius is None else f"{radius:g}" for radius in self.radii)
        return f"<Measures of {self._found['model']['name']}: {len(self.names)} at radius {radii}>"

    def _repr_html_(self) -> str:
        radii = ["per layer" if radius is None else f"{radius:g}" for radius in self.radii]
        rows: list[tuple[str, ...]] = [("radius", *radii)]
        for name, records in self._records.items():
            values = ["–" if m["value"] is None else f"{m['value']:.4g}" for m in records]
            cells = values if name in self._by_radius else [values[0], *[""] * (len(radii) - 1)]
            rows.append((f"{name} ({self.guarantees[name]})", *cells))
        return _show.table("weightproof measure", _show.question(self._found), rows)
