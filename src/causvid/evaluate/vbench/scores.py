"""From sixteen raw scores to quality, semantic and total; and the competition's three aspects.

    n = (s - low) / (high - low), unclipped        Quality = sum w n / 6.5      Semantic = mean of nine n
    Total = (4 Quality + Semantic) / 5

The competition's aspects are means of raw scores, without that scaling: a frozen frame scores 3/3.5 in
temporal quality. Upstream counts a missing dimension as 0; here it leaves the sums without a value.

Source: the public code of VBench (scripts/cal_final_score.py, competitions/), 2025.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from causvid.errors import UserError
from causvid.evaluate.vbench.dimensions import DIMENSIONS, Part

QUALITY_COUNTS = 4
SEMANTIC_COUNTS = 1

ASPECTS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "temporal_quality": {
            "subject_consistency": 1.0,
            "background_consistency": 1.0,
            "motion_smoothness": 1.0,
            "dynamic_degree": 0.5,
        },
        "frame_wise_quality": {"aesthetic_quality": 1.0, "imaging_quality": 1.0},
        "text_alignment": {"overall_consistency": 1.0, "clip_score": 1.0},
    }
)
"""The competition's aspects and what counts how much in them; tables call them TQ, FQ and TA."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All on the scale 0 to 1; None where a dimension is missing."""

    quality: float | None
    semantic: float | None
    total: float | None
    missing: tuple[str, ...]
    """Dimensions without a score."""


def scores_of(raw: Mapping[str, float]) -> Scores:
    """The three sums, each only if nothing it is made of is missing.

    Args:
        raw: by dimension, as upstream prints them, 0 to 1.

    Raises:
        UserError: an unknown dimension, or a score that is none.
    """
    for name, score in raw.items():
        check_score(name, score)
    quality, semantic = (_part(raw, part) for part in ("quality", "semantic"))
    whole = None if quality is None or semantic is None else total(quality, semantic)
    missing = tuple(name for name in DIMENSIONS if name not in raw)
    return Scores(quality=quality, semantic=semantic, total=whole, missing=missing)


def total(quality: float, semantic: float) -> float:
    """Quality counts four times as much."""
    return (QUALITY_COUNTS * quality + SEMANTIC_COUNTS * semantic) / (QUALITY_COUNTS + SEMANTIC_COUNTS)


def normalised(name: str, score: float) -> float:
    """A raw score between the dimension's empirical bounds; may leave 0 to 1."""
    row = DIMENSIONS[name]
    return (score - row.low) / (row.high - row.low)


def aspect(name: str, raw: Mapping[str, float]) -> float:
    """One of the competition's three aspects.

    Raises:
        UserError: something it is made of is missing.
    """
    weights = ASPECTS[name]
    if missing := [part for part in weights if part not in raw]:
        raise UserError(f"{name} needs {', '.join(weights)}; {', '.join(missing)} was not measured.")
    return sum(weight * raw[part] for part, weight in weights.items()) / sum(weights.values())


def check_score(name: str, score: float) -> None:
    """Raises:
    UserError: the dimension is unknown, or the score is not one of upstream's.
    """
    if name not in DIMENSIONS:
        raise UserError(f"VBench has no dimension {name!r}; accepted: {', '.join(DIMENSIONS)}.")
    if not math.isfinite(score) or not -1 <= score <= 1:
        raise UserError(f"{name} is {score:g}; upstream's scores are at most 1 (not percent) and finite.")


def _part(raw: Mapping[str, float], part: Part) -> float | None:
    rows = [row for row in DIMENSIONS.values() if row.part == part]
    if any(row.name not in raw for row in rows):
        return None
    weighted = sum(row.weight * normalised(row.name, raw[row.name]) for row in rows)
    return weighted / sum(row.weight for row in rows)
