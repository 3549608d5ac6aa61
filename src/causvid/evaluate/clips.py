"""What every measurement reads: one lossless clip as numbers between 0 and 1.

Holds the few operations all metrics share. Knows nothing of models, prompts or files.
"""

from typing import TypeAlias

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from causvid.errors import UserError
from causvid.pixels import LUMA
from causvid.types import Frames

Clip: TypeAlias = Float[Tensor, "t 3 H W"]
"""Pixels from 0 to 1."""
Curve: TypeAlias = Float[Tensor, " t"]
"""One number a frame, or a window."""


def as_clip(frames: Frames) -> Clip:
    """Pictures of 0 to 255 as a clip."""
    return rearrange(frames, "t H W c -> t c H W").float() / 255


def as_frames(clip: Clip) -> Frames:
    """The inverse, rounded to the nearest whole value."""
    whole = (clip * 255).round().clamp(0, 255).to(torch.uint8)
    return rearrange(whole, "t c H W -> t H W c").contiguous()


def luma(clip: Float[Tensor, "*n 3 H W"]) -> Float[Tensor, "*n H W"]:
    """Brightness: a weighted sum of red, green and blue."""
    return torch.einsum("...chw,c->...hw", clip, torch.tensor(LUMA, device=clip.device))


def box_blur(pictures: Float[Tensor, "n c H W"], size: int) -> Float[Tensor, "n c H W"]:
    """The mean over size x size pixels; at the border over those there are."""
    return F.avg_pool2d(pictures, size, stride=1, padding=size // 2, count_include_pad=False)


def at_least(clip: Clip, frames: int, *, metric: str) -> Clip:
    """The clip itself.

    Raises:
        UserError: it is too short for a measurement.
    """
    if len(clip) < frames:
        raise UserError(f"{metric} needs clips of at least {frames} frames; this one has {len(clip)}.")
    return clip
