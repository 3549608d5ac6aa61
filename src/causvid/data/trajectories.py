"""Shards of teacher trajectories: what the student's initialisation regresses on.

    states [n k f c h w]   x_t at the student's k noise levels, the first of them noise
    x0     [n f c h w]     the endpoint
    clean  [n f c h w]     ground truth that served as past (causal teachers only)
    seeds  [n]             of scene, wording and noise: prompts are a function of them

Only the levels the student uses are stored. Samples are found by number, never by
prompt, so one prompt may have many seeds.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.data.latents import ShardReader
from causvid.types import Latents


@dataclass(frozen=True)
class Trajectories:
    """A batch of samples."""

    states: Float[Tensor, "b k f c h w"]
    x0: Latents
    clean: Latents | None
    seeds: list[int]


class TrajectoryReader:
    """Trajectories at random, from a folder that `causvid trajectories` made."""

    def __init__(self, folder: Path) -> None:
        self.shards = ShardReader(folder)

    def __len__(self) -> int:
        return len(self.shards)

    def expect(self, samples: int) -> None:
        """Check that all samples are there.

        Raises:
            UserError: some are missing.
        """
        self.shards.expect(samples)

    def batch(self, count: int, rng: torch.Generator) -> Trajectories:
        chosen = torch.randint(len(self.shards), (count,), generator=rng).tolist()
        return self.read(chosen)

    def read(self, numbers: list[int]) -> Trajectories:
        """These samples, in this order."""
        stacked = {
            name: torch.stack([self.shards.slice(name, n) for n in numbers]) for name in self.shards.names
        }
        return Trajectories(
            stacked["states"], stacked["x0"], stacked.get("clean"), [self.shards.seed(n) for n in numbers]
        )
