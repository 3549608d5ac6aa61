"""What generated video suffers from, applied to good video on purpose and by a known amount.

Every degradation takes a severity from 0 (nothing) to 1 (hardly recognisable), one for every frame.
They teach a judge what bad looks like; what goes wrong in time (stalls, jumps) is at the end.
Knows nothing of networks.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from causvid.pixels import LUMA
from causvid.types import Video

Severity = Float[Tensor, "b t"]
Degradation = Callable[[Video, Tensor, torch.Generator], Video]


def _over(severity: Tensor) -> Tensor:
    return severity[:, :, None, None, None]


def _smooth(video: Video, size: int) -> Video:
    pictures = F.pad(video.flatten(0, 1), (size // 2,) * 4, mode="replicate")
    return F.avg_pool2d(pictures, size, stride=1).unflatten(0, video.shape[:2])


def blur(video: Video, severity: Tensor, rng: torch.Generator) -> Video:
    """From sharp over a 5x5 to a doubled 9x9 mean."""
    mild, strong = _smooth(video, 5), _smooth(_smooth(video, 9), 9)
    s = _over(severity)
    return torch.where(s < 0.5, video + 2 * s * (mild - video), mild + (2 * s - 1) * (strong - mild))


def noise(video: Video, severity: Tensor, rng: torch.Generator) -> Video:
    """White noise of standard deviation up to .5."""
    drawn = torch.randn(video.shape, generator=rng).to(video)
    return (video + 0.5 * _over(severity) * drawn).clamp(-1, 1)


def blocks(video: Video, severity: Tensor, rng: torch.Generator) -> Video:
    """Towards the means of 8x8 blocks."""
    means = F.avg_pool2d(video.flatten(0, 1), 8)
    coarse = F.interpolate(means, scale_factor=8.0, mode="nearest").unflatten(0, video.shape[:2])
    return video + 0.9 * _over(severity) * (coarse - video)


def ringing(video: Video, severity: Tensor, rng: torch.Generator) -> Video:
    """Edges overshoot: too much of what a 5x5 mean takes away."""
    return (video + 2.5 * _over(severity) * (video - _smooth(video, 5))).clamp(-1, 1)


def cast(video: Video, severity: Tensor, rng: torch.Generator) -> Video:
    """Light of a wrong colour, the same through the clip."""
    direction = F.normalize(torch.randn(len(video), 1, 3, 1, 1, generator=rng), dim=2).to(video)
    return (video + 0.9 * _over(severity) * direction).clamp(-1, 1)


def oversaturation(video: Video, severity: Tensor, rng: torch.Generator) -> Video:
    """Colours and contrast are pushed to their ends."""
    grey = torch.einsum("btchw,c->bthw", video, torch.tensor(LUMA).to(video))[:, :, None]
    s = _over(severity)
    return ((grey + (1 + 2 * s) * (video - grey)) * (1 + 0.8 * s)).clamp(-1, 1)


def collapse(video: Video, severity: Tensor, rng: torch.Generator) -> Video:
    """Texture is lost in flat patches that flow into one another."""
    wobble = F.interpolate(
        torch.randn(len(video), 2, 8, 8, generator=rng).to(video), size=video.shape[-2:], mode="bicubic"
    )
    flat = _smooth(video, 3).mul(3).round().div(3)
    grid = F.affine_grid(torch.eye(2, 3).to(video).expand(len(video), 2, 3), list(video[:, 0].shape), False)
    bent = (grid + 0.06 * wobble.permute(0, 2, 3, 1)).repeat_interleave(video.shape[1], dim=0)
    moved = F.grid_sample(flat.flatten(0, 1), bent, padding_mode="border", align_corners=False)
    return video + _over(severity) * (moved.unflatten(0, video.shape[:2]) - video)


DEGRADATIONS: Mapping[str, Degradation] = MappingProxyType(
    {f.__name__: f for f in (blur, noise, blocks, ringing, cast, oversaturation, collapse)}
)

CORRUPTIONS = ("none", "shuffle", "reversal", "jump", "stall", "jitter")
"""What can be wrong with the order of frames."""
SPARE_FRAMES = 8
"""Further frames a jump needs."""


def corrupt_order(kind: str, frames: int, rng: torch.Generator) -> Int[Tensor, " t"]:
    """Which frames of a clip with `SPARE_FRAMES` more than `frames` are shown, in order."""
    order = torch.arange(frames)
    middle = int(torch.randint(frames // 4, frames - frames // 4, (1,), generator=rng))
    if kind == "shuffle":
        return torch.randperm(frames, generator=rng)
    if kind == "reversal":
        return order.flip(0)
    if kind == "jump":
        return order + SPARE_FRAMES * (order >= middle)
    if kind == "stall":
        return torch.where((order >= middle) & (order < middle + 5), middle, order)
    if kind == "jitter":
        return (order + torch.randint(-2, 3, (frames,), generator=rng)).clamp(0, frames - 1)
    return order
