"""Hypotheses that were written down before, and what became of them: supported, refuted or unresolved.

`hypotheses.toml` beside this file says what is claimed and when a claim counts as either. A refuted one is
said to be refuted, and one that was not measured has no verdict.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from causvid.config import build, read_toml
from causvid.evaluate.statistics import difference, holm, is_equivalent
from causvid.evaluate.tables.composite import SCORES
from causvid.evaluate.tables.results import Results

LEVEL = 0.05
MATCHING_POINTS = 1.0
"""Two arms match in a score when they are shown to differ by less."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`better` less `worse` is above -margin."""

    better: str
    worse: str
    metric: str
    length: Literal["short", "long", "speed"] = "short"
    margin: float = 0.0
    lower: bool = False
    """Whether less of the metric is better."""
    decides: bool = True


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    name: str
    claim: str
    paper: str
    """What the paper measured."""
    tests: tuple[Comparison, ...]


@dataclass(frozen=True, kw_only=True)
class _File:
    hypothesis: tuple[Hypothesis, ...]


def load_hypotheses() -> tuple[Hypothesis, ...]:
    """Those of the package, in order."""
    where = Path(str(resources.files("causvid"))) / "evaluate" / "tables" / "hypotheses.toml"
    return build(_File, read_toml(where), where.name).hypothesis


def judged(hypotheses: Sequence[Hypothesis], results: Results) -> list[dict[str, Any]]:
    """For each hypothesis its verdict, its corrected p and every test.

    Holm's correction is over the hypotheses that were measured.
    """
    tested = {one.name: [_tested(test, results) for test in one.tests] for one in hypotheses}
    deciding = {
        one.name: [found for test, found in zip(one.tests, tested[one.name], strict=True) if test.decides]
        for one in hypotheses
    }
    measured = {name: all(f["measured"] for f in found) for name, found in deciding.items()}
    # A claim of several parts holds if each does, so its p is the largest.
    p_values = {name: max(f["p"] for f in found) for name, found in deciding.items() if measured[name]}
    corrected = holm(p_values)
    return [
        {
            "name": one.name,
            "claim": one.claim,
            "paper": one.paper,
            "verdict": _verdict(deciding[one.name], corrected.get(one.name)),
            "p_holm": corrected.get(one.name),
            "tests": tested[one.name],
        }
        for one in hypotheses
    ]


def _tested(test: Comparison, results: Results) -> dict[str, Any]:
    said = asdict(test) | {"measured": False}
    if not results.has(test.length, test.better, test.worse):
        return said
    tables = results.paired(test.length, test.better, test.worse, test.metric)
    if tables is None:
        return said
    sign = -1 if test.lower else 1
    a, b = (sign * table for table in tables)
    found, against_margin = difference(a, b), difference(a + test.margin, b)
    matches = is_equivalent(a, b, margin=MATCHING_POINTS) if test.metric in SCORES else None
    return said | {
        "measured": True,
        "difference": found.estimate.mean,
        "low": found.estimate.low,
        "high": found.estimate.high,
        "p_better": found.better,
        "p": against_margin.p,
        "matches": matches,
        "cells": list(a.shape),
    }


def _verdict(deciding: Sequence[dict[str, Any]], p: float | None) -> str:
    if p is None:
        return "not measured"
    if any(found["high"] < -found["margin"] for found in deciding):
        return "refuted"
    if p < LEVEL and all(found["low"] > -found["margin"] for found in deciding):
        return "supported"
    return "unresolved"
