"""`train`: a network from data, plain or so that it withstands changes of its weights and can be proved."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from . import _check, _progress, _show, _weightproof
from ._document import Document
from ._words import Layout, Optimizer
from .data import Data, arrays
from .network import Network

__all__ = ["Training", "train"]


def train(
    x: npt.ArrayLike | Data,
    y: npt.ArrayLike | None = None,
    *,
    output: str | os.PathLike[str],
    config: str | os.PathLike[str] | None = None,
    resume: bool = False,
    sizes: Sequence[int] | None = None,
    gain: float | None = None,
    objective: str | Sequence[str] = (),
    adversary: str | Sequence[str] = (),
    radius: float | None = None,
    bias_radius: float | None = None,
    input_radius: float | None = None,
    relative: bool = False,
    radius_epochs: float | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    optimizer: Optimizer | None = None,
    learning_rate: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    warm_up: float | None = None,
    decay: str | None = None,
    gradient_clip: float | None = None,
    weight_limit: float | None = None,
    validation: int | None = None,
    validation_method: str | None = None,
    seed: int | None = None,
    threads: int | None = None,
    layout: Layout | None = None,
    scale: float | str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    progress: bool | Callable[[int, int], object] = False,
) -> Training:
    """Trains a network, and writes it with its history, settings, checkpoint and result into a folder.

    Args:
        x: Samples of shape (n, …), or `Data`.
        y: Labels, (n,) of an integer type; those of ``x`` where that is `Data`.
        output: Folder for ``network.onnx``, ``network.safetensors``, ``history.csv``, ``config.toml``, ``result.json`` and
            ``checkpoint.safetensors``.
        config: File of settings in TOML; the arguments below take precedence over it.
        resume: Go on from the checkpoint in the folder, if there is one.
        sizes: Sizes of dense layers with ReLU between them, input first; 784, 128, 64, 32, 10 by default.
        gain: Factor on the random weights at the start.
        objective: Terms of the loss: ``"NAME"``, ``"NAME=WEIGHT"``, or ``"NAME=FROM:TO:START:END"`` with epochs. Names are
            cross-entropy (default), hinge, robust-hinge, robust-softplus, norms, interval, linear,
            input-sensitivity, weight-sensitivity, spectral-decoupling.
        adversary: Where gradients are taken: ``noise=DEVIATION``, ``sam=RHO``, ``awp=GAMMA``, ``pgd=RADIUS`` or
            ``input-pgd=RADIUS``, one or several.
        radius: Radius of every weight that bounds guard against.
        bias_radius: Radius of every bias; as the weights by default.
        input_radius: Radius of the inputs.
        relative: Radii are fractions of the magnitude of each weight.
        radius_epochs: Epochs over which radii and weights of worst cases rise from 0; half of the epochs by default.
        epochs: Passes over the data, 10 by default.
        batch: Samples in one step, 128 by default.
        optimizer: ``sgd``, ``adam`` (default) or ``adamw``.
        learning_rate: 0.001 by default.
        momentum: Of ``sgd``.
        weight_decay: 0 by default.
        warm_up: Epochs over which the learning rate rises from 0.
        decay: How it falls: ``constant``, ``cosine`` (default), or ``step:FACTOR:EPOCH,…``.
        gradient_clip: Largest Euclidean norm of a gradient.
        weight_limit: Largest magnitude of a weight, kept after every step.
        validation: Samples at the end of the data that are held out; 1000 by default, at most a fifth.
        validation_method: Bound method of the certified accuracy on them, ``interval`` by default.
        seed: Of everything random, 0 by default.
        threads: Number of threads; all processors by default. Results do not depend on it.
        layout: Order of channels, height and width that the network wants, ``nchw`` or ``nhwc``.
        scale: Multiplies the data: a number, or a ratio such as ``"1/255"``. By default 1/255 for uint8, 1 for others and where ``std``
            divides by 255 itself; the result says which. `Data` is scaled when it is loaded.
        mean: Subtracted from the data inside of the network: one number, or one for each channel or value.
        std: Divides the data, likewise.
        progress: ``True`` for a bar, or a function of (hundredths done, 100).

    Returns:
        The trained network and its history. Accuracies are measured; the certified one is proved, rounding included.

    Raises:
        Error: One of its kinds: settings or data that do not fit, a checkpoint of another run, a training that diverges.
        KeyboardInterrupt: After Ctrl-C; the checkpoint is kept, and ``resume=True`` goes on from it.
    """

    def number(name: str, value: float | None, within: str = "not negative") -> str | None:
        return None if value is None else repr(_check.number(name, value, within))

    def count(name: str, value: int | None, least: int = 1) -> int | None:
        return None if value is None else _check.integer(name, value, least)

    single = {
        "sizes": None if sizes is None else ",".join(str(_check.integer("sizes", size)) for size in sizes),
        "gain": number("gain", gain, "positive"),
        "objective": _check.names("objective", objective),
        "adversary": _check.names("adversary", adversary),
        "radius": number("radius", radius),
        "bias-radius": number("bias_radius", bias_radius),
        "input-radius": number("input_radius", input_radius),
        "relative": bool(relative),
        "radius-epochs": number("radius_epochs", radius_epochs),
        "epochs": count("epochs", epochs),
        "batch": count("batch", batch),
        "optimizer": optimizer,
        "learning-rate": number("learning_rate", learning_rate, "positive"),
        "momentum": number("momentum", momentum),
        "weight-decay": number("weight_decay", weight_decay),
        "warm-up": number("warm_up", warm_up),
        "decay": decay,
        "gradient-clip": number("gradient_clip", gradient_clip, "positive"),
        "weight-limit": number("weight_limit", weight_limit, "positive"),
        "seed": None if seed is None else _check.integer("seed", seed, 0, 2**64 - 1),
        "validation": count("validation", validation, 0),
        "validation-method": validation_method,
    }
    settings = {
        "folder": os.fspath(output),
        "resume": bool(resume),
        "file": None if config is None else (pathlib.Path(config).read_text(encoding="utf-8"), os.fspath(config)),
        "single": single,
        "threads": None if threads is None else _check.threads(threads),
        "data": {
            "batch": None,
            "layout": layout,
            "scale": None if scale is None else _check.scale(scale),
            "mean": None if mean is None else _check.numbers("mean", mean),
            "std": None if std is None else _check.numbers("std", std, "positive"),
        },
    }
    samples = arrays(x, y)
    with _progress.reporter(progress, "train", 100) as report:
        return Training(_weightproof.train(samples, json.dumps(settings), report))


class Training(Document):
    """What `train` did. `to_pandas` has one row for each epoch, ``print`` the last one."""

    _formats = {".json": "json", ".csv": "csv", ".txt": "text", ".html": "html"}

    @property
    def network(self) -> Network:
        """The trained network, read from the folder."""
        return Network.from_onnx(self._found["model"]["path"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """One entry for each epoch: loss and its terms, learning rate, radius, accuracies, largest weight."""
        return list(self.to_dict()["history"])

    @property
    def accuracy(self) -> float | None:
        """Accuracy on the held-out samples after the last epoch, measured; ``None`` without them."""
        found: float | None = self._found["summary"]["validation_accuracy"]
        return found

    @property
    def certified_accuracy(self) -> float | None:
        """Certified accuracy on them over the full threat, proved, rounding included; ``None`` without them."""
        found: float | None = self._found["summary"]["validation_certified"]
        return found

    @property
    def at_chance(self) -> dict[str, Any] | None:
        """Where the training ended no better than guessing: both accuracies, and what to try; else ``None``."""
        found: dict[str, Any] | None = self._found["at_chance"]
        return found

    def __repr__(self) -> str:
        return f"<Training of {len(self._found['history'])} epochs: {self._headline()}>"

    def _headline(self) -> str:
        if self.at_chance:
            return "no better than chance"
        return "nothing held out" if self.accuracy is None else f"accuracy {self.accuracy:.2%} on held-out samples"

    def _repr_html_(self) -> str:
        last = self._found["summary"]
        shares = (
            ("training accuracy (measured)", last["train_accuracy"]),
            ("held-out accuracy (measured)", last["validation_accuracy"]),
            ("held-out certified accuracy (rigorous)", last["validation_certified"]),
        )
        rows = [(name, "–" if share is None else f"{share:.2%}") for name, share in shares]
        if self.at_chance:
            rows.append(("no better than chance", str(self.at_chance["advice"])))
        about = [*_show.question(self._found), ("radius", f"{last['radius']:g}")]
        return _show.table(f"weightproof train: {last['epoch']} epochs", about, rows)
