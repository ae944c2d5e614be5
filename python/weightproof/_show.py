"""What notebooks show of a result: its numbers under the network, the data and the set that they are about."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(caption: str, about: Iterable[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """A table: lines about the question, then rows with a heading each, whose text is escaped here."""
    rows = [list(row) for row in rows]
    width = max((len(row) for row in rows), default=2) - 1
    head = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td colspan="{width}" style="text-align:left">{html.escape(text)}</td></tr>'
        for name, text in about
    )
    body = "".join(
        f'<tr><th style="text-align:left">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><caption>{html.escape(caption)}</caption><tbody>{head}{body}</tbody></table>"


def question(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Network, data and set of a result, as its JSON has them."""
    model, data, threat = found.get("model"), found.get("data"), found.get("threat")
    lines = []
    if model:
        lines.append(("network", f"{model['name']}, {model['parameters']:,} parameters"))
    if data:
        lines.append(("data", f"{data['samples']:,} samples of {data['description']}"))
    if threat:
        lines.append(("set", threat_words(threat)))
    return lines


def threat_words(threat: Mapping[str, Any]) -> str:
    """A threat model in words: kind, unit of its radius, layers, and what else moves."""
    words = f"{threat['kind']}, radius in {threat['unit']}; layers {', '.join(threat['perturbed_layers']) or 'none'}"
    for name, what in (("input_radius", "input"), ("activation_radius", "activations")):
        if threat.get(name):
            words += f"; {what} within {threat[name]:g}"
    return words
