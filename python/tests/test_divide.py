"""Regions of one sample, searched in any order: what is lost, comes twice or is foreign is refused by name."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

import weightproof as wp
from weightproof import _weightproof, run
from weightproof.data import arrays


class Asked:
    """A sample that a search of few domains leaves open."""

    def __init__(self, sample: int = 21, **settings: Any) -> None:
        self.network, self.data = wp.examples.mnist(samples=100)
        given = inspect.signature(run.certify).bind(self.network, self.data, **{"radius": 0.002, "method": "exact", "max_nodes": 60} | settings)
        given.apply_defaults()
        _, found = run.certify_settings(dict(given.arguments))
        self.settings, self.samples = json.dumps(found), arrays(self.data)
        self.division = _weightproof.Division(self.network._native, self.samples, self.settings, sample, 0)

    def answer(self, question: str) -> str:
        return _weightproof.search(self.network._native, self.samples, self.settings, question)

    def answers(self, most: int = 4) -> list[str]:
        return [self.answer(question) for question in self.division.questions(most)]


def test_rounds_settle_a_sample() -> None:
    asked = Asked()
    result = wp.certify(asked.network, asked.data, radius=0.002, method="exact", max_nodes=60)
    assert result.reason[21] == "node-limit"
    rounds = 0
    while not asked.division.is_settled and rounds < 20:
        # In any order.
        asked.division.take(asked.answers()[::-1])
        rounds += 1
    assert rounds > 1 and asked.division.is_settled and asked.division.questions(4) == []
    nodes = result.nodes[21]
    asked.division.conclude(result._report, asked.network._native, asked.samples, asked.settings)
    result._report.divided(20, 4)
    found = wp.Result(result._report, None)
    assert found.verdict[21] == "verified" and found.margin_lower[21] > 0.0 and found.nodes[21] > nodes
    assert found.summary["unknown"] == result.summary["unknown"]


def test_lost_duplicated_and_foreign_regions_are_refused() -> None:
    asked = Asked()
    asked.division.take(asked.answers())
    answers = asked.answers()
    assert len(answers) == 4
    refused = {
        "found none for": answers[1:],
        "twice": [*answers, answers[0]],
        "expected an answer about sample 21": [*answers[1:], Asked(48).answers()[0]],
        "answer: ": [*answers[1:], answers[0][:-20]],
    }
    for message, wrong in refused.items():
        with pytest.raises(wp.Error, match=message):
            asked.division.take(wrong)
    # Parts of an answer.
    lost = json.loads(answers[0])
    region = lost["searched"]["regions"].pop()
    with pytest.raises(wp.Error, match="sample 21, set 0: cover: expected an answer for every region, found none for region"):
        asked.division.take([json.dumps(lost), *answers[1:]])
    lost["searched"]["regions"] += [region, region]
    with pytest.raises(wp.Error, match="cover: expected every region once"):
        asked.division.take([json.dumps(lost), *answers[1:]])
    asked.division.take(answers)


def test_questions_of_other_networks_and_settings_are_refused() -> None:
    question = Asked().division.questions(1)[0]
    with pytest.raises(wp.Error, match="expected a question about sample 21, set 0, identity .* found the foreign sample 21"):
        Asked(radius=0.001).answer(question)
    other = json.loads(question)
    other["regions"][0]["sides"] = [{"node": 0, "element": 0, "value": 0.5, "above": True}]
    with pytest.raises(wp.Error, match="foreign region element 0 of node 0 ≥ 0.5"):
        Asked().answer(json.dumps(other))
    other["subject"]["sample"] = 1000
    with pytest.raises(wp.Error, match="sample 1000: expected one of 100"):
        Asked().answer(json.dumps(other))
    with pytest.raises(wp.SettingError, match="gap: expected none where one sample is searched in regions"):
        Asked(gap=0.1)
