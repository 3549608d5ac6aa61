"""The paper's three scores, in shape, of what judges see in a clip.

    TQ = (SC + BC + MS + 0.5 motion) / 3.5      SC, BC: the object's and the background's consistency
    FQ = (quality + realism) / 2                MS: smoothness; motion: the motion ratio's score
    TA = share of the mentioned factors that are shown

The paper's are means of VBench's dimensions (its competition's code); these have their form and none of
their networks. A frozen clip gets 3 / 3.5 of TQ but for its motion. The paper's TA has a second half, a
cosine of two encoders, which does not exist here. Motion is defined only where the prompt tells one, and so
is TQ.

Source of SC and BC: VBench, arXiv:2311.17982, with the judges' embedding of windows for its image features.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from causvid.evaluate.clips import Clip, as_clip, as_frames
from causvid.evaluate.distribution import NEIGHBOURS
from causvid.evaluate.scoring import MASK_MARGIN, away_from_object
from causvid.evaluate.verifiers import Judges, Reading
from causvid.types import Frames

Record = Mapping[str, Any]
SCORES = ("TQ", "FQ", "TA")
COMPONENTS = {
    "subject": "subject consistency",
    "background": "background consistency",
    "smoothness": "smoothness",
    "motion_score": "motion",
    "quality": "quality",
    "realism": "realism",
    "text": "text",
}
"""Of the three scores, with the words of the table."""
MOTION_WEIGHT = 0.5


def consistency(frames: Frames, reading: Reading, judges: Judges) -> dict[str, float]:
    """How much object and background stay themselves, as the judges' embedding sees them apart.

    Returns:
        {subject, background}: of the object's surroundings cut out around its tracked centre, and of the clip
        with the object painted over.
    """
    clip = as_clip(frames)
    return {
        "subject": steadiness(judges.embed(as_frames(around_object(clip, reading)))),
        "background": steadiness(judges.embed(as_frames(without_object(clip, reading)))),
    }


def steadiness(features: Float[Tensor, "w d"]) -> float:
    """The mean over t > 0 of (max(0, cos(f_t, f_t-1)) + max(0, cos(f_t, f_0))) / 2; 1 for a single window."""
    if len(features) < 2:
        return 1.0
    before = F.cosine_similarity(features[1:], features[:-1], dim=1).clamp(min=0)
    first = F.cosine_similarity(features[1:], features[:1], dim=1).clamp(min=0)
    return float((before + first).mean() / 2)


def around_object(clip: Clip, reading: Reading) -> Clip:
    """The square of `MASK_MARGIN` tracked radii around the tracked centre, at the clip's own size."""
    height, width = clip.shape[-2:]
    x, y, radius = (reading.path[:, i] for i in range(3))
    reach = MASK_MARGIN * radius.clamp(min=1 / height)
    # affine_grid counts from -1 to 1 over the picture; the path counts in heights.
    zeros = torch.zeros_like(x)
    rows = [
        torch.stack([2 * reach * height / width, zeros, 2 * x * height / width - 1], dim=1),
        torch.stack([zeros, 2 * reach, 2 * y - 1], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(clip.shape), align_corners=False)
    return F.grid_sample(clip, grid, padding_mode="border", align_corners=False)


def without_object(clip: Clip, reading: Reading) -> Clip:
    """The clip with the object's circle in the mean colour of what is around it."""
    outside = away_from_object(reading, clip)[:, None].to(clip)
    count = outside.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    mean = (clip * outside).sum(dim=(2, 3), keepdim=True) / count
    return clip * outside + mean * (1 - outside)


def realism(
    records: Sequence[Record], truth: Sequence[Record], *, neighbours: int = NEIGHBOURS
) -> list[float]:
    """For each clip the share of the truth's clips that stand further from their k-th neighbour in the truth.

    A half is as usual as the truth itself, 0 further out than any clip of it. A clip of the truth does not
    count as its own neighbour.
    """
    real = torch.tensor([record["embedding"] for record in truth], dtype=torch.float64)
    mine = torch.tensor([record["embedding"] for record in records], dtype=torch.float64)
    k = min(neighbours, max(1, len(real) - 1))
    usual = _kth(real, real, k)
    reach = _kth(mine, real, k)
    return [float((usual >= distance).double().mean()) for distance in reach]


def _kth(points: Float[Tensor, "n d"], real: Float[Tensor, "m d"], k: int) -> Float[Tensor, " n"]:
    distance = torch.cdist(points, real)
    distance = torch.where(rearrange(points, "n d -> n 1 d").eq(real).all(-1), torch.inf, distance)
    return distance.sort(dim=1).values[:, min(k, len(real)) - 1]


def with_scores(records: Sequence[Record], truth: Sequence[Record]) -> list[dict[str, Any]]:
    """The records with realism and the three scores, in points; None where one is not defined.

    Args:
        records: with `text`, see `shares.with_text`.
        truth: records of the truth through the autoencoder, for realism.
    """
    made = []
    for record, usual in zip(records, realism(records, truth), strict=True):
        whole = {**record, "realism": usual}
        made.append(
            {**whole, "TQ": _tq(whole), "FQ": 50 * (whole["quality"] + usual), "TA": _points(whole["text"])}
        )
    return made


def _tq(record: Record) -> float | None:
    if record["motion_score"] is None:
        return None
    still = record["subject"] + record["background"] + record["smoothness"]
    return 100 * (still + MOTION_WEIGHT * record["motion_score"]) / (3 + MOTION_WEIGHT)


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share
