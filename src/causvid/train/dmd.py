"""Stage five: asymmetric distribution matching distillation.

A causal few-step student is pulled towards the clips its teacher finds likely, by the
difference of two scores on its own noised output: the teacher's, and that of a critic
which follows the student. Teacher and critic may see the whole clip although the
student may not; that asymmetry is the method. They may also be larger than the student.

Where the student's clips come from is one word, see `dmd_config`.

Sources: CausVid, arXiv:2412.07772, section 4.2; Self-Forcing, arXiv:2506.08009;
DMD2, arXiv:2405.14867 (the paper).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from causvid.data.trajectories import Trajectories
from causvid.flow.losses import critic_loss, dmd_gradient, dmd_loss
from causvid.flow.schedule import add_noise, draw_sigma, x0_from_velocity
from causvid.generate.rollout import Condition, Renoise, denoise_chunk, rollout
from causvid.models.bundle import Bundle
from causvid.models.denoiser import Denoiser
from causvid.nn.text import TextTokens
from causvid.train.adapters import merged
from causvid.train.clips import ClipBatch
from causvid.train.common import Parts, fresh_denoiser, guided_velocity, per_chunk, velocity_of
from causvid.train.diagnostics import by_level
from causvid.train.dmd_config import DmdConfig
from causvid.train.dmd_inputs import check_fits, checked_teacher, open_prompts
from causvid.train.long_video import LongVideo, Stretch
from causvid.train.own_videos import first_sample, open_clips
from causvid.train.prompts import Captions, PromptSource, Scenes
from causvid.train.regression import Regression
from causvid.train.runs import step_rng
from causvid.train.stage import WHOLE, Loss, Preview, Share
from causvid.types import Latents, Sigma

SHARED_BY_RANKS = 2**31
"""In place of a rank: the random source of draws on which all ranks must agree."""


@dataclass(frozen=True)
class DmdBatch:
    clips: ClipBatch
    exit_step: int
    """The student's step that runs under grad; the same on all ranks."""
    past: int
    """Latent frames rolled out before the clip that is judged; the same on all ranks."""
    video: LongVideo | None = None
    """What goes on from step to step, for student_input "long"."""
    anchor: Trajectories | None = None
    """For the extra loss "regression"."""


class Dmd:
    """Implements `causvid.train.stage.Stage` with the roles "student" and "critic".

    Each begins with the weights of [inputs] of its name, of any size, or of the teacher.
    """

    def __init__(self, config: DmdConfig, inputs: Mapping[str, Bundle], *, folder: Path) -> None:
        teacher = checked_teacher(config, inputs)
        self.config = config
        self.renoise: Renoise = "predicted" if config.sampler == "euler" else "fresh"
        self.clips = open_clips(folder / config.clips) if config.student_input == "data" else None
        own = None if self.clips is not None else open_prompts(config, inputs, folder)
        self.parts = Parts.of(inputs, self.clips if self.clips is not None else own)
        self.prompts: PromptSource = Scenes(config.change_probability)
        if own is not None:
            self.prompts = Captions(own, config.change_probability, config.layout.frames_per_chunk)
        assert teacher.denoiser is not None
        self.teacher, self.teacher_layout = teacher.denoiser, teacher.spec.layout
        self.schedule = inputs.get("student", teacher).spec.schedule
        self.student, self.critic = (
            self._fresh(role, inputs.get(role, teacher), teacher) for role in ("student", "critic")
        )
        self.begun_with = self._weights_of(inputs.get("student", teacher)) if config.trained_share < 1 else {}
        self.anchor: Regression | None = None
        if "regression" in config.extra:
            self.anchor = Regression(
                folder / config.trajectories, inputs, layout=config.layout, clean_levels=config.clean_levels
            )
        self.videos: dict[int, tuple[ClipBatch, LongVideo]] = {}
        self.trainable: Mapping[str, nn.Module] = {
            "student": self.student.transformer,
            "critic": self.critic.transformer,
        }
        self.frozen: Mapping[str, nn.Module] = {
            "teacher": self.teacher,
            **self.parts.frozen,
        }

    def _fresh(self, role: str, start: Bundle, teacher: Bundle) -> Denoiser:
        check_fits(role, start, teacher)
        assert start.spec.transformer is not None
        denoiser, adapters = fresh_denoiser(start.spec.transformer, start), self.config.adapters
        return denoiser if adapters is None else adapters.fit(denoiser, role)

    def roles(self, step: int) -> Sequence[str]:
        """The critic at every step; the student before it at every `critic_steps`-th after the warm-up."""
        after = step - self.config.critic_warmup
        return ("student", "critic") if after >= 0 and after % self.config.critic_steps == 0 else ("critic",)

    def at_rest(self, step: int) -> bool:
        """Whether no long video goes on at this step. Implements `causvid.train.stage.Carries`."""
        long = self.config.long
        return long is None or step % long.steps(self.config.frames) == 0

    def batch(self, step: int, rng: torch.Generator, share: Share = WHOLE) -> DmdBatch:
        config = self.config
        shared = step_rng(0, SHARED_BY_RANKS, step)
        first = first_sample(step, config.batch, share)
        exit_step = int(torch.randint(len(config.sigmas), (), generator=shared))
        past, video = 0, None
        if self.clips is not None:
            clips = self.clips.batch(config.batch, config.frames, rng, first=first)
        elif config.long is not None:
            clips, video = self._video(step, rng, share)
        else:
            if config.student_input == "rollout":
                chunk = config.layout.frames_per_chunk
                past = chunk * int(torch.randint(config.past_frames // chunk + 1, (), generator=shared))
            clips = self._own_clips(past + config.frames, rng, first=first)
        learns = self.anchor is not None and "student" in self.roles(step)
        anchor = self.anchor.batch(config.batch, rng) if self.anchor is not None and learns else None
        return DmdBatch(clips, exit_step, past, video, anchor)

    def _own_clips(self, frames: int, rng: torch.Generator, *, first: int) -> ClipBatch:
        """Prompts, and as yet no latents, of clips the student will make."""
        no_latents = torch.empty(self.parts.latent_shape(self.config.batch, frames), device="meta")
        return ClipBatch(no_latents, self.prompts.draw(self.config.batch, frames, rng, first=first))

    def _video(self, step: int, rng: torch.Generator, share: Share) -> tuple[ClipBatch, LongVideo]:
        """The long video of a share, a new one where the one before has come to its end."""
        config, long = self.config, self.config.long
        assert long is not None
        if self.at_rest(step):
            first = first_sample(step // long.steps(config.frames), config.batch, share)
            clips = self._own_clips(long.length(config.frames), rng, first=first)
            with torch.no_grad():
                text = self.parts.read(clips.prompts)
            layers = self.student.transformer.config.layers
            video = LongVideo(text, config.layout, layers=layers, config=long, frames=config.frames)
            self.videos[share.number] = clips, video
        return self.videos[share.number]

    def loss(self, role: str, batch: DmdBatch, rng: torch.Generator) -> Loss:
        with torch.set_grad_enabled(role == "student"):
            made = self.student_clip(role, batch, rng)
        if role == "critic":
            return self._critic_loss(made, rng)
        loss = self._student_loss(made, rng)
        if self.anchor is None or batch.anchor is None:
            return loss
        extra = self.anchor.loss(self.student, batch.anchor, rng)
        metrics = {**loss.metrics, "regression": extra}
        return Loss(loss.value + self.config.extra["regression"] * extra, metrics)

    def student_clip(self, role: str, batch: DmdBatch, rng: torch.Generator) -> Stretch:
        """The student's clean clip, as `student_input` says; one pass of each judged chunk is under grad."""
        config, parts = self.config, self.parts
        how: dict[str, Any] = {"sigmas": config.sigmas, "rng": rng, "grad_at": batch.exit_step}
        how["renoise"] = self.renoise
        if batch.video is not None:
            assert config.long is not None
            count = config.frames - (config.long.overlap_frames if batch.video.frames else 0)
            noise = parts.noise(config.batch, count, rng)
            return batch.video.go_on(self.student, noise, parts.vae, lasting=role == "critic", **how)
        with torch.no_grad():
            text = parts.read(batch.clips.prompts)
        if config.student_input == "data":
            return Stretch(self._from_data(batch.clips.latents.to(parts.device), text, rng), text, 0)
        noise = parts.noise(config.batch, batch.past + config.frames, rng)
        if config.student_input == "simulated":
            whole = Condition(text, mask=config.layout.mask(config.frames))
            return Stretch(denoise_chunk(self.student, noise, whole, **how), text, 0)
        x0 = rollout(self.student, noise, text, layout=config.layout, grad_from=batch.past, **how)
        judged = text if text.parts is None else text.with_parts(text.parts[:, batch.past :])
        return Stretch(x0[:, batch.past :], judged, 0)

    def _from_data(self, real: Latents, text: TextTokens, rng: torch.Generator) -> Latents:
        config, (b, f) = self.config, real.shape[:2]
        levels = torch.tensor([*config.sigmas, *([0.0] if config.clean_levels else [])])
        chosen = torch.randint(len(levels), (b, len(config.layout.spans(f))), generator=rng)
        sigma = per_chunk(levels[chosen], config.layout, f).to(real)
        x_t = add_noise(real, torch.randn(real.shape, generator=rng).to(real), sigma)
        return self.student(x_t, sigma, text, mask=config.layout.mask(f))

    def _student_loss(self, made: Stretch, rng: torch.Generator) -> Loss:
        x0, text = made.clip, made.text
        with torch.no_grad():
            z, sigma, _ = self._noised(x0, rng)
            past: dict[str, Any] = {"clean": x0.detach(), "layout": self.teacher_layout}
            believed = x0_from_velocity(z, velocity_of(self.critic, z, sigma, text, **past), sigma)
            negative = self.parts.negative(x0.shape[0])
            guided = guided_velocity(self.teacher, z, sigma, text, negative, self.config.guidance, **past)
            gradient, normaliser = dmd_gradient(x0, believed, x0_from_velocity(z, guided, sigma))
        new = torch.ones_like(x0, dtype=torch.bool)
        new[:, : made.given] = False
        value = dmd_loss(x0, gradient, mask=new if made.given else None)
        metrics = {
            "pull": gradient.square().mean().sqrt(),
            "normaliser": normaliser.mean(),
            "spread": x0.detach().std(),
            "motion": x0.detach().diff(dim=1).abs().mean(),
        }
        return Loss(value, metrics)

    def _critic_loss(self, made: Stretch, rng: torch.Generator) -> Loss:
        x0 = made.clip
        z, sigma, noise = self._noised(x0, rng)
        velocity = velocity_of(self.critic, z, sigma, made.text, clean=x0, layout=self.teacher_layout)
        value = critic_loss(velocity, x0, noise)
        each = (velocity.detach() - (noise - x0.detach())).square().mean((1, 2, 3, 4))
        return Loss(value, {"loss": value, **by_level(each, sigma[:, 0])})

    def _noised(self, x0: Latents, rng: torch.Generator) -> tuple[Latents, Sigma, Latents]:
        """The clip at one level for all its frames, that level, and the noise."""
        b, f = x0.shape[:2]
        sigma = draw_sigma(b, f, schedule=self.config.schedule, rng=rng).to(x0)
        noise = torch.randn(x0.shape, generator=rng).to(x0)
        return add_noise(x0.detach(), noise, sigma), sigma, noise

    def preview(self, rng: torch.Generator) -> Preview:
        """Twice as long as the clips it was trained on, where nothing is counted anew in between."""
        return self.parts.preview(
            self.student,
            rng,
            frames=self.config.frames * (1 if self.config.layout.in_segments else 2),
            sigmas=self.config.sigmas,
            layout=self.config.layout,
            renoise=self.renoise,
        )

    def export(self, provenance: Mapping[str, Any]) -> Bundle:
        config = self.config
        return self.parts.bundle(
            self._exported(),
            name="student",
            provenance=provenance,
            schedule=self.schedule,
            layout=config.layout,
            clip_frames=config.frames,
            sigmas=config.exported_sigmas or config.sigmas,
            sampler=config.sampler,
        )

    def _exported(self) -> Denoiser:
        """The student, or so much of it as the configuration says and the rest of what it began with."""
        student, share = merged(self.student), self.config.trained_share
        if not self.begun_with:
            return student
        made = copy.deepcopy(student)
        made.load_state_dict(
            {name: self.begun_with[name].to(x).lerp(x, share) for name, x in made.state_dict().items()}
        )
        return made

    @staticmethod
    def _weights_of(start: Bundle) -> dict[str, Tensor]:
        """A copy: what was loaded may be sharded, moved or trained before it is needed."""
        assert start.denoiser is not None
        return {name: x.detach().clone() for name, x in start.denoiser.state_dict().items()}
