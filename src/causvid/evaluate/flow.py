"""Optical flow by exhaustive block matching: slow, exact for small motions, and without weights.

Every pixel's 5x5 neighbourhood of luma is compared with all neighbourhoods up to `radius`
pixels away; the cheapest wins, a parabola through its neighbours' costs gives the
fraction of a pixel, and the fraction is kept only where it fits better than none. That a learned
flow would be smoother does not matter here: errors are the same for every model measured.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from causvid.errors import UserError
from causvid.evaluate.clips import box_blur

Luma = Float[Tensor, "n H W"]
Flow = Float[Tensor, "n 2 H W"]
"""Where each pixel's content is in the other picture: steps across, then down, in pixels."""
Costs = Float[Tensor, "n d H W"]
"""Of every displacement, row by row."""

WINDOW = 5
STILL_COST = 2e-5
"""Price of a squared pixel of displacement, in squared luma over the window: what shows nothing stays."""
CONSISTENT = 1.0
"""Pixels by which forward and backward flow of what is visible in both may disagree."""
PAIRS_AT_ONCE = 4


def flow_both_ways(first: Luma, second: Luma, *, radius: int) -> tuple[Flow, Flow]:
    """Flow from the first pictures to the second, and back.

    Args:
        first, second: pairs of pictures.
        radius: the largest displacement looked for, in pixels; 6 to 8 for neighbours at 64x64.

    Raises:
        UserError: the radius is below 1.
    """
    if radius < 1:
        raise UserError(f"the radius of a flow is {radius}; it must be at least 1 pixel.")
    parts = zip(first.split(PAIRS_AT_ONCE), second.split(PAIRS_AT_ONCE), strict=True)
    flows = [_match(a, b, radius=radius) for a, b in parts]
    forward, backward = zip(*flows, strict=True)
    return torch.cat(forward), torch.cat(backward)


def warp(pictures: Float[Tensor, "n c H W"], flow: Flow) -> Float[Tensor, "n c H W"]:
    """At every pixel what the pictures show where the flow points; bilinear, the border continued."""
    height, width = pictures.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    across = (columns + flow[:, 0]) * (2 / max(1, width - 1)) - 1
    down = (rows + flow[:, 1]) * (2 / max(1, height - 1)) - 1
    grid = torch.stack([across, down], dim=-1)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=True)


def visible(flow: Flow, back: Flow) -> Bool[Tensor, "n H W"]:
    """Whether following the flow and then its counterpart leads back: |F(p) + B(p + F(p))| < 1 px.

    Source: the forward-backward check of Sundaram et al. 2010, "Dense point trajectories".
    """
    return (flow + warp(back, flow)).norm(dim=1) < CONSISTENT


def _match(first: Luma, second: Luma, *, radius: int) -> tuple[Flow, Flow]:
    there, back = _costs(first, second, radius=radius)
    return _cheapest(first, second, there), _cheapest(second, first, back)


def _cheapest(first: Luma, second: Luma, costs: Costs) -> Flow:
    best, side = costs.argmin(dim=1), math.isqrt(costs.shape[1])
    whole = torch.stack([best % side - side // 2, best // side - side // 2], dim=1).float()
    fraction = torch.stack([_vertex(costs, best, step=step, side=side) for step in (1, side)], dim=1)
    # Where the windows already agree a parabola through unequal neighbours would still point away.
    worse = _error(first, second, whole + fraction) > _error(first, second, whole)
    return whole + fraction * ~worse[:, None]


def _costs(first: Luma, second: Luma, *, radius: int) -> tuple[Costs, Costs]:
    """Summed squared differences of the windows at every displacement, there and back.

    The windows of p and of p + d are compared once: it is what p pays for d, and p + d for -d.
    Beyond the border a window continues it, but no displacement leads out of the picture.
    """
    n, height, width = first.shape
    side, half = 2 * radius + 1, WINDOW // 2
    near = F.pad(first[:, None], (half,) * 4, mode="replicate")[:, 0]
    far = F.pad(second[:, None], (half + radius,) * 4, mode="replicate")[:, 0]
    there = first.new_full((n, side * side, height, width), torch.inf)
    back = there.clone()
    for number in range(side * side):
        down, across = number // side, number % side
        other = far[:, down : down + height + 2 * half, across : across + width + 2 * half]
        cost = _window_sums((near - other).square_())
        cost += STILL_COST * ((down - radius) ** 2 + (across - radius) ** 2)
        rows, shifted_rows = _overlap(down - radius, height)
        columns, shifted_columns = _overlap(across - radius, width)
        inside = cost[:, rows, columns]
        there[:, number, rows, columns] = inside
        back[:, side * side - 1 - number, shifted_rows, shifted_columns] = inside
    return there, back


def _window_sums(pictures: Luma) -> Float[Tensor, "n h w"]:
    """Sums over the windows that fit."""
    width = pictures.shape[2] - WINDOW + 1
    across: Tensor = sum((pictures[:, :, i : i + width] for i in range(1, WINDOW)), pictures[:, :, :width])
    height = pictures.shape[1] - WINDOW + 1
    return sum((across[:, i : i + height] for i in range(1, WINDOW)), across[:, :height])


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """Where positions stay inside when shifted, before and after the shift."""
    kept = slice(max(0, -shift), min(size, size - shift))
    return kept, slice(kept.start + shift, kept.stop + shift)


def _vertex(costs: Costs, best: Tensor, *, step: int, side: int) -> Tensor:
    """The minimum of the parabola through the best cost and its neighbours, in -1/2 to 1/2 pixel."""
    place = best // step % side
    inner = (place > 0) & (place < side - 1)
    before, here, after = (
        costs.gather(1, torch.where(inner, best + shift * step, best)[:, None])[:, 0] for shift in (-1, 0, 1)
    )
    bend = before - 2 * here + after
    vertex = 0.5 * (before - after) / bend.clamp(min=1e-12)
    known = inner & (bend > 0) & bend.isfinite()
    return torch.where(known, vertex.clamp(-0.5, 0.5), 0.0)


def _error(first: Luma, second: Luma, flow: Flow) -> Tensor:
    return box_blur((first[:, None] - warp(second[:, None], flow)).square(), WINDOW)[:, 0]
