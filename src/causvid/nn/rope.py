"""Rotary positions in time, height and width.

Adjacent pairs of a head's channels are turned by angles proportional to a token's
frame number, row and column, so that attention depends on differences only. The
angles are computed in float64 on the host for whatever frame numbers occur: there
is no table, and therefore no longest video.

Source: Su et al. 2021, arXiv:2104.09864; the split over three axes is Wan 2.1's.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from causvid.types import FrameIndex

Rotation = Complex[Tensor, "l half"]
"""One unit complex number per token and channel pair."""


def rotation(
    frames: FrameIndex, height: int, width: int, *, head: int, base: float, like: Float[Tensor, "..."]
) -> Rotation:
    """The rotation of every token of these frames, in frame, row, column order.

    Args:
        frames: absolute frame numbers; any integers, repeats allowed.
        height, width: tokens per column and per row of a frame.
        head: channels per attention head. Time takes what a third each leaves for height and width.
        base: the slowest pair turns by almost 1/base per step.
        like: gives the device, and the precision: complex128 for float64, else complex64.
    """
    third = head // 6
    axes = (
        (frames.cpu()[:, None, None], head // 2 - 2 * third),
        (torch.arange(height)[None, :, None], third),
        (torch.arange(width)[None, None, :], third),
    )
    angles = []
    for position, pairs in axes:
        speed = base ** (-torch.arange(pairs, dtype=torch.float64) / max(pairs, 1))
        angles.append((position.double()[..., None] * speed).expand(len(frames), height, width, pairs))
    angle = torch.cat(angles, -1).flatten(0, 2)
    turned = torch.polar(torch.ones_like(angle), angle)
    return turned.to(like.device, torch.complex128 if like.dtype == torch.float64 else torch.complex64)


def rotate(x: Float[Tensor, "b l n d"], by: Rotation) -> Float[Tensor, "b l n d"]:
    """Turn the channel pairs of every head. In float32 at least; returns that precision."""
    pairs = (x if x.dtype == torch.float64 else x.float()).unflatten(-1, (-1, 2))
    return torch.view_as_real(torch.view_as_complex(pairs) * by[:, None]).flatten(-2)
