"""What the embedded model is meant to reach, and whether it does.

A target is a number of the report and the least it may be. What the judge cannot read, or the suite did not
ask for, is neither reached nor missed. Reaching a target in a suite that guided tuning proves nothing: the
numbers that count are those of the judge that is kept for tables.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

OF_TRUTH = MappingProxyType(
    {
        "sky": 0.97,
        "ground": 0.97,
        "colour": 0.97,
        "weather": 0.93,
        "kind": 0.93,
        "motion": 0.93,
        "kind_by_frame": 0.85,
    }
)
"""Accuracy as a share of the truth's through the autoencoder."""
OF_TEACHER = 0.95
"""The same as a share of the teacher's."""
LAST_OVER_FIRST = 0.9
"""Of the text that the first seconds show, the last must show so much."""
LONG_SECONDS = 30
"""Clips from which slopes and ends are judged."""
SLOPE = -0.2
"""Percent a second that quality may fall by more than the truth's."""
SWITCHED = 0.9
"""Of changes visible within two chunks, and of what was to be kept."""


@dataclass(frozen=True)
class Target:
    what: str
    value: float | None
    """None: not measured."""
    least: float

    @property
    def reached(self) -> bool | None:
        return None if self.value is None else self.value >= self.least


def targets(report: Mapping[str, Any], *, model: str) -> list[dict[str, Any]]:
    """[{what, value, least, reached}] for the model's rows of a report."""
    return [{**asdict(target), "reached": target.reached} for target in _targets(report, model)]


def _targets(report: Mapping[str, Any], model: str) -> Iterator[Target]:
    for factor, least in OF_TRUTH.items():
        row = report["attributes"].get(factor, {})
        known = row if not row.get("dropped") else {}
        yield Target(f"{factor}, of the truth's", known.get("of_ground_truth"), least)
        if known.get("of_teacher") is not None:
            yield Target(f"{factor}, of the teacher's", known["of_teacher"], OF_TEACHER)
    if report["suite"]["seconds"] >= LONG_SECONDS:
        end = report["endurance"][model]
        slope, text = end["slopes"]["quality"]["less_truth"], end["text_last_over_first"]
        yield Target("quality's slope less the truth's, %/s", slope, SLOPE)
        share = None if text is None else text["mean"]
        yield Target("text, last five seconds over the first", share, LAST_OVER_FIRST)
    changes = report["switches"].get(model)
    if changes is not None:
        for name, what in (
            ("switch_within_two_chunks", "changes seen within two chunks"),
            ("switch_kept", "unmentioned kept through a change"),
        ):
            yield Target(what, changes.get(name, {}).get("mean"), SWITCHED)
