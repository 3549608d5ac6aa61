"""Worlds to latents: what `causvid encode RECIPE` does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from causvid.data import worlds
from causvid.errors import UserError
from causvid.generate.machine import autocast
from causvid.models.vae_tiny import TinyVAE
from causvid.train.parallel import Ranks
from causvid.train.shards import share_shards


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """Which clips to encode."""

    vae: str = "autoencoder"
    """The autoencoder: a run beside this one, a model folder, or a known name."""
    seed: int = 0
    clips: int
    clips_per_shard: int = 200
    frames: int = 60
    """Pixel frames per clip."""
    size: tuple[int, int] = (64, 64)
    split: Literal["train", "heldout", "any"] = "train"
    change_probability: float = 0.3
    batch: int = 20

    def __post_init__(self) -> None:
        if self.clips <= 0 or self.clips % self.clips_per_shard or self.clips_per_shard % self.batch:
            raise UserError(
                f"{self.clips} clips in shards of {self.clips_per_shard} by batches of {self.batch}: "
                "each must be a positive multiple of the next."
            )

    def scene(self, clip_seed: int) -> worlds.Scene:
        """The scene of a clip, from its stored seed."""
        return worlds.scene(
            clip_seed,
            split=self.split,
            change_probability=self.change_probability,
            frames=self.frames,
        )


def encode(config: EncodeConfig, vae: TinyVAE, folder: Path, *, ranks: Ranks) -> None:
    """Render and encode the clips that are not in `folder` yet, divided over ranks by shard."""
    device = vae.latent_mean.device
    shards = config.clips // config.clips_per_shard

    def make(number: int) -> tuple[dict[str, torch.Tensor], int]:
        first = config.seed + number * config.clips_per_shard
        latents = []
        for at in range(first, first + config.clips_per_shard, config.batch):
            scenes = [config.scene(s) for s in range(at, at + config.batch)]
            video, _ = worlds.render(scenes, config.frames, size=config.size, device=device)
            with autocast(device, "bfloat16"):
                latents.append(vae.encode(video).half().cpu())
        seeds = torch.arange(first, first + config.clips_per_shard)
        return {"latents": torch.cat(latents), "seeds": seeds}, config.clips_per_shard

    share_shards(folder, shards=shards, make=make, ranks=ranks, label="encode")
