"""Records to means: per arm, per factor, against anchors and a teacher.

Everything is made of per-clip records alone, so that it can be made again. A mean is over all clips of
an arm or over those where it is defined, and says over how many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from causvid.data import worlds
from causvid.errors import UserError
from causvid.evaluate.arms import ANCHORS
from causvid.evaluate.attributes import corrected
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
from causvid.evaluate.statistics import Difference, difference, estimate

Record = Mapping[str, Any]

DISTANCES_FROM = 64
"""Clips below which distances between distributions say nothing: they are 2 d / N of the spread too large."""
DRAWS = 2000
RELIABLE = 0.95
"""A judge that reads less of the truth itself correctly is no judge of this factor."""
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
    return isinstance(value, (int, float)) and name not in ("prompt", "sample")


def by_factor(
    arms: Mapping[str, Sequence[Record]], *, model: str, teacher: str | None
) -> dict[str, dict[str, Any]]:
    """For each factor the share of clips that show it, beside the truth's and the teacher's.

    Returns:
        {factor: {accuracy, low, high, clips, of_ground_truth, of_teacher, judge}}; `judge` is the share the
        judge reads correctly of the truth through the autoencoder, and below `RELIABLE` no share means much.
    """
    rows: dict[str, dict[str, Any]] = {}
    for factor in worlds.FACTORS:
        mine = _factor_mean(arms[model], factor)
        if mine is None:
            continue
        ceiling = _factor_mean(arms[ANCHORS["ceiling"]], factor)
        others = {
            "of_ground_truth": ceiling,
            "of_teacher": None if teacher is None else _factor_mean(arms[teacher], factor),
        }
        shares = {
            name: None if other is None or other.mean == 0 else mine.mean / other.mean
            for name, other in others.items()
        }
        rows[factor] = {
            "accuracy": mine.mean,
            "low": mine.low,
            "high": mine.high,
            "clips": mine.clips,
            "judge": None if ceiling is None else ceiling.mean,
            **shares,
        }
    return rows


def _factor_mean(records: Sequence[Record], factor: str) -> Mean | None:
    flat = [{"prompt": r["prompt"], factor: r.get("factors", {}).get(factor)} for r in records]
    return mean_of(flat, factor)


def confusion(records: Sequence[Record], truth: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What was read for what was there: {factor: {value: {word read: clips}}}.

    Args:
        records: of clips whose factors are known.
        truth: for each clip, its factors.
    """
    tables: dict[str, Any] = {
        name: {value: dict.fromkeys(values, 0) for value in values} for name, values in worlds.FACTORS.items()
    }
    for record in records:
        for name, read in record.get("read", {}).items():
            tables[name][truth[record["id"]][name]][read] += 1
    return tables


def corrected_text(arms: Mapping[str, Sequence[Record]], arm: str) -> float | None:
    """TA*: 0 is what another prompt's truth gets, 1 the truth through the autoencoder."""
    means = [mean_of(arms[name], "text") for name in (arm, ANCHORS["floor"], ANCHORS["ceiling"])]
    if any(mean is None for mean in means):
        return None
    share, floor, ceiling = (mean.mean for mean in means if mean is not None)
    return corrected(share, floor=floor, ceiling=ceiling)


def paired(first: Sequence[Record], second: Sequence[Record], metric: str) -> Difference | None:
    """The difference of two arms over the clips where both are defined; None if there is none."""
    others = {record["id"]: float(record[metric]) for record in second if record.get(metric) is not None}
    pairs = [
        (float(r[metric]), others[r["id"]]) for r in first if r.get(metric) is not None and r["id"] in others
    ]
    if not pairs:
        return None
    a, b = (np.array(side)[None, :, None] for side in zip(*pairs, strict=True))
    return difference(a, b, draws=DRAWS)


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
