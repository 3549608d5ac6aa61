"""How different the clips of one prompt are, against the truth's and the teacher's.

Vendi and distances are of the clips of one prompt, and then averaged; the bandwidth is the truth's for all
arms. Recall is over all prompts together: the share of the truth's (or the teacher's) clips that lie within
what the model makes, in the 16 directions in which the truth varies most. From a few hundred clips recall of
a perfect model is far from 1: the row of another arm of the truth says what to expect.

Blind to fidelity: noise is various.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.evaluate.distribution import NEIGHBOURS, Projection, coverage, mean_pairwise_distance, vendi
from causvid.evaluate.summary import Record

SAMPLES = 4
"""Clips of one prompt below which nothing is said about their variety."""
DIMENSIONS = 16


def variety(
    arms: Mapping[str, Sequence[Record]], *, truth: str, teacher: str | None
) -> dict[str, dict[str, Any]]:
    """{arm: {vendi, pairwise_distance, recall_of_truth, recall_of_teacher, vendi_of_teacher, clips}}.

    Empty where prompts have fewer than `SAMPLES` clips; None where there is no teacher or too few clips.
    """
    groups = {arm: _by_prompt(records) for arm, records in arms.items()}
    if not groups[truth] or min(map(len, groups[truth])) < SAMPLES:
        return {}
    bandwidth = float(torch.cat([torch.pdist(x).square() for x in groups[truth]]).median())
    projection = Projection.of(torch.cat(groups[truth]), dimensions=DIMENSIONS)
    found: dict[str, dict[str, Any]] = {}
    for arm, group in groups.items():
        found[arm] = {
            "vendi": sum(vendi(x, bandwidth=bandwidth) for x in group) / len(group),
            "pairwise_distance": sum(map(mean_pairwise_distance, group)) / len(group),
            "recall_of_truth": _recall(group, groups[truth], projection),
            "recall_of_teacher": None if teacher is None else _recall(group, groups[teacher], projection),
            "clips": sum(map(len, group)),
        }
    for row in found.values():
        row["vendi_of_teacher"] = None if teacher is None else row["vendi"] / found[teacher]["vendi"]
    return found


def _by_prompt(records: Sequence[Record]) -> list[Float[Tensor, "n d"]]:
    prompts: dict[int, list[list[float]]] = {}
    for record in records:
        prompts.setdefault(record["prompt"], []).append(record["embedding"])
    return [torch.tensor(rows, dtype=torch.float64) for rows in prompts.values()]


def _recall(mine: Sequence[Tensor], real: Sequence[Tensor], projection: Projection) -> float | None:
    """The share of the real that lies within the made; None of a set with itself, which says nothing."""
    a, b = torch.cat(list(mine)), torch.cat(list(real))
    if min(len(a), len(b)) <= NEIGHBOURS or torch.equal(a, b):
        return None
    return coverage(projection(a), projection(b)).recall
