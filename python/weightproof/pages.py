"""Results together: one page with figures, and their curves in one figure."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import _check, _weightproof
from ._document import Document
from .result import Result, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot", "report"]

#: What is shown: a result of a run of this session, or the JSON of one.
AnyResult = Result | Document | str | os.PathLike[str]


def report(
    results: AnyResult | Sequence[AnyResult],
    output: str | os.PathLike[str] | None = None,
    *,
    names: Sequence[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    figures: str | os.PathLike[str] | None = None,
    compare: bool = False,
) -> str:
    """Writes one page about results, as ``weightproof report`` does.

    Results that ask the same question are shown together, and their curves in one figure where only the networks differ.

    Args:
        results: Results of this session, or files of JSON.
        output: File for the page, ``.html``.
        names: Names of the results in figures, one for each; those of the files by default.
        data: Data with the images of the samples; by default where a result says, when they are still the same.
        figures: Folder for every figure as SVG, and as PNG where the build has the feature ``raster``.
        compare: Show what changed from the first result to the second, sample by sample.

    Returns:
        The page, HTML that needs nothing from the network.

    Raises:
        Error: A file that is no result, named results that do not fit together.
        ValueError: The extension of ``output`` is not ``.html``.
    """
    files = _files(results, names)
    path = None if data is None else os.fspath(data)
    page, drawn = _weightproof.compare_page(files) if compare else _weightproof.page(files, path)
    if output is not None:
        write(output, {".html": "html"}, lambda _: page.encode())
    if figures is not None:
        folder = pathlib.Path(figures)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in drawn:
            (folder / name).write_bytes(content)
    return page


def plot(results: AnyResult | Sequence[AnyResult], names: Sequence[str] | None = None, *, ax: Axes | None = None) -> Axes:
    """Draws the curves of results into one figure: the figure that ``weightproof report A.json B.json`` shows, of the same numbers.

    A line is the share of the samples that are proved, or that an attack leaves (dotted), over the radius.

    Args:
        results: Results of `certify` at several radii, `attack` or `radius`, or files of their JSON: of the same data, property
            and kind of set, by whatever method and of whatever network.
        names: Names in the legend, one for each; those of the files, or "result 1" and so on, by default.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes, for titles and for ``ax.figure.savefig(…)``.

    Raises:
        Error: Results that do not fit together; the message says in what.
        ImportError: matplotlib is not installed.
    """
    chart: dict[str, Any] = json.loads(_weightproof.overlay(_files(results, names)))
    if ax is None:
        try:
            from matplotlib import pyplot
        except ImportError:
            raise ImportError(
                "plot: expected matplotlib, found none\nhint: pip install matplotlib, or weightproof.report, which needs nothing"
            ) from None
        ax = pyplot.subplots()[1]
    for line in chart["lines"]:
        dash = line["dash"]
        style = "-" if dash == "none" else (0, tuple(float(length) / 2 for length in dash.split()))
        x, y = zip(*line["points"], strict=True) if line["points"] else ((), ())
        # As in the pages: a line with many points has no markers.
        marker = "o" if len(x) <= 40 else None
        ax.plot(x, y, color=line["color"], linestyle=style, marker=marker, markersize=4, label=line["name"])
    if chart["x"]["scale"] == "logarithmic":
        ax.set_xscale("log")
    ax.set(xlabel=chart["x"]["label"], ylabel=chart["y"]["label"], title=chart["title"])
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.legend()
    return ax


def _files(results: AnyResult | Sequence[AnyResult], names: Sequence[str] | None) -> list[tuple[str, bytes, str | None]]:
    """Names and bytes of the JSON of results, and what figures call them."""
    single = isinstance(results, (Result, Document, str, os.PathLike))
    found: list[Any] = [results] if single else list(results)  # type: ignore[arg-type]
    if not found:
        raise _weightproof.SettingError("results: expected at least 1 result, found none")
    given = None if names is None else _check.names("names", names)
    if given is not None and len(given) != len(found):
        raise _weightproof.SettingError(f"names: expected {len(found)} names, one for each result, found {len(given)}")
    files = []
    for k, result in enumerate(found):
        if isinstance(result, (Result, Document)):
            file, content = f"result {k + 1}", result.to_json().encode()
        elif isinstance(result, (str, os.PathLike)):
            file, content = os.fspath(result), pathlib.Path(result).read_bytes()
        else:
            raise TypeError(f"results: expected results or names of files, found {type(result).__name__}")
        files.append((file, content, None if given is None else given[k]))
    return files
