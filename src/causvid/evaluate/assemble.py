"""All tables of a report, from records alone.

What needs models or clips once more (agreement with a teacher, causality) is not here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from causvid.data import worlds
from causvid.evaluate.analytic import disagreement_table
from causvid.evaluate.arms import ANCHORS
from causvid.evaluate.conditional import by_factor, continuous
from causvid.evaluate.endurance import endurance
from causvid.evaluate.protocol import Item
from causvid.evaluate.shares import (
    attributes,
    confusion,
    corrected_text,
    dropped,
    reliability,
    with_switch,
    with_text,
)
from causvid.evaluate.summary import Record, distances, paired, summary, survival
from causvid.evaluate.trajectories import with_jumps
from causvid.evaluate.variety import SAMPLES, variety


def report_of(
    records: Mapping[str, Sequence[Record]],
    *,
    items: Sequence[Item],
    models: Sequence[str],
    checks: Sequence[Record],
    chunk: int,
) -> dict[str, Any]:
    """The tables.

    Args:
        records: of every arm. The truth and the truth through the autoencoder are among them.
        items: what was asked.
        models: which arms are models: first the one the report is about, then its teacher if there is one.
        checks: what the judge of words read of the truth, with `labels`.
        chunk: pixel frames of the model's chunks.
    """
    model, teacher = models[0], models[1] if len(models) > 1 else None
    judge = reliability(checks)
    without = dropped(judge)
    steady = {
        arm: with_text([r for r in rows if "switch" not in r], without) for arm, rows in records.items()
    }
    changing = {
        arm: with_switch([r for r in rows if "switch" in r], without, chunk=chunk, fps=worlds.FPS)
        for arm, rows in records.items()
    }
    ceiling, truth = steady[ANCHORS["ceiling"]], steady[ANCHORS["truth"]]
    steady = {arm: with_jumps(rows, ceiling) for arm, rows in steady.items()}
    excess = {arm: paired(rows, ceiling, "second_differences") for arm, rows in steady.items()}
    return {
        "arms": {arm: summary(rows) for arm, rows in steady.items()},
        "attributes": attributes(steady, model=model, teacher=teacher, judge=judge),
        "judge": {
            "clips": len(checks),
            "reads": judge,
            "dropped": without,
            "confusion": confusion(checks),
            "disagreements": {arm: disagreement_table(steady[arm]) for arm in (*models, ANCHORS["ceiling"])},
        },
        "text_corrected": corrected_text(steady, model),
        "endurance": endurance(steady, truth=ANCHORS["truth"]),
        "switches": {arm: summary(rows) for arm, rows in changing.items() if rows},
        "excess_flicker": {arm: None if d is None else asdict(d) for arm, d in excess.items()},
        "survival": {arm: survival(rows, truth) for arm, rows in steady.items()},
        "distances": {arm: distances(rows, truth) for arm, rows in steady.items()},
        "variety": variety(steady, truth=ANCHORS["truth"], teacher=teacher),
        "open": _open(steady, items) if len(truth) >= SAMPLES * len({r["prompt"] for r in truth}) else {},
    }


def _open(steady: Mapping[str, Sequence[Record]], items: Sequence[Item]) -> dict[str, Any]:
    """What prompts leave open, where there are several clips of each."""
    asked = {item.identity: item for item in items}
    return {
        arm: {"factors": by_factor(rows, asked), "numbers": continuous(rows)} for arm, rows in steady.items()
    }
