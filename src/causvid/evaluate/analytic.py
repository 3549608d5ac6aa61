"""What can be read without a network, because the domain is known exactly; to be held against the judge.

Every sky over every ground is one still picture, so the background of a frame is the one of sixteen that
most of its pixels agree with, and the object is what differs from it. Colours are the palette's. Where too
little of the object stands out (white on snow) its colour is undecided, and undecided is no disagreement.

Blind to weather (its marks are small pieces that are left out) and to everything where a background is not
one of the sixteen: then most of the frame stands out, and nothing is decided.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from causvid.data import worlds
from causvid.data.worlds.backdrop import backdrops
from causvid.data.worlds.draw import INK
from causvid.data.worlds.render import COLOURS
from causvid.evaluate.clips import Clip

FAR = 0.15
"""A pixel that differs by more in one of its colours is no background."""
PIECE = 0.015
"""Squared heights of the smallest piece that can be an object: a flake has .010, the least triangle .026."""
MOST = 0.6
"""If more of a frame stands out, its background is unknown."""
COLOURED = 0.25
"""The share of the object's pixels that must show a colour of the palette rather than its outline."""
EVERY = 6
"""Frames from one that is looked at to the next."""


@dataclass(frozen=True)
class Seen:
    """What one clip shows, in some of its frames."""

    sky: str | None
    ground: str | None
    colour: str | None
    present: float
    """The share of frames with an object in them."""
    objects: float
    """Pieces as large as an object, on average."""
    centre: Float[Tensor, "n 2"]
    """Of the largest piece, in heights; nan where there is none."""
    frames: Int[Tensor, " n"]
    """Which frames were looked at."""


def look(clip: Clip) -> Seen:
    """One clip whose prompt does not change."""
    numbers = torch.arange(0, len(clip), EVERY)
    frames = clip[numbers]
    known = torch.from_numpy((backdrops((frames.shape[2], frames.shape[3])) + 1) / 2)
    best = _background(frames, known)
    differ = (frames - known[best]).abs().amax(dim=1) > FAR
    decided = differ.float().mean(dim=(1, 2)) < MOST
    label, count = pieces(differ & decided[:, None, None], least=PIECE * frames.shape[2] ** 2)
    sky, ground = _most(best // len(worlds.FACTORS["ground"])), _most(best % len(worlds.FACTORS["ground"]))
    sure = bool(decided.any())
    return Seen(
        sky=worlds.FACTORS["sky"][sky] if sure else None,
        ground=worlds.FACTORS["ground"][ground] if sure else None,
        colour=_colour(frames, label),
        present=float((count > 0).float().mean()),
        objects=float(count.float().mean()),
        centre=_centres(label),
        frames=numbers,
    )


def without_network(clip: Clip, path: Float[Tensor, "t 3"]) -> dict[str, Any]:
    """What a record says: the words read without the judge, and how far its tracker is from the object."""
    seen = look(clip)
    gap = (seen.centre - path[seen.frames, :2]).norm(dim=1)
    gap = gap[~gap.isnan()]
    words = {"sky": seen.sky, "ground": seen.ground, "colour": seen.colour}
    return {
        "present": seen.present,
        "objects": seen.objects,
        "tracker_gap": float(gap.mean()) if len(gap) else None,
        "analytic": {name: word for name, word in words.items() if word is not None},
    }


def pieces(mask: Bool[Tensor, "n H W"], *, least: float) -> tuple[Bool[Tensor, "n H W"], Int[Tensor, " n"]]:
    """Connected pieces of at least so many pixels.

    Returns:
        the largest piece of every frame, and how many there are.
    """
    n, height, width = mask.shape
    names = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, height, width) * mask
    while True:
        # Every pixel takes the largest name round it, until no name moves.
        grown = F.max_pool2d(names[:, None], 3, stride=1, padding=1)[:, 0] * mask
        if torch.equal(grown, names):
            break
        names = grown
    sizes = torch.zeros(n, height * width + 1).scatter_add_(
        1, names.flatten(1).long(), torch.ones(n, height * width)
    )
    sizes[:, 0] = 0
    largest = sizes.argmax(dim=1)
    there = sizes.amax(dim=1) >= least
    return (names == largest[:, None, None]) & mask & there[:, None, None], (sizes >= least).sum(dim=1)


def _background(frames: Float[Tensor, "n 3 H W"], known: Float[Tensor, "k 3 H W"]) -> Int[Tensor, " n"]:
    """The picture most pixels agree with: distances count no further than `FAR`."""
    each = [(frames - picture).abs().amax(dim=1).clamp(max=FAR).mean(dim=(1, 2)) for picture in known]
    return torch.stack(each, dim=1).argmin(dim=1)


def _colour(frames: Float[Tensor, "n 3 H W"], largest: Bool[Tensor, "n H W"]) -> str | None:
    """The palette's colour that most pixels of the object are nearest to; None if few are near any."""
    pixels = frames.permute(0, 2, 3, 1)[largest]
    if not len(pixels):
        return None
    palette = torch.tensor([*COLOURS.values(), (INK, INK, INK)])
    nearest = torch.cdist(pixels, palette).argmin(dim=1)
    counts = torch.bincount(nearest, minlength=len(palette))[:-1]
    return list(COLOURS)[int(counts.argmax())] if int(counts.max()) >= COLOURED * len(pixels) else None


def _centres(largest: Bool[Tensor, "n H W"]) -> Float[Tensor, "n 2"]:
    height = largest.shape[1]
    down, across = ((torch.arange(k) + 0.5) / height for k in largest.shape[1:])
    weight = largest.float()
    mass = weight.sum(dim=(1, 2))
    middle = torch.stack([(weight * across).sum(dim=(1, 2)), (weight * down[:, None]).sum(dim=(1, 2))], dim=1)
    return torch.where(mass[:, None] > 0, middle / mass[:, None].clamp(min=1), math.nan)


def _most(numbers: Int[Tensor, " n"]) -> int:
    return int(torch.bincount(numbers).argmax())


def disagreement_table(records: Sequence[Any], *, shown: int = 20) -> dict[str, Any]:
    """How often the judge and the analysis read different words, by factor, and where.

    Args:
        records: of one arm's steady clips.
        shown: cases that are listed.
    """
    checked = dict.fromkeys(("sky", "ground", "colour"), 0)
    wrong: dict[str, int] = {}
    cases = []
    for record in records:
        for factor, word in record.get("analytic", {}).items():
            checked[factor] += 1
            if word != record["read"][factor]:
                wrong[factor] = wrong.get(factor, 0) + 1
                cases.append(
                    {"id": record["id"], "factor": factor, "judge": record["read"][factor], "analysis": word}
                )
    return {"checked": checked, "disagree": wrong, "cases": cases[:shown]}
