"""All tables of a report, from records alone.

What needs models or clips once more (agreement with a teacher, causality) is not here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from causvid.data import worlds
from causvid.evaluate.arms import ANCHORS
from causvid.evaluate.endurance import endurance
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


def report_of(
    records: Mapping[str, Sequence[Record]], *, models: Sequence[str], checks: Sequence[Record], chunk: int
) -> dict[str, Any]:
    """The tables.

    Args:
        records: of every arm. The truth and the truth through the autoencoder are among them.
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
    excess = {arm: paired(rows, ceiling, "second_differences") for arm, rows in steady.items()}
    return {
        "arms": {arm: summary(rows) for arm, rows in steady.items()},
        "attributes": attributes(steady, model=model, teacher=teacher, judge=judge),
        "judge": {
            "clips": len(checks),
            "reads": judge,
            "dropped": without,
            "confusion": confusion(checks),
        },
        "text_corrected": corrected_text(steady, model),
        "endurance": endurance(steady, truth=ANCHORS["truth"]),
        "switches": {arm: summary(rows) for arm, rows in changing.items() if rows},
        "excess_flicker": {arm: None if d is None else asdict(d) for arm, d in excess.items()},
        "survival": {arm: survival(rows, truth) for arm, rows in steady.items()},
        "distances": {arm: distances(rows, truth) for arm, rows in steady.items()},
    }
