"""Stage four: the causal student learns the teacher's trajectories.

What it regresses on, and how, is in `regression`. A blurry result is normal here: a chunk
of a bidirectional teacher's clip also depends on noise the student never sees.

Sources: CausVid, arXiv:2412.07772, section 4.3; the causal form, Causal-Forcing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from causvid.data.trajectories import Trajectories
from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.models.bundle import Bundle
from causvid.train.adapters import AdapterConfig, merged
from causvid.train.common import fresh_denoiser
from causvid.train.regression import Regression
from causvid.train.stage import WHOLE, Loss, Preview, Share


@dataclass(frozen=True, kw_only=True)
class OdeInitConfig:
    trajectories: str = "trajectories"
    """A folder made by `causvid trajectories`, beside this run."""
    batch: int = 16
    layout: ChunkLayout = field(default_factory=ChunkLayout)
    """The student's; its window also bounds what it sees while streaming."""
    sampler: Literal["fresh", "euler"] = "fresh"
    """How the student gets from level to level in previews and in what is exported; it learns the same."""
    clean_levels: bool = True
    """Draw sigma 0 among the levels, so that the pass which commits a chunk is trained too."""
    adapters: AdapterConfig | None = None
    """Train adapters in place of all weights."""


class OdeInit:
    """Implements `causvid.train.stage.Stage` with the single role "student".

    The student begins with the weights of [inputs] student, of any size, or of the teacher.
    """

    def __init__(self, config: OdeInitConfig, inputs: Mapping[str, Bundle], *, folder: Path) -> None:
        if "teacher" not in inputs or inputs["teacher"].spec.transformer is None:
            raise UserError("ODE initialisation needs [inputs] teacher, a model with a transformer.")
        self.config = config
        self.pairs = Regression(
            folder / config.trajectories, inputs, layout=config.layout, clean_levels=config.clean_levels
        )
        self.source, self.parts = self.pairs.source, self.pairs.parts
        self.schedule = self.source.schedule or inputs["teacher"].spec.schedule
        start = inputs.get("student", inputs["teacher"])
        if start.spec.transformer is None:
            raise UserError("[inputs] student of an ODE initialisation must be a model with a transformer.")
        self.denoiser = fresh_denoiser(start.spec.transformer, start)
        if config.adapters is not None:
            self.denoiser = config.adapters.fit(self.denoiser, "student")
        self.trainable: Mapping[str, nn.Module] = {"student": self.denoiser.transformer}
        self.frozen: Mapping[str, nn.Module] = self.parts.frozen

    def roles(self, step: int) -> Sequence[str]:
        return ("student",)

    def batch(self, step: int, rng: torch.Generator, share: Share = WHOLE) -> Trajectories:
        return self.pairs.batch(self.config.batch, rng)

    def loss(self, role: str, batch: Trajectories, rng: torch.Generator) -> Loss:
        value = self.pairs.loss(self.denoiser, batch, rng)
        return Loss(value, {"loss": value})

    def preview(self, rng: torch.Generator) -> Preview:
        return self.parts.preview(
            self.denoiser,
            rng,
            frames=self.source.frames,
            sigmas=self.source.sigmas,
            layout=self.config.layout,
            renoise="predicted" if self.config.sampler == "euler" else "fresh",
        )

    def export(self, provenance: Mapping[str, Any]) -> Bundle:
        return self.parts.bundle(
            merged(self.denoiser),
            name="ode_init",
            provenance=provenance,
            schedule=self.schedule,
            layout=self.config.layout,
            clip_frames=self.source.frames,
            sigmas=self.source.sigmas,
            sampler=self.config.sampler,
        )
