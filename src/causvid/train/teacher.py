"""Stage three: the many-step teacher, by flow matching.

One class trains the bidirectional teacher and, with `causal = true`, the block-causal
one by teacher forcing: clean and noisy copies of the clip in one sequence, every
noisy chunk seeing the clean chunks before it.

Sources: flow matching, arXiv:2210.02747; teacher forcing as in the
successors of CausVid: Self-Forcing, arXiv:2506.08009, section 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.flow.losses import flow_matching_loss
from causvid.flow.schedule import FlowSchedule, add_noise, bell_weight, draw_logit_normal, per_frame
from causvid.models.bundle import Bundle
from causvid.nn.transformer import TransformerConfig
from causvid.train.clips import ClipBatch
from causvid.train.common import Parts, fresh_denoiser, per_chunk, velocity_of
from causvid.train.own_videos import first_sample, open_clips
from causvid.train.stage import WHOLE, Loss, Preview, Share
from causvid.types import Sigma


@dataclass(frozen=True, kw_only=True)
class Period:
    """A stretch of training with clips of one length."""

    until: int
    """Step at which the next period begins."""
    frames: int
    """Latent frames per clip."""
    batch: int
    """Clips per step and rank."""


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    transformer: TransformerConfig | None = None
    """None: of the sizes of [inputs] teacher."""
    clips: str = "latents"
    """A folder made by `causvid encode`, beside this run."""
    periods: tuple[Period, ...]
    """Short clips first: most of what there is to learn fits in two seconds."""
    schedule: FlowSchedule = field(default_factory=lambda: FlowSchedule(shift=3.0))
    """Of training's noise levels and of the sampler."""
    levels: Literal["logit_normal", "uniform"] = "logit_normal"
    """How noise levels are drawn before the shift: most of them mid-way, or all alike."""
    level_weight: Literal["none", "bell"] = "none"
    """How much each level counts: alike, or the middle ones more, as public teacher forcing has it."""
    drop_prompt: float = 0.1
    """Share of clips trained without a prompt, so that guidance has something to move away from."""
    object_weight: float = 0.0
    """How much more the places that show the object count, where clips are rendered and it is known."""
    causal: bool = False
    """Block-causal by teacher forcing, instead of bidirectional."""
    layout: ChunkLayout = field(default_factory=ChunkLayout)
    """Of the causal teacher."""
    guidance: float = 2.0
    """For previews, and as the exported model's default."""
    preview_steps: int = 24


class Teacher:
    """Implements `causvid.train.stage.Stage` with the single role "teacher"."""

    def __init__(self, config: TeacherConfig, inputs: Mapping[str, Bundle], *, folder: Path) -> None:
        self.config = config
        self.clips = open_clips(folder / config.clips)
        self.parts = Parts.of(inputs, self.clips)
        self.denoiser = fresh_denoiser(sizes_of(config, inputs), inputs.get("teacher"))
        self.layout = config.layout if config.causal else None
        self.trainable: Mapping[str, nn.Module] = {"teacher": self.denoiser.transformer}
        self.frozen: Mapping[str, nn.Module] = self.parts.frozen

    def roles(self, step: int) -> Sequence[str]:
        return ("teacher",)

    def batch(self, step: int, rng: torch.Generator, share: Share = WHOLE) -> ClipBatch:
        begin, before = 0, 0
        for period in self.config.periods:
            if step < period.until or period is self.config.periods[-1]:
                break
            before += (period.until - begin) * period.batch * share.of
            begin = period.until
        first = before + first_sample(step - begin, period.batch, share)
        return self.clips.batch(period.batch, period.frames, rng, first=first)

    def loss(self, role: str, batch: ClipBatch, rng: torch.Generator) -> Loss:
        x0 = batch.latents.to(self.parts.device)
        b, f = x0.shape[:2]
        with torch.no_grad():
            text = self.parts.read(batch.prompts, drop=torch.rand(b, generator=rng) < self.config.drop_prompt)
        noise = torch.randn(x0.shape, generator=rng).to(x0)
        sigma = self._draw_levels(b, f, rng).to(x0)
        x_t = add_noise(x0, noise, sigma)
        velocity = velocity_of(self.denoiser, x_t, sigma, text, clean=x0, layout=self.layout)
        value = flow_matching_loss(velocity, x0, noise, weight=self._weight(batch, sigma))
        return Loss(value, {"loss": value})

    def _weight(self, batch: ClipBatch, sigma: Sigma) -> torch.Tensor | None:
        """Of every place, by what it shows (one, on the mean of each clip) and by its noise level."""
        weight = None
        if self.config.object_weight and batch.near is not None:
            near = 1 + self.config.object_weight * batch.near.float()
            weight = (near / near.mean((1, 2, 3, 4), keepdim=True)).to(self.parts.device)
        if self.config.level_weight == "none":
            return weight
        bell = per_frame(bell_weight(sigma, schedule=self.config.schedule)).float()
        return bell if weight is None else weight * bell

    def _draw_levels(self, b: int, f: int, rng: torch.Generator) -> torch.Tensor:
        """One level per clip for a bidirectional teacher, one per chunk for a causal one."""
        if self.layout is None:
            return self._levels(b, rng)[:, None].repeat(1, f)
        chunks = len(self.layout.spans(f))
        return per_chunk(self._levels(b * chunks, rng).view(b, chunks), self.layout, f)

    def _levels(self, count: int, rng: torch.Generator) -> torch.Tensor:
        schedule = self.config.schedule
        if self.config.levels == "uniform":
            return schedule.sigma(torch.rand(count, generator=rng))
        return draw_logit_normal(count, schedule=schedule, rng=rng)

    def preview(self, rng: torch.Generator) -> Preview:
        return self.parts.preview(
            self.denoiser,
            rng,
            frames=self.config.periods[-1].frames,
            sigmas=self.config.schedule.grid(self.config.preview_steps)[:-1],
            layout=self.layout,
            renoise="predicted",
            guidance=self.config.guidance,
        )

    def export(self, provenance: Mapping[str, Any]) -> Bundle:
        config = self.config
        return self.parts.bundle(
            self.denoiser,
            name="teacher",
            provenance=provenance,
            schedule=config.schedule,
            layout=self.layout,
            clip_frames=config.periods[-1].frames,
            guidance=config.guidance,
        )


def sizes_of(config: TeacherConfig, inputs: Mapping[str, Bundle]) -> TransformerConfig:
    """Those the recipe says, or those of the model it begins with.

    Raises:
        UserError: neither is there.
    """
    start = inputs.get("teacher")
    sizes = config.transformer or (None if start is None else start.spec.transformer)
    if sizes is None:
        raise UserError(
            "[teacher.transformer] says no sizes, and [inputs] teacher names no model that has any."
        )
    return sizes
