"""Stage three: the many-step teacher, by flow matching.

One class trains the bidirectional teacher and, with `causal = true`, the block-causal
one by teacher forcing: clean and noisy copies of the clip in one sequence, every
noisy chunk seeing the clean chunks before it.

Sources: flow matching, arXiv:2210.02747; teacher forcing for video chunks,
Causal-Forcing and Self-Forcing (arXiv:2506.08009), section 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from causvid.data import worlds
from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.flow.losses import flow_matching_loss
from causvid.flow.schedule import FlowSchedule, add_noise, draw_logit_normal
from causvid.models.bundle import Bundle, ModelSpec
from causvid.models.denoiser import Denoiser
from causvid.nn.transformer import TransformerConfig, VideoTransformer
from causvid.pixels import to_uint8
from causvid.train.clips import ClipBatch, EncodedClips, window_prompts
from causvid.train.stage import Loss, Preview
from causvid.generate.rollout import rollout


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
    transformer: TransformerConfig
    clips: str = "latents"
    """A folder made by `causvid encode`, beside this run."""
    periods: tuple[Period, ...]
    """Short clips first: most of what there is to learn fits in two seconds."""
    schedule: FlowSchedule = field(default_factory=lambda: FlowSchedule(shift=3.0))
    """Of training's noise levels and of the sampler."""
    drop_prompt: float = 0.1
    """Share of clips trained without a prompt, so that guidance has something to move away from."""
    causal: bool = False
    layout: ChunkLayout = field(default_factory=ChunkLayout)
    guidance: float = 2.0
    """For previews, and as the exported model's default."""
    preview_steps: int = 24


class Teacher:
    """Implements `causvid.train.stage.Stage` with the single role "teacher"."""

    def __init__(self, config: TeacherConfig, inputs: Mapping[str, Bundle], *, folder: Path) -> None:
        vae, text = inputs["vae"], inputs["text"]
        if vae.vae is None or text.text is None:
            raise UserError("a teacher needs [inputs] vae and text, each naming a model that has that part.")
        self.config = config
        self.vae, self.text, self.spec = vae.vae, text.text, vae.spec
        self.history = {**vae.spec.provenance, **text.spec.provenance}
        start = inputs.get("teacher")
        self.denoiser = Denoiser(VideoTransformer(config.transformer))
        if start is not None and start.denoiser is not None:
            self.denoiser.load_state_dict(start.denoiser.state_dict())
        self.clips = EncodedClips(folder / config.clips)
        self.trainable: Mapping[str, nn.Module] = {"teacher": self.denoiser.transformer}
        self.frozen: Mapping[str, nn.Module] = {"vae": self.vae, "text": self.text}

    def roles(self, step: int) -> Sequence[str]:
        return ("teacher",)

    def batch(self, step: int, rng: torch.Generator) -> ClipBatch:
        periods = self.config.periods
        period = next((p for p in periods if step < p.until), periods[-1])
        return self.clips.batch(period.batch, period.frames, rng)

    def loss(self, role: str, batch: ClipBatch, rng: torch.Generator) -> Loss:
        config, device = self.config, self.vae.latent_mean.device
        x0 = batch.latents.to(device)
        b, f = x0.shape[:2]
        drop = torch.rand(b, generator=rng) < config.drop_prompt
        with torch.no_grad():
            text = batch.prompts.encode(self.text, drop=drop)
        noise = torch.randn(x0.shape, generator=rng).to(device)
        if config.causal:
            spans = config.layout.spans(f)
            levels = draw_logit_normal(b * len(spans), schedule=config.schedule, rng=rng).view(b, -1)
            counts = torch.tensor([len(s) for s in spans])
            sigma = levels.repeat_interleave(counts, dim=1).to(device)
            velocity = self._teacher_forced(x0, noise, sigma, text)
        else:
            level = draw_logit_normal(b, schedule=config.schedule, rng=rng)
            sigma = level[:, None].expand(b, f).to(device)
            velocity = self.denoiser.transformer(add_noise(x0, noise, sigma), sigma, text)
        value = flow_matching_loss(velocity, x0, noise)
        return Loss(value, {"loss": value})

    def _teacher_forced(self, x0: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor, text: Any) -> torch.Tensor:
        """The velocity of every noisy chunk, given the clean chunks before it."""
        f = x0.shape[1]
        both = torch.cat([x0, add_noise(x0, noise, sigma)], dim=1)
        levels = torch.cat([torch.zeros_like(sigma), sigma], dim=1)
        numbers = torch.arange(f).repeat(2)
        doubled = text.with_parts(text.parts.repeat(1, 2))
        mask = self.config.layout.teacher_forcing_mask(f)
        return self.denoiser.transformer(both, levels, doubled, frames=numbers, mask=mask)[:, f:]

    def preview(self, rng: torch.Generator) -> Preview:
        """Unpicked held-out prompts."""
        frames = self.config.periods[-1].frames
        seeds = torch.randint(2**40, (12,), generator=rng).tolist()
        scenes = [worlds.scene(s, split="heldout", change_probability=0.3, frames=4 * frames) for s in seeds]
        prompts = window_prompts(scenes, [0] * len(scenes), frames, rng)
        text = prompts.encode(self.text)
        negative = self.text([""] * len(prompts))
        height, width = self.vae.geometry.latent_size(*self.spec.size)
        noise = torch.randn(len(prompts), frames, self.vae.config.latent_channels, height, width, generator=rng)
        latents = rollout(
            self.denoiser,
            noise.to(self.vae.latent_mean.device),
            text,
            negative=negative,
            guidance=self.config.guidance,
            sigmas=self.config.schedule.grid(self.config.preview_steps)[:-1],
            renoise="predicted",
            layout=self.config.layout if self.config.causal else None,
        )
        clips = to_uint8(self.vae.decode(latents)).cpu()
        labels = [a if a == b else f"{a} / {b}" for a, b in zip(prompts.first, prompts.second, strict=True)]
        return Preview(clips, labels)

    def export(self, provenance: Mapping[str, Any]) -> Bundle:
        config = self.config
        spec = ModelSpec(
            name="teacher",
            fps=worlds.FPS,
            size=self.spec.size,
            vae=self.vae.config,
            text=self.text.config,
            transformer=config.transformer,
            schedule=config.schedule,
            layout=config.layout if config.causal else None,
            clip_frames=config.periods[-1].frames,
            guidance=config.guidance,
            provenance={**self.history, "transformer": dict(provenance)},
        )
        return Bundle(spec=spec, vae=self.vae, text=self.text, denoiser=self.denoiser)
