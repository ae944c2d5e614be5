"""Results: one row for each sample, as arrays, tables, JSON and HTML."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _show
from ._weightproof import Report

if TYPE_CHECKING:
    import pandas

__all__ = ["Result"]

#: Columns that are the same for every radius.
_CLEAN = ("index", "label", "predicted", "margin")
_INTEGERS = ("index", "label", "predicted", "runner_up", "nodes", "breaking", "repairing", "undecided", "failures", "hit_row", "hit_column", "hit_bit")
_WORDS = ("verdict", "reason", "witness", "oracle", "hit_layer", "hit_direction")
#: Words of any length: names.
_NAMES = ("witness", "hit_layer")
#: A column that `seconds` would hide.
_HIDDEN = "seconds"
#: Columns that only some runs fill, by the word that tells which.
_OPTIONAL = {"witness": "witness", "oracle": "oracle", "oracle_seconds": "oracle"}


class Result:
    """What `certify`, `attack`, `radius` or `faults` found.

    Columns are arrays with one element for each sample, (n,); after a run with several radii, those that depend on the
    radius have one row for each, (radii, n). Which columns there are depends on the command, see `columns`:

    ==================  ==========================================================================================
    ``index``           index in the data set
    ``label``           the given label
    ``predicted``       class with the largest output of the unperturbed network
    ``margin``          smallest margin of the unperturbed network; for deviations the tolerance
    ``margin_lower``    proved lower bound of the margin over the threat model, -inf where there is none
    ``runner_up``       class (deviation: output) for which the bound or the worst margin is smallest
    ``verdict``         ``verified``, ``falsified`` or ``unknown``
    ``reason``          why it is not verified, empty where it is
    ``deviation_upper`` proved upper bound of the largest change of an output
    ``failure_probability``  with random weights (``noise=``), the smallest probability of failing on a device that is proved
    ``worst_margin``    smallest margin that was found: an estimate from above of the true minimum
    ``deviation``       largest change of an output that was found
    ``failures``        devices drawn on which the property does not hold (``noise=``); ``failure_rate``, ``mean_margin``, and a 95%
                        interval for the probability, ``failure_lower`` and ``failure_upper``
    ``nodes``           domains that branch and bound looked at
    ``witness``         name of the file with the weights that break the sample, empty where there is none (``witness=``)
    ``oracle``          verdict of the second solver (``oracle=``), and the seconds it took, ``oracle_seconds``
    ``certified_radius``  largest radius that was proved, 0 where none was
    ``attacked_radius`` smallest radius at which the property was broken, NaN where none was
    ``breaking``        single hits on stored words that break the sample; ``repairing`` and ``undecided`` likewise
    ``hit_layer``       layer of the first hit that breaks it, empty where there is none; ``hit_row``, ``hit_column`` (NaN for a bias),
                        ``hit_bit``, ``hit_direction``, ``hit_before``, ``hit_after``, ``hit_margin``
    ``certified_words`` so many hits at once are proved to be harmless; ``broken_words`` were found to break the sample (0: it is broken
                        without), ``gradient_words`` by progressive bit search, NaN where none were; ``broken_by`` names them,
                        ``broken_margin`` is the margin after them
    ==================  ==========================================================================================

    Margins are in the unit of the outputs, radii in that of the threat model.
    """

    if TYPE_CHECKING:
        index: npt.NDArray[np.int64]
        label: npt.NDArray[Any]
        predicted: npt.NDArray[Any]
        margin: npt.NDArray[np.float64]
        margin_lower: npt.NDArray[np.float64]
        runner_up: npt.NDArray[Any]
        verdict: npt.NDArray[np.str_]
        reason: npt.NDArray[np.str_]
        deviation_upper: npt.NDArray[np.float64]
        failure_probability: npt.NDArray[np.float64]
        worst_margin: npt.NDArray[np.float64]
        mean_margin: npt.NDArray[np.float64]
        failures: npt.NDArray[Any]
        failure_rate: npt.NDArray[np.float64]
        failure_lower: npt.NDArray[np.float64]
        failure_upper: npt.NDArray[np.float64]
        deviation: npt.NDArray[np.float64]
        nodes: npt.NDArray[Any]
        witness: npt.NDArray[np.str_]
        oracle: npt.NDArray[np.str_]
        oracle_seconds: npt.NDArray[np.float64]
        certified_radius: npt.NDArray[np.float64]
        attacked_radius: npt.NDArray[np.float64]
        breaking: npt.NDArray[Any]
        repairing: npt.NDArray[Any]
        undecided: npt.NDArray[Any]
        hit_layer: npt.NDArray[np.str_]
        hit_row: npt.NDArray[Any]
        hit_column: npt.NDArray[Any]
        hit_bit: npt.NDArray[Any]
        hit_direction: npt.NDArray[np.str_]
        hit_before: npt.NDArray[np.float64]
        hit_after: npt.NDArray[np.float64]
        hit_margin: npt.NDArray[np.float64]
        certified_words: npt.NDArray[Any]
        broken_words: npt.NDArray[Any]
        gradient_words: npt.NDArray[Any]
        broken_by: npt.NDArray[np.str_]
        broken_margin: npt.NDArray[np.float64]

    def __init__(self, report: Report, x: npt.NDArray[Any] | None) -> None:
        self._report = report
        # For the fingerprint, which takes longer than some proofs and not every result needs.
        self._x: npt.NDArray[Any] | None = x
        self._cache: dict[str, npt.NDArray[Any]] = {}
        self._columns: tuple[str, ...] | None = None

    @property
    def command(self) -> str:
        """``certify``, ``attack``, ``radius`` or ``faults``."""
        return self._report.command

    @property
    def guarantee(self) -> str:
        """What the bounds are worth: ``rigorous``, ``real-arithmetic`` or ``estimate``; with random weights ``rigorous, with probability``."""
        return self._report.guarantee

    @property
    def radii(self) -> tuple[float | None, ...]:
        """The radii that were asked for; ``(None,)`` where the run searched for radii or layers have their own."""
        return tuple(self._report.radii)

    @property
    def seconds(self) -> float:
        """Time spent on bounds and attacks."""
        return self._report.seconds

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns; those of witnesses and of the oracle are there when a sample has one."""
        if self._columns is None:
            names = [name for name in self._report.columns if name != _HIDDEN]
            self._columns = tuple(name for name in names if name not in _OPTIONAL or self._fills(_OPTIONAL[name]))
        return self._columns

    def _fills(self, word: str) -> bool:
        return any(any(self._report.words(word, k)) for k in range(len(self.radii)))

    @property
    def summary(self) -> dict[str, Any]:
        """Numbers over all samples, as JSON has them; those of the first radius after a run with several."""
        return self.summaries[0]

    @property
    def summaries(self) -> list[dict[str, Any]]:
        """The summary at every radius."""
        return [json.loads(self._report.summary(k)) for k in range(len(self.radii))]

    @property
    def accuracy(self) -> float | None:
        """Fraction of samples that the unperturbed network classifies as labelled; ``None`` without labels."""
        found: float | None = self.summary["accuracy"]
        return found

    @property
    def certified_accuracy(self) -> Any:
        """Fraction of verified samples, a bound: a number, or an array with one for each radius."""
        return self._rate("certified_accuracy")

    @property
    def accuracy_under_attack(self) -> Any:
        """Fraction of samples that were not broken, an estimate: a number, or an array with one for each radius."""
        return self._rate("accuracy_under_attack")

    if not TYPE_CHECKING:
        # Type checkers know the columns above, and no others.
        def __getattr__(self, name: str) -> npt.NDArray[Any]:
            if name.startswith("_"):
                raise AttributeError(f"a result has no {name!r}")
            if name not in self.columns:
                raise AttributeError(self._missing(name))
            return self[name]

    def _missing(self, name: str) -> str:
        close = difflib.get_close_matches(name, [known for known in dir(self) if not known.startswith("_")], 1)
        hint = f"\nhint: {close[0]}" if close else ""
        return f"a result of {self.command} has no {name!r}; its columns are {', '.join(self.columns)}{hint}"

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """A column by its name, which need not be one of Python."""
        if name not in self.columns:
            raise KeyError(name)
        if name not in self._cache:
            self._cache[name] = self._column(name)
        return self._cache[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.columns})

    def __len__(self) -> int:
        return len(self.index)

    def to_json(self) -> str:
        """The JSON of the command line (``--format json``)."""
        self._fingerprint()
        return self._report.write("json").decode()

    def to_dict(self) -> dict[str, Any]:
        """The JSON of the command line as a dictionary."""
        found: dict[str, Any] = json.loads(self.to_json())
        return found

    def to_pandas(self) -> pandas.DataFrame:
        """A table with one row for each radius and sample.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        tables = []
        for k, radius in enumerate(self.radii):
            columns = {name: self._at(name, k) for name in self.columns}
            if len(self.radii) > 1:
                columns = {"radius": np.full(len(self), radius), **columns}
            tables.append(pandas.DataFrame(columns))
        table = pandas.concat(tables, ignore_index=True)
        words = [name for name in _WORDS if name in table and name != "witness"]
        return table.astype(dict.fromkeys(words, "category")).set_index("index")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes ``.json``, ``.csv``, ``.parquet`` or ``.txt`` as the command line does, or ``.html``: one page with figures.

        ``weightproof report`` reads the JSON; it also compares results and shows the images of samples.

        Raises:
            ValueError: The extension is another one.
            OSError: The file cannot be written.
        """
        formats = {".json": "json", ".csv": "csv", ".parquet": "parquet", ".txt": "text", ".html": "html"}
        self._fingerprint()
        write(path, formats, self._report.write)

    def __str__(self) -> str:
        self._fingerprint()
        return self._report.write("text").decode()

    def __repr__(self) -> str:
        return f"<Result of {self.command}: {len(self)} samples, {self._headline()} ({self.guarantee})>"

    def _repr_html_(self) -> str:
        rows = [("radius", *("" if r is None else f"{r:g}" for r in self.radii))] if self.radii != (None,) else []
        for name, title, guarantee, show in _HEADLINES:
            if name in self.summary:
                guarantee = self.guarantee if guarantee is None else guarantee
                title = f"{title} ({guarantee})" if guarantee else title
                rows.append((title, *(show(s[name]) for s in self.summaries)))
        caption = f"weightproof {self.command}: {len(self)} samples, {self.seconds:.3g} s"
        return _show.table(caption, _show.question(json.loads(self._report.question)), rows)

    def _headline(self) -> str:
        found = [f"{t} {show(self.summary[name])}" for name, t, _, show in _HEADLINES if name in self.summary]
        return found[1] if len(found) > 1 else found[0]

    def _rate(self, name: str) -> Any:
        if name not in self.summary:
            raise AttributeError(self._missing(name))
        found = [summary[name] for summary in self.summaries]
        return found[0] if len(found) == 1 else np.array(found)

    def _at(self, name: str, k: int) -> npt.NDArray[Any]:
        if name in _WORDS:
            # Names of files have any length.
            return np.array(self._report.words(name, k), dtype="U" if name in _NAMES else "U16")
        numbers = self._report.numbers(name, k)
        if name == "margin_lower":
            # No bound is the least one.
            numbers[np.isnan(numbers)] = -np.inf
        if name in _INTEGERS and not np.isnan(numbers).any():
            return numbers.astype(np.int64)
        return numbers

    def _column(self, name: str) -> npt.NDArray[Any]:
        if name in _CLEAN or len(self.radii) == 1:
            return self._at(name, 0)
        return np.stack([self._at(name, k) for k in range(len(self.radii))])

    def _fingerprint(self) -> None:
        if self._x is not None:
            if self._report.needs_fingerprint:
                self._report.fingerprint(self._x)
            self._x = None


def write(path: str | os.PathLike[str], formats: dict[str, str], content: Callable[[str], bytes]) -> None:
    """Writes `content` of the format of the extension, in place of a former file only once it is complete."""
    extension = os.path.splitext(path)[1].lower()
    if extension not in formats:
        expected = ", ".join(formats)
        raise ValueError(f"{os.fspath(path)}: expected one of the extensions {expected}, found {extension!r}")
    found = content(formats[extension])
    draft = f"{os.fspath(path)}.{os.getpid()}.tmp"
    try:
        with open(draft, "wb") as file:
            file.write(found)
        os.replace(draft, path)
    finally:
        if os.path.exists(draft):
            os.remove(draft)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


#: Name in the summary, title, guarantee (that of the method where it is None), and how it is shown.
_HEADLINES: tuple[tuple[str, str, str | None, Callable[[Any], str]], ...] = (
    ("accuracy", "accuracy", "measured", _percent),
    ("certified_accuracy", "certified accuracy", None, _percent),
    ("accuracy_under_attack", "accuracy under attack", "estimate", _percent),
    ("median_certified_radius", "median certified radius", None, _value),
    ("median_attacked_radius", "median attacked radius", "estimate", _value),
    ("expected_accuracy_at_least", "expected accuracy at least", None, _percent),
    ("mean_margin_lower", "mean margin bound", None, _value),
    ("deviation_upper", "largest change of an output", None, _value),
    ("mean_worst_margin", "mean worst margin found", "estimate", _value),
    ("falsified", "falsified", "witness", str),
    ("unknown", "unknown", "", str),
    ("closed", "closed", "", str),
)
