"""How much of their prompts clips show, by factor, as far as the judge can be trusted.

The judge of words is itself measured, on clips of the truth through the autoencoder. What it misreads
there too often is dropped from every score that adds factors up, and named; its own row stays. Everything
is made of per-clip records.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from causvid.data import worlds
from causvid.evaluate.arms import ANCHORS
from causvid.evaluate.attributes import corrected
from causvid.evaluate.statistics import ratio
from causvid.evaluate.summary import DRAWS, Mean, Record, mean_of, pairs

RELIABLE = 0.95
"""A judge that reads less of the truth itself correctly is no judge of this factor."""
BY_FRAME = "kind_by_frame"


def reliability(checks: Sequence[Record]) -> dict[str, float]:
    """The share of the truth's clips in which the judge reads each factor correctly; `kind` also by frame.

    Args:
        checks: records of clips of the truth through the autoencoder, with `labels` of what they show.
    """
    found = {
        name: sum(record["read"][name] == record["labels"][name] for record in checks) / len(checks)
        for name in worlds.FACTORS
    }
    by_frame = [record[BY_FRAME] for record in checks if record[BY_FRAME] is not None]
    return found | ({BY_FRAME: sum(by_frame) / len(by_frame)} if by_frame else {})


def dropped(reliable: Mapping[str, float]) -> list[str]:
    """The factors that scores leave out."""
    return [name for name, share in reliable.items() if share < RELIABLE]


def confusion(checks: Sequence[Record]) -> dict[str, Any]:
    """What was read for what was there: {factor: {value: {word read: clips}}}."""
    tables: dict[str, Any] = {
        name: {value: dict.fromkeys(values, 0) for value in values} for name, values in worlds.FACTORS.items()
    }
    for record in checks:
        for name, read in record["read"].items():
            tables[name][record["labels"][name]][read] += 1
    return tables


def with_text(records: Sequence[Record], without: Sequence[str]) -> list[dict[str, Any]]:
    """Records of steady clips and what their factors add up to: TA, Strict, and TA at either end.

    Args:
        without: the factors that are left out. A clip whose prompt tells no other has no score.
    """
    made = []
    for record in records:
        parts = {key: _kept(record[key], without) for key in ("factors", "start", "end")}
        right, first, last = (_mean(parts[key]) for key in ("factors", "start", "end"))
        scores = {
            "text": right,
            "strict": None if right is None else float(right == 1),
            "text_start": first,
            "text_end": last,
            "text_drop": None if first is None or last is None else first - last,
        }
        made.append({**record, **scores})
    return made


def with_switch(
    records: Sequence[Record], without: Sequence[str], *, chunk: int, fps: int
) -> list[dict[str, Any]]:
    """Records of clips whose prompt changes, and what their factors add up to.

    Args:
        without: as in `with_text`.
        chunk: pixel frames of a chunk; a change should be visible within two.
    """
    made = []
    for record in records:
        parts = {key: _kept(values, without) for key, values in record["switch"].items()}
        latency = parts["latency"]
        known = [frames for frames in latency.values() if frames is not None]
        seen = bool(latency) and len(known) == len(latency)
        scores = {
            "switch_seen": float(seen) if latency else None,
            "switch_within_two_chunks": _mean(
                {name: t is not None and t < 2 * chunk for name, t in latency.items()}
            ),
            "switch_latency_frames": float(max(known)) if seen else None,
            "switch_latency_seconds": max(known) / fps if seen else None,
            "switch_new": _mean(parts["new"]),
            "switch_kept": _mean(parts["kept"]),
            "switch_retained": _mean(parts["retained"]),
        }
        made.append({**record, **scores})
    return made


def attributes(
    arms: Mapping[str, Sequence[Record]], *, model: str, teacher: str | None, judge: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """For each factor the share of clips that show it, beside the truth's and the teacher's.

    Args:
        arms: records of clips whose prompt stays the same.
        judge: the share the judge reads correctly of the truth, from `reliability`.

    Returns:
        {factor: {accuracy, low, high, clips, of_ground_truth, of_ground_truth_interval, of_teacher,
        of_teacher_interval, judge, dropped}}. Shares are of the same clips of the truth *through the
        autoencoder*, or of the teacher's; `kind_by_frame` is the kind, frame by frame.
    """
    rows: dict[str, dict[str, Any]] = {}
    flat = {arm: _flat(records) for arm, records in arms.items()}
    for factor in (*worlds.FACTORS, BY_FRAME):
        mine = mean_of(flat[model], factor)
        if mine is None:
            continue
        rows[factor] = {
            "accuracy": mine.mean,
            "low": mine.low,
            "high": mine.high,
            "clips": mine.clips,
            **_share_of(flat[model], flat.get(ANCHORS["ceiling"]), factor, name="of_ground_truth"),
            **_share_of(flat[model], flat.get(teacher or ""), factor, name="of_teacher"),
            "judge": judge.get(factor),
            "dropped": judge.get(factor, 1.0) < RELIABLE,
        }
    return rows


def corrected_text(arms: Mapping[str, Sequence[Record]], arm: str) -> float | None:
    """TA*: 0 is what another prompt's truth gets, 1 the truth through the autoencoder."""
    means = [mean_of(arms.get(name, ()), "text") for name in (arm, ANCHORS["floor"], ANCHORS["ceiling"])]
    if any(mean is None for mean in means):
        return None
    share, floor, ceiling = (mean.mean for mean in means if mean is not None)
    return corrected(share, floor=floor, ceiling=ceiling)


def factor_mean(records: Sequence[Record], factor: str, *, part: str = "factors") -> Mean | None:
    """The share of clips that show a factor: in all of the clip, at its `start` or at its `end`."""
    return mean_of(_flat(records, part=part), factor)


def _flat(records: Sequence[Record], *, part: str = "factors") -> list[dict[str, Any]]:
    return [
        {"id": r["id"], "prompt": r["prompt"], BY_FRAME: r.get(BY_FRAME), **r.get(part, {})} for r in records
    ]


def _share_of(
    mine: Sequence[Record], others: Sequence[Record] | None, factor: str, *, name: str
) -> dict[str, Any]:
    """mean(mine) / mean(others) over the same clips, and where 95 % of its resampled values lie."""
    both = None if others is None else pairs(mine, others, factor)
    if both is None or both[1].mean() == 0:
        return {name: None, f"{name}_interval": None}
    found = ratio(*both, draws=DRAWS)
    return {name: found.mean, f"{name}_interval": [found.low, found.high]}


def _kept(values: Mapping[str, Any], without: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in without}


def _mean(values: Mapping[str, bool]) -> float | None:
    return sum(values.values()) / len(values) if values else None
