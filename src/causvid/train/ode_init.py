"""Stage four: the causal student learns the teacher's trajectories.

Every chunk gets one of the student's levels, independently, the clean one among them;
one masked forward predicts every chunk's endpoint. Trajectories of a causal teacher
carry the clean past they were solved under; then the student sees that past (teacher
forcing) and all chunks have one level. A blurry result is normal here.

Sources: CausVid, arXiv:2412.07772, section 4.3; the causal form, Causal-Forcing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from causvid.config import build, read_toml
from causvid.data.trajectories import Trajectories, TrajectoryReader
from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.flow.losses import ode_regression_loss
from causvid.flow.schedule import x0_from_velocity
from causvid.models.bundle import Bundle
from causvid.train.common import Parts, fresh_denoiser, per_chunk, velocity_of
from causvid.train.stage import WHOLE, Loss, Preview, Share
from causvid.train.trajectories import TrajectoriesConfig, own_videos, sample_text


@dataclass(frozen=True, kw_only=True)
class OdeInitConfig:
    trajectories: str = "trajectories"
    """A folder made by `causvid trajectories`, beside this run."""
    batch: int = 16
    layout: ChunkLayout = field(default_factory=ChunkLayout)
    """The student's; its window also bounds what it sees while streaming."""
    clean_levels: bool = True
    """Draw sigma 0 among the levels, so that the pass which commits a chunk is trained too."""


class OdeInit:
    """Implements `causvid.train.stage.Stage` with the single role "student"."""

    def __init__(self, config: OdeInitConfig, inputs: Mapping[str, Bundle], *, folder: Path) -> None:
        if "teacher" not in inputs or inputs["teacher"].spec.transformer is None:
            raise UserError("ODE initialisation needs [inputs] teacher, a model with a transformer.")
        self.config = config
        self.teacher = inputs["teacher"].spec
        self.reader = TrajectoryReader(folder / config.trajectories)
        source = folder / config.trajectories / "trajectories.toml"
        self.source = build(TrajectoriesConfig, read_toml(source), source.name)
        self.parts = Parts.of(inputs, own_videos(self.source, folder))
        self.denoiser = fresh_denoiser(self.teacher.transformer, inputs["teacher"])  # type: ignore[arg-type]
        self.reader.expect(self.source.samples)
        self._check_chunks()
        self.trainable: Mapping[str, nn.Module] = {"student": self.denoiser.transformer}
        self.frozen: Mapping[str, nn.Module] = self.parts.frozen

    def _check_chunks(self) -> None:
        mine, solved = self.config.layout.spans(self.source.frames), self.teacher.layout
        if solved is not None and solved.spans(self.source.frames) != mine:
            raise UserError(
                "the student's chunks differ from the causal teacher's; give both layouts the same "
                "frames_per_chunk and first_chunk_frames."
            )

    def roles(self, step: int) -> Sequence[str]:
        return ("student",)

    def batch(self, step: int, rng: torch.Generator, share: Share = WHOLE) -> Trajectories:
        return self.reader.batch(self.config.batch, rng)

    def loss(self, role: str, batch: Trajectories, rng: torch.Generator) -> Loss:
        device, layout = self.parts.device, self.config.layout
        states = torch.cat([batch.states, batch.x0[:, None]], dim=1).to(device)
        levels = torch.tensor([*self.source.sigmas, 0.0])
        b, choices, f = states.shape[:3]
        if batch.clean is None:
            count = choices if self.config.clean_levels else choices - 1
            chosen = per_chunk(torch.randint(count, (b, len(layout.spans(f))), generator=rng), layout, f)
        else:
            chosen = torch.randint(choices - 1, (b, 1), generator=rng).repeat(1, f)
        sigma = levels[chosen].to(device)
        x_t = states.gather(
            1, chosen.to(device)[:, None, :, None, None, None].expand(b, 1, *states.shape[2:])
        )[:, 0]
        text = sample_text(self.source, self.parts, batch.seeds)
        x0 = batch.x0.to(device)
        if batch.clean is None:
            velocity = self.denoiser.transformer(x_t, sigma, text, mask=layout.mask(f))
        else:
            clean = batch.clean.to(device)
            velocity = velocity_of(self.denoiser, x_t, sigma, text, clean=clean, layout=layout)
        value = ode_regression_loss(x0_from_velocity(x_t, velocity, sigma), x0, sigma)
        return Loss(value, {"loss": value})

    def preview(self, rng: torch.Generator) -> Preview:
        return self.parts.preview(
            self.denoiser,
            rng,
            frames=self.source.frames,
            sigmas=self.source.sigmas,
            layout=self.config.layout,
            renoise="fresh",
        )

    def export(self, provenance: Mapping[str, Any]) -> Bundle:
        return self.parts.bundle(
            self.denoiser,
            name="ode_init",
            provenance=provenance,
            schedule=self.teacher.schedule,
            layout=self.config.layout,
            clip_frames=self.source.frames,
            sigmas=self.source.sigmas,
        )
