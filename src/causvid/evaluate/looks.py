"""What single frames look like, and how that changes over a long clip.

Sharpness, saturation and contrast need no network; any other curve per frame can be
cut into windows, fitted with a slope and followed to its first failure the same way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.errors import UserError
from causvid.evaluate.clips import Clip, Curve, box_blur, luma

FAILING_WINDOWS = 3


def sharpness(clip: Clip) -> Curve:
    """sqrt(mean (y - box3 y)^2) of every frame's luma y."""
    y = luma(clip)[:, None]
    return (y - box_blur(y, 3)).square().mean(dim=(1, 2, 3)).sqrt()


def saturation(clip: Clip) -> Curve:
    """mean (max - min) / (max + 1e-3) over the three colours of every frame's pixels."""
    high, low = clip.amax(dim=1), clip.amin(dim=1)
    return ((high - low) / (high + 1e-3)).mean(dim=(1, 2))


def contrast(clip: Clip) -> Curve:
    """Standard deviation of every frame's luma."""
    return luma(clip).flatten(1).std(dim=1, correction=0)


LOOKS = {"sharpness": sharpness, "saturation": saturation, "contrast": contrast}


def windows(curve: Float[Tensor, " t *any"], size: int) -> Float[Tensor, " w *any"]:
    """Means over windows of `size` frames; a rest that fills none is dropped.

    Raises:
        UserError: the curve is shorter than one window.
    """
    count = len(curve) // size
    if count < 1:
        raise UserError(f"a clip of {len(curve)} frames has no window of {size}; make it longer.")
    return curve[: count * size].unflatten(0, (count, size)).mean(dim=1)


def drift(curve: Curve, *, seconds: float | int) -> float:
    """b = 100 cov(t, q) / (var(t) mean q): the slope of a straight line, in percent of the mean a second.

    Args:
        curve: one value per window (or frame).
        seconds: from one value to the next.
    """
    if len(curve) < 2 or float(curve.mean()) == 0:
        return math.nan
    time = torch.arange(len(curve), dtype=torch.float64, device=curve.device) * seconds
    q = curve.double()
    centred = time - time.mean()
    return float(100 * (centred * (q - q.mean())).mean() / centred.square().mean() / q.mean())


def endpoint_drop(curve: Curve, *, size: int) -> float:
    """The mean of the first `size` values less that of the last: what was lost by the end."""
    return float(curve[:size].mean() - curve[-size:].mean())


@dataclass(frozen=True)
class Failure:
    """When a clip failed, or how long it was watched without failing."""

    seconds: float | int
    failed: bool


def time_to_failure(
    curve: Curve, *, threshold: float, seconds: float | int, in_a_row: int = FAILING_WINDOWS
) -> Failure:
    """The start of the first `in_a_row` consecutive windows below the threshold.

    Args:
        curve: image quality per window.
        threshold: the 5th percentile of the truth's.
        seconds: length of a window.
    """
    low = (curve < threshold).tolist()
    for start in range(len(low) - in_a_row + 1):
        if all(low[start : start + in_a_row]):
            return Failure(start * float(seconds), True)
    return Failure(len(low) * float(seconds), False)


@dataclass(frozen=True)
class Survival:
    """A step function: after `seconds[i]` the share `alive[i]` has not failed."""

    seconds: tuple[float, ...]
    alive: tuple[float, ...]

    def at(self, seconds: float | int) -> float:
        reached = [share for moment, share in zip(self.seconds, self.alive, strict=True) if moment <= seconds]
        return reached[-1] if reached else 1.0

    @property
    def median(self) -> float | None:
        """When half had failed; None if they never did."""
        return next((t for t, share in zip(self.seconds, self.alive, strict=True) if share <= 0.5), None)


def kaplan_meier(failures: Sequence[Failure]) -> Survival:
    """The share of clips that have not failed, where some were not watched to their failure.

    Source: Kaplan and Meier 1958, "Nonparametric estimation from incomplete observations".
    """
    moments = sorted({float(one.seconds) for one in failures if one.failed})
    alive, shares = 1.0, []
    for moment in moments:
        at_risk = sum(one.seconds >= moment for one in failures)
        failed = sum(one.failed and one.seconds == moment for one in failures)
        alive *= 1 - failed / at_risk
        shares.append(alive)
    return Survival(tuple(moments), tuple(shares))
