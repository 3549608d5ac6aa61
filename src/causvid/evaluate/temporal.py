"""Is it steady, is it smooth, does it move, and can one see where chunks meet?

All formulas are for pixels x from 0 to 1. A frozen or blurred clip wins most of them,
so none is shown without sharpness and motion beside it.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from causvid.evaluate.clips import Clip, Curve, at_least, luma
from causvid.evaluate.flow import flow_both_ways, visible, warp

TOP_SHARE = 0.05
DYNAMIC_PIXELS = 6 / 256
"""Of the shorter side. Source: VBench's dynamic degree."""
DYNAMIC_FPS = 8
"""Frames a second the rule above is about."""


def flicker(clip: Clip) -> float:
    """1 - mean |x_{t+1} - x_t|. Rewards stillness and blur.

    Source: VBench's temporal flickering, arXiv:2311.17982, without its static filter.
    """
    return 1 - float(at_least(clip, 2, metric="flicker").diff(dim=0).abs().mean())


def second_difference_power(clip: Clip, static: Bool[Tensor, "t H W"]) -> float:
    """E[(x_{t+1} - 2 x_t + x_{t-1})^2] / 4 over the pixels where nothing moves; nan where there are none.

    What is left after the same of the autoencoded truth is taken away is *excess flicker*.
    A fourth: independent noise of variance v gives 6v / 4.

    Args:
        static: pixels that neither the object nor the weather touches; all three frames count.
    """
    at_least(clip, 3, metric="excess flicker")
    still = (static[2:] & static[1:-1] & static[:-2])[:, None]
    if not still.any():
        return math.nan
    bend = clip.diff(n=2, dim=0).square() / 4
    return float((bend * still).sum() / (3 * still.sum()))


@dataclass(frozen=True)
class Smoothness:
    warped: float
    """Predicted along the flow."""
    plain: float
    """Predicted without flow, for comparison: what a cross-fade would score."""


def smoothness(clip: Clip, *, radius: int, every: int = 1) -> Smoothness:
    """1 - mean over odd t of |x_t - I(x_{t-1}, x_{t+1})|, I being both neighbours half-way along their flow.

    Args:
        radius: of the flow over two frames, in pixels.
        every: use one in so many odd frames.

    Source: VBench's motion smoothness, arXiv:2311.17982, with block matching for its network.
    """
    middle = torch.arange(1, len(at_least(clip, 3, metric="smoothness")) - 1, 2, device=clip.device)[::every]
    before, after = clip[middle - 1], clip[middle + 1]
    there, back = flow_both_ways(luma(before), luma(after), radius=radius)
    guess = (warp(before, back / 2) + warp(after, there / 2)) / 2
    plain = (before + after) / 2
    warped_error, plain_error = ((clip[middle] - made).abs().mean() for made in (guess, plain))
    return Smoothness(1 - float(warped_error), 1 - float(plain_error))


def warp_error(clip: Clip, *, radius: int, every: int = 1) -> float:
    """sum o |x_{t+1} - warp(x_t)|^2 / (3 sum o), o being the pixels seen in both frames.

    Source: Lai et al. 2018, arXiv:1808.00449, section 4.
    """
    second = torch.arange(1, len(at_least(clip, 2, metric="warp error")), device=clip.device)[::every]
    here, before = clip[second], clip[second - 1]
    back, there = flow_both_ways(luma(here), luma(before), radius=radius)
    seen = visible(back, there)[:, None]
    error = (here - warp(before, back)).square()
    return float((error * seen).sum() / (3 * seen.sum().clamp(min=1)))


def changes(clip: Clip) -> Curve:
    """a_t = mean |x_t - x_{t-1}|, the change *into* frame t; nan at frame 0."""
    steps = clip.diff(dim=0).abs().mean(dim=(1, 2, 3))
    return torch.cat([steps.new_full((1,), math.nan), steps])


def bends(clip: Clip) -> Curve:
    """mean |x_t - 2 x_{t-1} + x_{t-2}|, the break in the change into frame t; nan at frames 0 and 1."""
    steps = clip.diff(n=2, dim=0).abs().mean(dim=(1, 2, 3))
    return torch.cat([steps.new_full((2,), math.nan), steps])


def seam_ratio(curve: Curve, period: int, *, among: int = 1) -> float:
    """The curve's mean where a period begins over its mean elsewhere.

    1 is ideal, 0 a stall at every seam, nan if nothing changes elsewhere or there is no seam.

    Args:
        curve: what `changes` or `bends` gives; nan does not count.
        period: frames of a chunk, of the autoencoder's stride, or of a window.
        among: elsewhere means only where a shorter period begins. Chunks begin where strides do, so only
            among strides is it the chunks that are seen.
    """
    number = torch.arange(len(curve), device=curve.device)
    known = ~curve.isnan() & (number % among == 0)
    seams, others = curve[known & (number % period == 0)], curve[known & (number % period != 0)]
    if len(seams) == 0 or len(others) == 0 or float(others.mean()) == 0:
        return math.nan
    return float(seams.mean() / others.mean())


def seam_power(curve: Curve, period: int, *, around: int = 4) -> float:
    """Power of the curve's spectrum at one beat a period, over the median of its neighbours.

    Args:
        around: how many frequencies on each side are neighbours.
    """
    known = curve[~curve.isnan()]
    known = known[: len(known) // period * period]
    if len(known) < 2 * period:
        return math.nan
    power = torch.fft.rfft(known - known.mean()).abs().square()
    beat = len(known) // period
    near = torch.cat([power[max(1, beat - around) : beat], power[beat + 1 : beat + 1 + around]])
    middle = float(near.median()) if len(near) else 0.0
    return float(power[beat]) / middle if middle > 0 else math.nan


@dataclass(frozen=True)
class MotionRatio:
    ratio: float
    """1: as much motion as the renderer's for this prompt."""

    @property
    def score(self) -> float:
        """exp(-|ln ratio|): 1 is right, twice and half as much are 1/2."""
        return math.exp(-abs(math.log(self.ratio)))


def motion_ratio(
    seen: Float[Tensor, "t 2"], truth: Float[Tensor, "t 2"], *, noise: float | int
) -> MotionRatio:
    """The way an object's centre was tracked over the renderer's.

    Args:
        noise: the way, in the same unit and over the same frames, that a tracker reports for an
            object that stands still. Added to both, so that two still objects give 1.
    """
    floor = max(noise, 1e-6)
    ways = (float(centre.diff(dim=0).norm(dim=1).sum()) + floor for centre in (seen, truth))
    return MotionRatio(next(ways) / next(ways))


def dynamic(clip: Clip, *, fps: float | int, radius: int) -> bool:
    """Whether enough pairs of frames have a fast twentieth: VBench's rule, for the shape of its tables only.

    Frames are thinned to about 8 a second; with K of them, round(4 K / 16) pairs must have a
    mean over the fastest 5 % of the flow above 6 / 256 of the shorter side. It saturates: rain makes
    any clip dynamic.

    Source: VBench's dynamic degree, arXiv:2311.17982, with block matching for RAFT.
    """
    kept = clip[:: max(1, round(fps / DYNAMIC_FPS))]
    at_least(kept, 2, metric="dynamic degree")
    there, _ = flow_both_ways(luma(kept[:-1]), luma(kept[1:]), radius=radius)
    speeds = there.norm(dim=1).flatten(1).sort(dim=1, descending=True).values
    fastest = speeds[:, : max(1, int(TOP_SHARE * speeds.shape[1]))].mean(dim=1)
    fast = fastest > DYNAMIC_PIXELS * min(clip.shape[-2:])
    return int(fast.sum()) >= round(4 * len(kept) / 16)
