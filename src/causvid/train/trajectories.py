"""Teacher to trajectories: what `causvid trajectories RECIPE` does.

The probability flow of the guided teacher is solved by Euler's method from one noise
per sample, and the states at the student's levels are kept. A bidirectional teacher
starts from prompts alone; a causal one is solved chunk by chunk under ground-truth
past, all chunks side by side, which makes each target a function of its own noise.

Sources: CausVid, arXiv:2412.07772, section 4.3; the causal form, Causal-Forcing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from causvid.data import worlds
from causvid.errors import UserError
from causvid.flow.schedule import FlowSchedule
from causvid.flow.solvers import euler
from causvid.generate.machine import autocast
from causvid.models.bundle import Bundle
from causvid.models.denoiser import Denoiser
from causvid.models.spec import check_sigmas
from causvid.nn.text import TextTokens
from causvid.train.clips import Prompts, window_prompts
from causvid.train.common import Parts, guided_velocity
from causvid.train.own_videos import OwnVideos, open_clips
from causvid.train.parallel import Ranks
from causvid.train.runs import step_rng
from causvid.train.shards import share_shards
from causvid.types import Latents

NOISE, WORDING = 0, 1
"""Streams of random numbers that belong to one seed."""


@dataclass(frozen=True, kw_only=True)
class TrajectoriesConfig:
    teacher: str = "teacher"
    """A run beside this folder, a model folder, or a known name."""
    seed: int = 0
    samples: int
    samples_per_shard: int = 32
    frames: int
    """Latent frames."""
    sigmas: tuple[float, ...]
    """The student's levels."""
    steps: int = 24
    """Euler steps."""
    schedule: FlowSchedule | None = None
    """Of the solver's grid. None: the teacher's own."""
    levels: Literal["on_grid", "inserted"] = "on_grid"
    """Whether the solver's grid must have the student's levels, or makes a stop at each besides."""
    seeds_per_prompt: int = 1
    """So many samples in a row follow one prompt of the rendered domain, each from a noise of its own."""
    guidance: float = 2.0
    change_probability: float = 0.3
    """Of the rendered domain's scenes, which give the prompts where there are no clips."""
    clips: str | None = None
    """A folder that `causvid encode` made of videos, beside this one: sample number n follows the caption
    of clip n, counted round, so more samples than clips are several noises for each. Rendered clips are not
    read: their domain gives fresh prompts."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        if self.samples <= 0 or self.samples % self.samples_per_shard:
            raise UserError(f"{self.samples} samples do not fill shards of {self.samples_per_shard}.")
        check_sigmas(self.sigmas)
        if not self.sigmas or (self.sigmas[0] != 1 and self.levels == "on_grid"):
            raise UserError(f"sigmas are {list(self.sigmas)}; the first must be 1, pure noise.")
        if self.seeds_per_prompt < 1:
            raise UserError(f"seeds_per_prompt is {self.seeds_per_prompt}; use 1 or more.")

    def prompt_seed(self, seed: int) -> int:
        """What a sample's scene and its wording follow from."""
        return self.seed + (seed - self.seed) // self.seeds_per_prompt

    def scene(self, seed: int) -> worlds.Scene:
        """What a sample shows."""
        return worlds.scene(
            self.prompt_seed(seed), change_probability=self.change_probability, frames=4 * self.frames
        )

    def prompts(self, seeds: list[int]) -> Prompts:
        """The prompts of samples, a function of their seeds."""
        wording = [step_rng(self.prompt_seed(s), WORDING, 0) for s in seeds]
        each = [
            window_prompts([self.scene(s)], [0], self.frames, rng)
            for s, rng in zip(seeds, wording, strict=True)
        ]
        return Prompts(
            [p.first[0] for p in each], [p.second[0] for p in each], torch.cat([p.parts for p in each])
        )


AS_WRITTEN = 5e-4
"""How far a level may be from the grid: people write three digits of it."""


def solver_grid(config: TrajectoriesConfig, schedule: FlowSchedule) -> list[float]:
    """The levels the solver visits, the student's among them.

    Raises:
        UserError: one of the student's is not on the grid, and is not to be inserted.
    """
    grid = schedule.grid(config.steps)
    if config.levels == "inserted":
        return sorted({*grid, *config.sigmas}, reverse=True)
    kept_steps(config.sigmas, grid)
    return grid


def kept_steps(sigmas: tuple[float, ...], grid: list[float]) -> list[int]:
    """Where on the solver's grid the student's levels lie.

    Raises:
        UserError: a level is not on the grid.
    """
    found = []
    for sigma in sigmas:
        nearest = min(range(len(grid)), key=lambda i: abs(grid[i] - sigma))
        if abs(grid[nearest] - sigma) > AS_WRITTEN:
            raise UserError(
                f"the student's level {sigma} is not on the solver's grid; the nearest is "
                f"{grid[nearest]:.6f}. Choose a multiple of the student's steps, and the same shift; "
                "or let them be stops of their own: levels = 'inserted'."
            )
        found.append(nearest)
    return found


@torch.no_grad()
def solve(
    denoiser: Denoiser,
    noise: Latents,
    text: TextTokens,
    negative: TextTokens,
    *,
    config: TrajectoriesConfig,
    schedule: FlowSchedule,
    **how: object,
) -> tuple[Tensor, Latents]:
    """States at the student's levels [b k f c h w], and the endpoint."""
    grid = solver_grid(config, schedule)
    keep = kept_steps(config.sigmas, grid)

    def velocity(x: Latents, sigma: float) -> Latents:
        level = torch.full(x.shape[:2], sigma, device=x.device)
        with autocast(x.device, config.precision):
            return guided_velocity(denoiser, x, level, text, negative, config.guidance, **how)

    states = list(euler(velocity, noise, grid))
    return torch.stack([states[i] for i in keep], dim=1), states[-1]


def own_videos(config: TrajectoriesConfig, beside: Path) -> OwnVideos | None:
    """The clips whose captions are followed, in a folder beside that of the trajectories."""
    clips = None if config.clips is None else open_clips(beside / config.clips)
    return clips if isinstance(clips, OwnVideos) else None


def make_trajectories(config: TrajectoriesConfig, teacher: Bundle, folder: Path, *, ranks: Ranks) -> None:
    """Solve the samples that are not in `folder` yet, divided over ranks by shard."""
    parts = Parts.of({"teacher": teacher}, own_videos(config, folder.parent))
    if teacher.denoiser is None:
        raise UserError(f"the model {teacher.spec.name!r} has no transformer to solve.")
    denoiser, schedule = teacher.denoiser, config.schedule or teacher.spec.schedule
    layout = teacher.spec.layout
    solver_grid(config, schedule)
    shards = config.samples // config.samples_per_shard

    def make(number: int) -> tuple[dict[str, Tensor], int]:
        first = config.seed + number * config.samples_per_shard
        seeds = list(range(first, first + config.samples_per_shard))
        noise = torch.cat([parts.noise(1, config.frames, step_rng(s, NOISE, 0)) for s in seeds])
        how: dict[str, object] = {}
        stored: dict[str, Tensor] = {"seeds": torch.tensor(seeds)}
        if layout is not None:
            truth = true_clips(config, parts, seeds)
            how, stored["clean"] = {"clean": truth, "layout": layout}, truth.half().cpu()
        text = sample_text(config, parts, seeds)
        negative = parts.negative(len(seeds))
        states, x0 = solve(denoiser, noise, text, negative, config=config, schedule=schedule, **how)
        stored |= {"states": states.half().cpu(), "x0": x0.half().cpu()}
        return stored, len(seeds)

    share_shards(folder, shards=shards, make=make, ranks=ranks, label="trajectories")


def sample_text(config: TrajectoriesConfig, parts: Parts, seeds: list[int]) -> TextTokens:
    """The encoded prompts of samples, a function of their seeds."""
    if parts.own is not None:
        return parts.read(parts.own.prompts(clip_numbers(config, len(parts.own), seeds)))
    return parts.read(config.prompts(seeds))


def clip_numbers(config: TrajectoriesConfig, clips: int, seeds: list[int]) -> list[int]:
    """Which clip each sample follows."""
    return [(seed - config.seed) % clips for seed in seeds]


@torch.no_grad()
def true_clips(config: TrajectoriesConfig, parts: Parts, seeds: list[int]) -> Latents:
    """Ground truth for a causal teacher's past: the scenes of the samples, rendered and encoded, or clips."""
    if isinstance(parts.own, OwnVideos):
        numbers = clip_numbers(config, len(parts.own), seeds)
        return parts.own.windows(numbers, config.frames, None).to(parts.device)
    scenes = [config.scene(s) for s in seeds]
    video, _ = worlds.render(scenes, 4 * config.frames, size=parts.spec.size, device=parts.device)
    return parts.vae.encode(video)
