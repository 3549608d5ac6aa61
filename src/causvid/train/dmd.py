"""Stage five: asymmetric distribution matching distillation.

A causal few-step student is pulled towards the clips its teacher finds likely, by the
difference of two scores on its own noised output: the teacher's, and that of a critic
which follows the student. Teacher and critic may see the whole clip although the
student may not; that asymmetry is the method.

Where the student's clips come from is one word:

    "data"     real clips noised per chunk, one masked forward     CausVid, algorithm 1
    "rollout"  its own chunk loop through the cache, one step of    Self-Forcing
               which runs under grad; prompts suffice

Sources: CausVid, arXiv:2412.07772, section 4.2; Self-Forcing, arXiv:2506.08009;
DMD2, arXiv:2405.14867 (the paper).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from causvid.data import worlds
from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.flow.losses import critic_loss, dmd_gradient, dmd_loss
from causvid.flow.schedule import FlowSchedule, add_noise, draw_sigma, x0_from_velocity
from causvid.generate.rollout import rollout
from causvid.models.bundle import Bundle
from causvid.models.spec import check_sigmas
from causvid.nn.text import TextTokens
from causvid.train.clips import ClipBatch, EncodedPrompts, Prompts, window_prompts
from causvid.train.common import Parts, fresh_denoiser, guided_velocity, per_chunk, velocity_of
from causvid.train.own_videos import OwnVideos, first_sample, open_clips
from causvid.train.runs import step_rng
from causvid.train.stage import WHOLE, Loss, Preview, Share
from causvid.types import Latents, Sigma

SHARED_BY_RANKS = 2**31
"""In place of a rank: the random source of draws on which all ranks must agree."""


@dataclass(frozen=True, kw_only=True)
class DmdConfig:
    student_input: Literal["data", "rollout"] = "rollout"
    teacher: Literal["bidirectional", "causal"] = "bidirectional"
    """What [inputs] teacher must be. A causal one, and its critic, score chunks under a clean past."""
    clips: str = "latents"
    """Encoded clips, for student_input "data"."""
    prompts: str | None = None
    """For student_input "rollout": a folder that `causvid encode` made of videos, whose captions are
    followed. None: prompts of the rendered domain."""
    batch: int = 8
    frames: int = 12
    """Latent frames per clip."""
    past_frames: int = 0
    """In rollouts: at most so many latent frames come before the clip that is judged, so that the student
    also learns to go on from its own long past. Whole chunks, drawn anew every step."""
    sigmas: tuple[float, ...]
    """The student's levels, in sampling order."""
    exported_sigmas: tuple[float, ...] | None = None
    """Those of them the exported model samples with, where not all are worth their time."""
    layout: ChunkLayout = field(default_factory=ChunkLayout)
    schedule: FlowSchedule = field(default_factory=lambda: FlowSchedule(shift=3.0))
    """Of the levels at which teacher and critic are compared."""
    guidance: float = 2.0
    """Of the teacher."""
    critic_steps: int = 5
    """Critic updates per student update."""
    critic_warmup: int = 0
    """Steps before the student's first update."""
    change_probability: float = 0.3

    def __post_init__(self) -> None:
        check_sigmas(self.sigmas)
        if not self.sigmas:
            raise UserError("dmd.sigmas is empty; a student needs at least one noise level.")
        self.layout.spans(self.frames)
        if self.critic_steps < 1 or self.critic_warmup < 0:
            raise UserError("dmd.critic_steps must be at least 1 and dmd.critic_warmup at least 0.")
        chunk = self.layout.frames_per_chunk
        alike = self.layout.first == chunk
        if self.past_frames < 0 or self.past_frames % chunk or (self.past_frames and not alike):
            raise UserError(
                f"dmd.past_frames is {self.past_frames}; it must be whole chunks of {chunk}, "
                "and the first chunk as long as the others."
            )


@dataclass(frozen=True)
class DmdBatch:
    clips: ClipBatch
    exit_step: int
    """The student's step that runs under grad; the same on all ranks."""
    past: int
    """Latent frames rolled out before the clip that is judged; the same on all ranks."""


class Dmd:
    """Implements `causvid.train.stage.Stage` with the roles "student" and "critic"."""

    def __init__(self, config: DmdConfig, inputs: Mapping[str, Bundle], *, folder: Path) -> None:
        teacher = inputs.get("teacher")
        if teacher is None or teacher.denoiser is None or teacher.spec.transformer is None:
            raise UserError("DMD needs [inputs] teacher, a many-step model.")
        kind = "bidirectional" if teacher.spec.layout is None else "causal"
        if kind != config.teacher:
            raise UserError(
                f"[dmd] teacher is {config.teacher!r}, but [inputs] teacher names a {kind} model."
            )
        self.clips = open_clips(folder / config.clips) if config.student_input == "data" else None
        own = OwnVideos(folder / config.prompts) if self.clips is None and config.prompts else None
        self.config, self.parts = config, Parts.of(inputs, self.clips or own)
        self.teacher = teacher.denoiser
        self.teacher_layout = teacher.spec.layout
        self.student = fresh_denoiser(teacher.spec.transformer, inputs.get("student", teacher))
        self.critic = fresh_denoiser(teacher.spec.transformer, teacher)
        self.trainable: Mapping[str, nn.Module] = {
            "student": self.student.transformer,
            "critic": self.critic.transformer,
        }
        self.frozen: Mapping[str, nn.Module] = {
            "teacher": self.teacher,
            **self.parts.frozen,
        }

    def roles(self, step: int) -> Sequence[str]:
        """The critic at every step; the student before it at every `critic_steps`-th after the warm-up."""
        after = step - self.config.critic_warmup
        return ("student", "critic") if after >= 0 and after % self.config.critic_steps == 0 else ("critic",)

    def batch(self, step: int, rng: torch.Generator, share: Share = WHOLE) -> DmdBatch:
        config = self.config
        shared = step_rng(0, SHARED_BY_RANKS, step)
        first = first_sample(step, config.batch, share)
        exit_step = int(torch.randint(len(config.sigmas), (), generator=shared))
        if self.clips is not None:
            return DmdBatch(self.clips.batch(config.batch, config.frames, rng, first=first), exit_step, 0)
        chunk = config.layout.frames_per_chunk
        past = chunk * int(torch.randint(config.past_frames // chunk + 1, (), generator=shared))
        no_latents = torch.empty(self.parts.latent_shape(config.batch, past + config.frames), device="meta")
        prompts = self._prompts(past + config.frames, rng, first=first)
        return DmdBatch(ClipBatch(no_latents, prompts), exit_step, past)

    def _prompts(self, frames: int, rng: torch.Generator, *, first: int) -> Prompts | EncodedPrompts:
        """What rollouts follow: captions of somebody's own videos, or of fresh scenes."""
        config = self.config
        if self.parts.own is not None:
            return self.parts.own.ordered_prompts(config.batch, first=first)
        seeds = torch.randint(2**40, (config.batch,), generator=rng).tolist()
        scenes = [
            worlds.scene(s, change_probability=config.change_probability, frames=4 * frames) for s in seeds
        ]
        return window_prompts(scenes, [0] * config.batch, frames, rng)

    def loss(self, role: str, batch: DmdBatch, rng: torch.Generator) -> Loss:
        with torch.no_grad():
            text = self.parts.read(batch.clips.prompts)
        judged = text if text.parts is None else text.with_parts(text.parts[:, batch.past :])
        with torch.set_grad_enabled(role == "student"):
            x0 = self.student_clip(batch, text, rng)[:, batch.past :]
        return (
            self._student_loss(x0, judged, rng) if role == "student" else self._critic_loss(x0, judged, rng)
        )

    def student_clip(self, batch: DmdBatch, text: TextTokens, rng: torch.Generator) -> Latents:
        """The student's clean clip, as `student_input` says; one pass of each judged chunk is under grad."""
        config = self.config
        if config.student_input == "data":
            real = batch.clips.latents.to(self.parts.device)
            b, f = real.shape[:2]
            levels = torch.tensor([*config.sigmas, 0.0])
            chosen = torch.randint(len(levels), (b, len(config.layout.spans(f))), generator=rng)
            sigma = per_chunk(levels[chosen], config.layout, f).to(real)
            x_t = add_noise(real, torch.randn(real.shape, generator=rng).to(real), sigma)
            return self.student(x_t, sigma, text, mask=config.layout.mask(f))
        return rollout(
            self.student,
            self.parts.noise(config.batch, batch.past + config.frames, rng),
            text,
            layout=config.layout,
            sigmas=config.sigmas,
            rng=rng,
            grad_at=batch.exit_step,
            grad_from=batch.past,
        )

    def _student_loss(self, x0: Latents, text: TextTokens, rng: torch.Generator) -> Loss:
        with torch.no_grad():
            z, sigma, _ = self._noised(x0, rng)
            past: dict[str, Any] = {"clean": x0.detach(), "layout": self.teacher_layout}
            believed = x0_from_velocity(z, velocity_of(self.critic, z, sigma, text, **past), sigma)
            negative = self.parts.negative(x0.shape[0])
            guided = guided_velocity(self.teacher, z, sigma, text, negative, self.config.guidance, **past)
            gradient, normaliser = dmd_gradient(x0, believed, x0_from_velocity(z, guided, sigma))
        value = dmd_loss(x0, gradient)
        metrics = {
            "pull": gradient.square().mean().sqrt(),
            "normaliser": normaliser.mean(),
            "spread": x0.detach().std(),
            "motion": x0.detach().diff(dim=1).abs().mean(),
        }
        return Loss(value, metrics)

    def _critic_loss(self, x0: Latents, text: TextTokens, rng: torch.Generator) -> Loss:
        z, sigma, noise = self._noised(x0, rng)
        velocity = velocity_of(self.critic, z, sigma, text, clean=x0, layout=self.teacher_layout)
        value = critic_loss(velocity, x0, noise)
        return Loss(value, {"loss": value})

    def _noised(self, x0: Latents, rng: torch.Generator) -> tuple[Latents, Sigma, Latents]:
        """The clip at one level for all its frames, that level, and the noise."""
        b, f = x0.shape[:2]
        sigma = draw_sigma(b, f, schedule=self.config.schedule, rng=rng).to(x0)
        noise = torch.randn(x0.shape, generator=rng).to(x0)
        return add_noise(x0.detach(), noise, sigma), sigma, noise

    def preview(self, rng: torch.Generator) -> Preview:
        """Twice as long as the clips it was trained on."""
        return self.parts.preview(
            self.student,
            rng,
            frames=2 * self.config.frames,
            sigmas=self.config.sigmas,
            layout=self.config.layout,
            renoise="fresh",
        )

    def export(self, provenance: Mapping[str, Any]) -> Bundle:
        config = self.config
        return self.parts.bundle(
            self.student,
            name="student",
            provenance=provenance,
            schedule=config.schedule,
            layout=config.layout,
            clip_frames=config.frames,
            sigmas=config.exported_sigmas or config.sigmas,
        )
