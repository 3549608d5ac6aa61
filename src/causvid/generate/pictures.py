"""Clips that somebody gives to a stream, checked against what it makes."""

from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from causvid.errors import UserError
from causvid.types import Frames

Clip: TypeAlias = UInt8[Tensor, "t H W 3"] | UInt8[np.ndarray, "t H W 3"]
"""0 to 255, of the video's size."""


def check_clip(clip: Any, size: tuple[int, int], *, least: int) -> Frames:
    """A copy of the clip, a tensor or anything numpy reads, as a tensor on the CPU.

    Args:
        least: frames it must have.

    Raises:
        UserError: its shape or its type of numbers is another, its size is not that of the video, or
            it is too short.
    """
    frames = clip.clone() if isinstance(clip, Tensor) else torch.from_numpy(np.array(clip))
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        kind = str(frames.dtype).removeprefix("torch.")
        raise UserError(
            f"the clip has the shape {tuple(frames.shape)} and numbers of type {kind}; "
            "it must be frames x height x width x 3 in uint8, 0 to 255."
        )
    have, want = ("x".join(map(str, size)) for size in (frames.shape[1:3], size))
    if have != want:
        raise UserError(f"the clip is {have} (height x width) and the video {want}; crop and scale it first.")
    if len(frames) < least:
        raise UserError(f"the clip has {len(frames)} frames; give at least {least}.")
    return frames.cpu()
