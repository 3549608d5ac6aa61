"""Rotary positions in time, height and width.

Adjacent pairs of a head's channels are turned by angles proportional to a token's
frame number, row and column, so that attention depends on differences only. The
angles are computed in float64 on the host for whatever frame numbers occur: there
is no table, and therefore no longest video. A pair turns along one axis only, so a few
numbers for every frame, row and column are enough; the device lays them out over the tokens.

Source: Su et al. 2021, arXiv:2104.09864; the split over three axes is Wan 2.1's.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from causvid.nn.transfer import to_device
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
    third, count = head // 6, len(frames)
    pairs = (head // 2 - 2 * third, third, third)
    places = torch.cat([frames.cpu(), torch.arange(height), torch.arange(width)]).double()
    speeds = [base ** (-torch.arange(n, dtype=torch.float64) / max(n, 1)) for n in pairs]
    angle = places[:, None] * torch.cat(speeds)
    turn = torch.polar(torch.ones_like(angle), angle)
    turn = to_device(
        turn.to(torch.complex128 if like.dtype == torch.float64 else torch.complex64), like.device
    )
    time, row, column = (
        part.narrow(1, sum(pairs[:axis]), pairs[axis])
        for axis, part in enumerate(turn.split((count, height, width)))
    )
    shape = (count, height, width, -1)
    laid_out = (time[:, None, None], row[None, :, None], column[None, None])
    return torch.cat([part.expand(shape) for part in laid_out], -1).flatten(0, 2)


def rotate(x: Float[Tensor, "b l n d"], by: Rotation) -> Float[Tensor, "b l n d"]:
    """Turn the channel pairs of every head. In float32 at least; returns that precision."""
    pairs = (x if x.dtype == torch.float64 else x.float()).unflatten(-1, (-1, 2))
    return torch.view_as_real(torch.view_as_complex(pairs) * by[:, None]).flatten(-2)
