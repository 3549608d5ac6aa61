"""The one place where model values become pictures and pictures model values.

A model sees pixels in [-1, 1], channels first; files, pages and people see 0 to
255, channels last. The rounding between them lives here, so that the same video
gives the same bytes wherever it is shown. Knows nothing of files or models.
"""

import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from causvid.types import Video

LUMA = (0.299, 0.587, 0.114)
"""How much red, green and blue count in brightness. Source: ITU-R BT.601."""


def to_uint8(video: Video) -> UInt8[Tensor, "b t H W 3"]:
    """Pictures of 0 to 255: clamped, then rounded to the nearest whole value."""
    values = video.detach().float().add(1).mul_(127.5).round_().clamp_(0, 255)
    return rearrange(values.to(torch.uint8), "b t c H W -> b t H W c").contiguous()


def from_uint8(frames: UInt8[Tensor, "b t H W 3"]) -> Video:
    """Pixels in [-1, 1]; `to_uint8` of them gives `frames` back exactly."""
    return rearrange(frames, "b t H W c -> b t c H W").float().div(127.5).sub_(1).contiguous()
