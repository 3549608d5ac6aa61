"""What clips lose by their end, against the truth, which loses nothing.

Slopes are of curves second by second (`looks.drift`), in percent of the mean a second; their difference
to the truth's is taken prompt by prompt, because a slow motion or a shower has a slope of its own.
What is seen of a prompt in the last seconds is set against the first. Everything is made of records.

Blind to seams, and to a clip that is bad from its first frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from causvid.data import worlds
from causvid.evaluate.shares import factor_mean
from causvid.evaluate.statistics import ratio
from causvid.evaluate.summary import DRAWS, Record, mean_of, paired, pairs

CURVES = ("quality", "sharpness", "saturation", "contrast")


def endurance(arms: Mapping[str, Sequence[Record]], *, truth: str) -> dict[str, dict[str, Any]]:
    """For every arm its slopes, and how much of its prompt the end still shows.

    Args:
        arms: records of steady clips, with what their factors add up to.
        truth: the arm that others are set against.

    Returns:
        {arm: {slopes: {curve: {mean, low, high, less_truth, less_truth_low, less_truth_high}},
        text_last_over_first: {mean, low, high} or None, factors_last_over_first: {factor: share}}}.
    """
    return {
        arm: {
            "slopes": {name: _slope(records, arms[truth], name) for name in CURVES},
            "text_last_over_first": last_over_first(records),
            "factors_last_over_first": _by_factor(records),
        }
        for arm, records in arms.items()
    }


def last_over_first(records: Sequence[Record]) -> dict[str, float] | None:
    """mean TA of the last seconds over mean TA of the first; None where nothing was shown at first."""
    last, first = (
        [{"id": r["id"], "prompt": r["prompt"], "text": r[key]} for r in records]
        for key in ("text_end", "text_start")
    )
    both = pairs(last, first, "text")
    return None if both is None or both[1].mean() == 0 else asdict(ratio(*both, draws=DRAWS))


def _slope(records: Sequence[Record], truth: Sequence[Record], name: str) -> dict[str, Any]:
    own, less = mean_of(records, f"{name}_drift"), paired(records, truth, f"{name}_drift")
    found: dict[str, Any] = dict.fromkeys(("mean", "low", "high"))
    if own is not None:
        found = {"mean": own.mean, "low": own.low, "high": own.high}
    difference = asdict(less.estimate) if less else dict.fromkeys(("mean", "low", "high"))
    return found | {
        "less_truth": difference["mean"],
        "less_truth_low": difference["low"],
        "less_truth_high": difference["high"],
    }


def _by_factor(records: Sequence[Record]) -> dict[str, float | None]:
    found = {}
    for name in worlds.FACTORS:
        first, last = (factor_mean(records, name, part=part) for part in ("start", "end"))
        if first is not None and last is not None:
            found[name] = last.mean / first.mean if first.mean else None
    return found
