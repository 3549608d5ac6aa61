"""Rendered clips for the metrics, small ones, and what can go wrong with a clip."""

import torch

from causvid.data import worlds
from causvid.evaluate.clips import box_blur, luma

FPS = worlds.FPS


def scenes(count, **wanted):
    """The first scenes whose factors are among the wanted ones."""
    found, seed = [], 0
    while len(found) < count:
        one = worlds.scene(seed)
        if all(getattr(one, factor) in values for factor, values in wanted.items()):
            found.append(one)
        seed += 1
    return found


def dynamic_clips(count=4, *, frames=36, size=(32, 32)):
    """Clear weather and an object that travels."""
    moving = scenes(count, motion=("sweep", "bounce", "circle"), weather=("clear",))
    video, _ = worlds.render(moving, frames, size=size)
    return list(((video + 1) / 2).clamp(0, 1))


def _noise(clip):
    return (clip + 4 / 255 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def _gain(clip):
    gains = 1 + 0.02 * torch.randn(len(clip), 1, 1, 1, generator=torch.Generator().manual_seed(0))
    return (clip * gains).clamp(0, 1)


def _duplicate(clip):
    """Every sixteenth frame shows the one before again."""
    numbers = torch.arange(len(clip))
    return clip[numbers - ((numbers % 16 == 0) & (numbers > 0)).long()]


def _skip(clip):
    """Four frames are left out before every sixteenth."""
    numbers = torch.arange(len(clip))
    kept = numbers + 4 * (numbers // 16)
    return clip[kept[kept < len(clip)]]


def _saturate(clip):
    """Colours move away from grey by 5 % a second."""
    gain = (1 + 0.05 * torch.arange(len(clip)) / FPS)[:, None, None, None]
    grey = luma(clip)[:, None]
    return (grey + gain * (clip - grey)).clamp(0, 1)


def _slow_blur(clip):
    share = torch.linspace(0, 1, len(clip))[:, None, None, None]
    return clip + share * (box_blur(clip, 3) - clip)


FAULTS = {
    "none": lambda clip: clip,
    "blur": lambda clip: box_blur(clip, 3),
    "frozen": lambda clip: clip[:1].repeat(len(clip), 1, 1, 1),
    "noise": _noise,
    "gain": _gain,
    "duplicate": _duplicate,
    "skip": _skip,
    "saturation": _saturate,
    "slow blur": _slow_blur,
}
