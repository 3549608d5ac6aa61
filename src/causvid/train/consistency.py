"""Stage four without trajectories: the causal student learns to jump to where a causal teacher's path ends.

Two neighbouring levels of a solver's grid are drawn for each clip. Real data is noised to
the higher one; one step of the guided causal teacher leads to the lower one; from both
places the student should see the same clean clip. What it sees from the lower one comes
from a slow average of itself, so that the end of the path, where nothing is left to
predict, is carried up the grid level by level. Every chunk has the clip's own clean past.

Source: consistency models, arXiv:2303.01469; as the causal initialisation, Causal-Forcing.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.flow.losses import consistency_loss
from causvid.flow.schedule import FlowSchedule, add_noise, x0_from_velocity
from causvid.flow.solvers import euler_step
from causvid.models.bundle import Bundle
from causvid.models.denoiser import Denoiser
from causvid.models.spec import check_sigmas
from causvid.nn.text import TextTokens
from causvid.train.adapters import AdapterConfig, merged
from causvid.train.clips import ClipBatch
from causvid.train.common import Parts, fresh_denoiser, guided_velocity, velocity_of
from causvid.train.own_videos import first_sample, open_clips
from causvid.train.stage import WHOLE, Loss, Preview, Share
from causvid.types import Latents, Sigma


@dataclass(frozen=True, kw_only=True)
class ConsistencyConfig:
    clips: str = "latents"
    """A folder made by `causvid encode`, beside this run."""
    batch: int = 8
    frames: int = 12
    """Latent frames per clip."""
    sigmas: tuple[float, ...]
    """The levels the exported student samples with."""
    layout: ChunkLayout = field(default_factory=ChunkLayout)
    """The student's; its chunks are the teacher's."""
    schedule: FlowSchedule = field(default_factory=lambda: FlowSchedule(shift=5.0))
    """Of the grid."""
    grid_steps: int = 48
    """Steps from noise to data; a pair is two neighbouring levels."""
    guidance: float = 3.0
    """Of the teacher's step."""
    target_decay: float = 0.99
    """Of the average that says what the student sees from the lower level."""
    adapters: AdapterConfig | None = None
    """Train adapters in place of all weights."""

    def __post_init__(self) -> None:
        check_sigmas(self.sigmas)
        if not self.sigmas:
            raise UserError("consistency.sigmas is empty; a student needs at least one noise level.")
        if not 0 <= self.target_decay < 1:
            raise UserError(
                f"consistency.target_decay is {self.target_decay}; it must be 0 or more and below 1 "
                "(0.99 is usual)."
            )
        self.layout.spans(self.frames)
        self.schedule.grid(self.grid_steps)


class Consistency:
    """Implements `causvid.train.stage.Stage` with the single role "student"."""

    def __init__(self, config: ConsistencyConfig, inputs: Mapping[str, Bundle], *, folder: Path) -> None:
        teacher = inputs.get("teacher")
        if teacher is None or teacher.denoiser is None or teacher.spec.transformer is None:
            raise UserError("consistency needs [inputs] teacher, a many-step causal model.")
        check_chunks(config, teacher)
        self.config, self.clips = config, open_clips(folder / config.clips)
        self.parts = Parts.of(inputs, self.clips)
        self.teacher, self.teacher_layout = teacher.denoiser, teacher.spec.layout
        start = inputs.get("student", teacher)
        assert start.spec.transformer is not None
        self.student = fresh_denoiser(start.spec.transformer, start)
        if config.adapters is not None:
            self.student = config.adapters.fit(self.student, "student")
        self.target = copy.deepcopy(self.student).requires_grad_(False)
        self.grid = torch.tensor(config.schedule.grid(config.grid_steps), dtype=torch.float64)
        self._followed = -1
        self.trainable: Mapping[str, nn.Module] = {"student": self.student.transformer}
        self.kept: Mapping[str, nn.Module] = {"target": self.target.transformer}
        self.frozen: Mapping[str, nn.Module] = {"teacher": self.teacher, **self.parts.frozen}

    def roles(self, step: int) -> Sequence[str]:
        return ("student",)

    def batch(self, step: int, rng: torch.Generator, share: Share = WHOLE) -> ClipBatch:
        """Clips. Before a step's first ones the average takes in what the step before has changed."""
        if step != self._followed:
            self._follow()
            self._followed = step
        first = first_sample(step, self.config.batch, share)
        return self.clips.batch(self.config.batch, self.config.frames, rng, first=first)

    @torch.no_grad()
    def _follow(self) -> None:
        for slow, fast in zip(self.target.parameters(), self.student.parameters(), strict=True):
            if fast.requires_grad:
                slow.lerp_(fast, 1 - self.config.target_decay)

    def loss(self, role: str, batch: ClipBatch, rng: torch.Generator) -> Loss:
        clean = batch.latents.to(self.parts.device)
        b, f = clean.shape[:2]
        place = torch.randint(self.config.grid_steps, (b, 1), generator=rng)
        noise = torch.randn(clean.shape, generator=rng).to(clean)
        high, low = (self.grid[n].repeat(1, f).to(clean.device) for n in (place, place + 1))
        with torch.no_grad():
            text = self.parts.read(batch.prompts)
            x_t = add_noise(clean, noise, high.float())
            nearer = self._step(x_t, high, low, text, clean)
            wanted = self._seen(self.target, nearer, low, text, clean)
        value = consistency_loss(self._seen(self.student, x_t, high, text, clean), wanted)
        return Loss(value, {"loss": value})

    def _step(self, x_t: Latents, high: Sigma, low: Sigma, text: TextTokens, clean: Latents) -> Latents:
        """Where the guided teacher leads to, from one level to the next."""
        negative = self.parts.negative(x_t.shape[0])
        how: dict[str, Any] = {"clean": clean, "layout": self.teacher_layout}
        velocity = guided_velocity(
            self.teacher, x_t, high.float(), text, negative, self.config.guidance, **how
        )
        return euler_step(x_t, velocity, high, low)

    def _seen(
        self, denoiser: Denoiser, x_t: Latents, sigma: Sigma, text: TextTokens, clean: Latents
    ) -> Latents:
        """The clean clip as a student sees it from this level; at 0 that is the clip itself."""
        level = sigma.float()
        velocity = velocity_of(denoiser, x_t, level, text, clean=clean, layout=self.config.layout)
        return x0_from_velocity(x_t, velocity, level)

    def preview(self, rng: torch.Generator) -> Preview:
        return self.parts.preview(
            self.student,
            rng,
            frames=self.config.frames,
            sigmas=self.config.sigmas,
            layout=self.config.layout,
            renoise="fresh",
        )

    def export(self, provenance: Mapping[str, Any]) -> Bundle:
        config = self.config
        return self.parts.bundle(
            merged(self.student),
            name="consistency",
            provenance=provenance,
            schedule=config.schedule,
            layout=config.layout,
            clip_frames=config.frames,
            sigmas=config.sigmas,
        )


def check_chunks(config: ConsistencyConfig, teacher: Bundle) -> None:
    """Accept a teacher that is causal and has the student's chunks.

    Raises:
        UserError: it has not.
    """
    theirs = teacher.spec.layout
    if theirs is None or theirs.spans(config.frames) != config.layout.spans(config.frames):
        what = "is bidirectional" if theirs is None else "has other chunks"
        raise UserError(
            f"consistency needs a causal teacher with the student's chunks; {teacher.spec.name!r} {what}. "
            "Train one with [teacher] causal = true and this layout."
        )
