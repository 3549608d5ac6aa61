"""Random scenes and captions for the training stages."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from causvid.data import worlds


@dataclass(frozen=True, kw_only=True)
class WorldsConfig:
    """Which part of the captioned domain a stage sees."""

    size: tuple[int, int] = (64, 64)
    """Height and width in pixels."""
    split: Literal["train", "heldout", "any"] = "train"
    change_probability: float = 0.25
    """Share of scenes whose attributes change mid-clip."""


def random_scenes(
    config: WorldsConfig, count: int, frames: int, rng: torch.Generator
) -> tuple[list[worlds.Scene], list[int]]:
    """Fresh scenes, and the pixel frame to render each from: a multiple of 4, up to five seconds in."""
    seeds = torch.randint(2**40, (count,), generator=rng).tolist()
    starts = (4 * torch.randint(16, (count,), generator=rng)).tolist()
    scenes = [
        worlds.scene(s, split=config.split, change_probability=config.change_probability, frames=frames + 60)
        for s in seeds
    ]
    return scenes, starts


def numpy_rng(rng: torch.Generator) -> np.random.Generator:
    """A numpy source that continues this torch one."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=rng)))
