"""Records to means: per arm, and of one arm against another.

Everything is made of per-clip records alone, so that it can be made again. A mean is over all clips of
an arm or over those where it is defined, and says over how many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from causvid.errors import UserError
from causvid.evaluate.distribution import (
    NEIGHBOURS,
    coverage,
    frechet_distance,
    mean_pairwise_distance,
    median_squared_distance,
    squared_mmd,
    vendi,
)
from causvid.evaluate.looks import kaplan_meier, time_to_failure
from causvid.evaluate.statistics import Difference, Scores, difference, estimate

Record = Mapping[str, Any]

DISTANCES_FROM = 64
"""Clips below which distances between distributions say nothing: they are 2 d / N of the spread too large."""
DRAWS = 2000
NO_SCORES = ("prompt", "sample", "phase", "period", "radius")
"""Numbers of a record whose mean says nothing."""
FAILING_QUANTILE = 0.05
"""A window of worse quality than this share of the truth's windows is failing."""


@dataclass(frozen=True)
class Mean:
    """A mean, its interval, and over how many clips of how many."""

    mean: float
    low: float
    high: float
    clips: int
    of: int


def mean_of(records: Sequence[Record], metric: str) -> Mean | None:
    """Over the records where the metric is defined; None if it is nowhere.

    Prompts are resampled, and within them samples; a prompt with fewer samples counts as much as the others.
    """
    by_prompt: dict[int, list[float]] = {}
    for record in records:
        value = record.get(metric)
        if value is not None:
            by_prompt.setdefault(record["prompt"], []).append(float(value))
    if not by_prompt:
        return None
    most = max(map(len, by_prompt.values()))
    # A prompt's samples are repeated until all have as many: a cell's mean and spread stay about the same.
    table = np.array([np.resize(values, most) for values in by_prompt.values()])[None]
    found = estimate(table, draws=DRAWS)
    count = sum(map(len, by_prompt.values()))
    return Mean(found.mean, found.low, found.high, count, len(records))


def summary(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """All metrics of one arm."""
    names = {name for record in records for name, value in record.items() if _is_score(name, value)}
    means = {name: mean_of(records, name) for name in sorted(names)}
    return {name: asdict(mean) for name, mean in means.items() if mean is not None}


def _is_score(name: str, value: Any) -> bool:
    return isinstance(value, (int, float)) and name not in NO_SCORES


def pairs(first: Sequence[Record], second: Sequence[Record], metric: str) -> tuple[Scores, Scores] | None:
    """Two tables of the same clips, where a metric is defined for both arms; None if it is for none."""
    others = {record["id"]: float(record[metric]) for record in second if record.get(metric) is not None}
    by_prompt: dict[int, list[tuple[float, float]]] = {}
    for record in first:
        if record.get(metric) is not None and record["id"] in others:
            by_prompt.setdefault(record["prompt"], []).append((float(record[metric]), others[record["id"]]))
    if not by_prompt:
        return None
    most = max(map(len, by_prompt.values()))
    both = np.array([np.resize(np.array(values), (most, 2)) for values in by_prompt.values()])
    return both[None, ..., 0], both[None, ..., 1]


def paired(first: Sequence[Record], second: Sequence[Record], metric: str) -> Difference | None:
    """The difference of two arms over the clips where both are defined; None if there is none."""
    both = pairs(first, second, metric)
    return None if both is None else difference(*both, draws=DRAWS)


def distances(generated: Sequence[Record], real: Sequence[Record]) -> dict[str, Any]:
    """How far an arm's embeddings are from the truth's, and how varied they are."""
    a, b = (
        torch.tensor([r["embedding"] for r in records if "embedding" in r]) for records in (generated, real)
    )
    fewest = min(len(a), len(b))
    if fewest <= NEIGHBOURS:
        return {"clips": fewest, "note": f"distances need more than {NEIGHBOURS} clips"}
    h = median_squared_distance(b)
    found: dict[str, Any] = {
        "clips": fewest,
        "vendi": vendi(a, bandwidth=h),
        "pairwise_distance": mean_pairwise_distance(a),
        "mmd2": squared_mmd(a, b),
    }
    if fewest < DISTANCES_FROM:
        return found | {"note": f"Frechet distance and recall need {DISTANCES_FROM} clips"}
    return found | {"frechet_distance": frechet_distance(a, b), **asdict(coverage(a, b))}


def survival(records: Sequence[Record], truth: Sequence[Record]) -> dict[str, Any]:
    """When clips fail: three windows in a row of a quality that 95 % of the truth's windows exceed."""
    curves = [r["curves"]["quality"] for r in records if "curves" in r]
    reference = torch.tensor([q for r in truth if "curves" in r for q in r["curves"]["quality"]])
    threshold = float(reference.quantile(FAILING_QUANTILE))
    failures = [time_to_failure(torch.tensor(curve), threshold=threshold, seconds=1) for curve in curves]
    found = kaplan_meier(failures)
    longest = max(len(curve) for curve in curves)
    return {
        "threshold": threshold,
        "clips": len(curves),
        "failed": sum(one.failed for one in failures),
        "alive_at_end": found.at(longest),
        "median_seconds": found.median,
    }


def check_complete(records: Sequence[Record], items: int, *, arm: str) -> None:
    """Refuse to average what is not all there.

    Raises:
        UserError: records are missing.
    """
    if len(records) != items:
        raise UserError(
            f"{arm} has {len(records)} of {items} clips; run the same command again to make the others."
        )
