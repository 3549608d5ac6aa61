"""From a row of the plan to clips: whose weights, sampled how.

Knows models and samplers; nothing of scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from causvid.errors import UserError
from causvid.evaluate.arms import Arm, model_arm
from causvid.evaluate.protocol import Item, source_of
from causvid.evaluate.scoring import Periods
from causvid.evaluate.tables.plan import Row, seed_name
from causvid.flow.chunks import ChunkLayout
from causvid.generate.clip import latents_for
from causvid.generate.inputs import latent_shape, parts_of, sampler_of
from causvid.generate.longer import LONG_SAMPLERS, Asked
from causvid.generate.pipeline import Pipeline
from causvid.generate.rollout import fresh_noise
from causvid.models.spec import ModelSpec
from causvid.pixels import to_uint8
from causvid.types import Frames

STUDENT_SIGMAS = (1.0, 0.9, 0.75, 0.5)
"""Of all students of these tables."""
STUDENT_LAYOUT = ChunkLayout(frames_per_chunk=3, window_frames=12, positions="windowed")


@dataclass(frozen=True)
class Maker:
    """A row with its model, for one training seed."""

    row: Row
    number: int
    pipeline: Pipeline

    @property
    def name(self) -> str:
        return seed_name(self.row.name, self.number)

    def arm(self, frames: int) -> Arm:
        """Its clips of so many frames."""
        if self.row.how in LONG_SAMPLERS:
            return Arm(self.name, _LongClips(self, frames), what=self.row.title, expensive=True)
        return replace(model_arm(self.name, self.pipeline, frames=frames), what=self.row.title)

    @property
    def periods(self) -> Periods:
        """Where its seams may be: between chunks, or where one window ends and another goes on."""
        stride = parts_of(self.pipeline.bundle)[1].geometry.temporal_stride
        layout, spec = self.pipeline.spec.layout, self.pipeline.spec
        if self.row.how in LONG_SAMPLERS:
            return Periods(chunk=(spec.clip_frames - overlap_of(self.row, spec)) * stride, stride=stride)
        return Periods(chunk=None if layout is None else layout.frames_per_chunk * stride, stride=stride)

    @property
    def said_passes(self) -> str:
        """As the plan says them; and if the model is sampled otherwise than planned, how many they are."""
        as_planned = self.row.how in LONG_SAMPLERS or self.passes == self.row.planned_passes
        return self.row.passes if as_planned else f"{self.passes} (planned: {self.row.passes})"

    @property
    def passes(self) -> int:
        """Of the network, for what it makes at once: a chunk with its commit, a window or a clip."""
        spec = self.pipeline.spec
        guided = 2 if spec.guidance != 1 else 1
        commit = 0 if spec.layout is None else guided
        return len(sampler_of(self.pipeline.bundle)[0]) * guided + commit


def make_maker(row: Row, number: int, pipeline: Pipeline) -> Maker:
    """The model of a row, sampled as the row says.

    Raises:
        UserError: the model is no teacher, where the row needs one.
    """
    if row.how == "own":
        return Maker(row, number, pipeline)
    spec = pipeline.spec
    if spec.layout is not None or spec.sigmas:
        raise UserError(
            f"the arm {row.name!r} needs a bidirectional many-step model; {spec.name!r} is none. "
            f"Train it with the command of its step, {row.step!r}."
        )
    changed = {
        "few": lambda: replace(spec, sigmas=STUDENT_SIGMAS, sampler="euler"),
        "streamed": lambda: replace(
            spec, sigmas=STUDENT_SIGMAS, sampler="fresh", layout=STUDENT_LAYOUT, guidance=1.0
        ),
    }.get(row.how, lambda: spec)()
    return Maker(row, number, Pipeline(replace(pipeline.bundle, spec=changed)))


def overlap_of(row: Row, spec: ModelSpec) -> int:
    """Latent frames that two windows share: half of them where they are fused, a chunk where one goes on."""
    if row.how == "sliding":
        return min(STUDENT_LAYOUT.frames_per_chunk, spec.clip_frames - 1)
    return spec.clip_frames // 2


@dataclass(frozen=True)
class _LongClips:
    """Clips longer than the model knows, by one of the samplers for that."""

    maker: Maker
    frames: int

    @torch.no_grad()
    def __call__(self, items: Sequence[Item]) -> list[Frames]:
        bundle, row = self.maker.pipeline.bundle, self.maker.row
        spec = bundle.spec
        denoiser, vae, text = parts_of(bundle)
        device = denoiser.transformer.out.weight.device
        sources = [source_of(item) for item in items]
        latents = max(spec.clip_frames, latents_for(self.frames, vae.geometry))
        shape = (len(items), latents, *latent_shape(bundle, spec.size))
        asked = Asked(
            text=text([item.text for item in items]).to(device),
            negative=None if spec.guidance == 1 else text([spec.negative] * len(items)).to(device),
            guidance=spec.guidance,
            sigmas=sampler_of(bundle)[0],
            window=spec.clip_frames,
            overlap=overlap_of(row, spec),
            sources=sources,
        )
        noise = fresh_noise(torch.empty(shape, device=device), sources)
        made = LONG_SAMPLERS[row.how](denoiser, noise, asked)
        return [clip[: self.frames].cpu() for clip in to_uint8(vae.decode(made))]
