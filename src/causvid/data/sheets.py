"""Contact sheets: a clip, or several, as one picture.

Rows of evenly spaced frames on a dark ground, with a line of text where the caller
gives one. Knows frames and text, nothing of files or models.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from causvid.types import Frames

_GAP = 2
_GROUND = (24, 24, 24)
_INK = (235, 235, 235)
_TEXT_SIZE = 13
_LINE = 18


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """`wanted` of `count` positions, the first and the last among them; all if there are fewer."""
    if wanted >= count:
        return list(range(count))
    return [round(i) for i in np.linspace(0, count - 1, wanted)] if wanted > 1 else [0]


def contact_sheet(
    frames: Frames, *, columns: int = 8, rows: int | None = None, scale: int = 1, label: str | None = None
) -> Image.Image:
    """All frames in reading order, or with `rows` only as many, evenly spaced, as fill those rows.

    Args:
        frames: one clip.
        columns: frames in a row.
        rows: how many rows at most; None for as many as all frames need.
        scale: whole-number enlargement.
        label: a line of text under the frames.
    """
    chosen = evenly_spaced(len(frames), columns * rows) if rows is not None else list(range(len(frames)))
    pictures = [Image.fromarray(frames[i].cpu().numpy()) for i in chosen]
    columns = min(columns, len(pictures))
    width, height = pictures[0].width * scale, pictures[0].height * scale
    grid_rows = -(-len(pictures) // columns)
    grid = Image.new("RGB", (columns * (width + _GAP) + _GAP, grid_rows * (height + _GAP) + _GAP), _GROUND)
    for i, picture in enumerate(pictures):
        corner = (_GAP + i % columns * (width + _GAP), _GAP + i // columns * (height + _GAP))
        grid.paste(picture.resize((width, height), Image.Resampling.NEAREST), corner)
    return _stack([grid] + ([_text(label, grid.width)] if label else []))


def sheet(
    clips: Sequence[UInt8[Tensor, "_ _ _ 3"]],
    *,
    columns: int = 8,
    labels: Sequence[str] | None = None,
    scale: int = 1,
) -> Image.Image:
    """A row for every clip, evenly spaced frames of it, its label below."""
    names = labels if labels is not None else [None] * len(clips)
    return _stack(
        [
            contact_sheet(clip, columns=columns, rows=1, scale=scale, label=name)
            for clip, name in zip(clips, names, strict=True)
        ]
    )


def _stack(parts: Sequence[Image.Image]) -> Image.Image:
    stacked = Image.new("RGB", (max(p.width for p in parts), sum(p.height for p in parts)), _GROUND)
    top = 0
    for part in parts:
        stacked.paste(part, (0, top))
        top += part.height
    return stacked


def _text(text: str, width: int) -> Image.Image:
    """The text, broken into as many lines as the width asks for."""
    font = ImageFont.load_default(_TEXT_SIZE)
    letters = max(8, int((width - 2 * _GAP) / font.getlength("n")))
    lines = textwrap.wrap(text, letters) or [""]
    strip = Image.new("RGB", (width, _LINE * len(lines) + _GAP), _GROUND)
    ImageDraw.Draw(strip).multiline_text((2 * _GAP, 0), "\n".join(lines), fill=_INK, font=font)
    return strip
