"""Regression on stored trajectories: from a state at one of its levels a student should jump to the endpoint.

Every chunk gets one of the student's levels, independently, the clean one among them;
one masked forward predicts every chunk's endpoint. Trajectories of a causal teacher
carry the clean past they were solved under; then the student sees that past (teacher
forcing) and all chunks have one level.

It is the causal student's initialisation, and can go on beside distribution matching as
an anchor: that only matches distributions, this holds each noise to its clip.

Sources: CausVid, arXiv:2412.07772, section 4.3; the causal form, Causal-Forcing; as an
anchor: DMD, arXiv:2311.18828, section 3.3.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.config import build, read_toml
from causvid.data.files import straight
from causvid.data.trajectories import Trajectories, TrajectoryReader
from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.flow.losses import ode_regression_loss
from causvid.flow.schedule import x0_from_velocity
from causvid.models.bundle import Bundle
from causvid.models.denoiser import Denoiser
from causvid.train.common import Parts, per_chunk, velocity_of
from causvid.train.trajectories import TrajectoriesConfig, own_videos, sample_text


class Regression:
    """Trajectories, and how far a student is from where they end."""

    def __init__(
        self, folder: Path, inputs: Mapping[str, Bundle], *, layout: ChunkLayout, clean_levels: bool
    ) -> None:
        """Open the trajectories in `folder`.

        Args:
            layout: the student's.
            clean_levels: draw sigma 0 among the levels. Not for trajectories with a clean past.

        Raises:
            UserError: they are not complete, or the chunks of a causal teacher differ from the student's.
        """
        self.layout, self.clean_levels = layout, clean_levels
        folder = straight(folder)
        self.reader = TrajectoryReader(folder)
        source = folder / "trajectories.toml"
        self.source = build(TrajectoriesConfig, read_toml(source), source.name)
        self.parts = Parts.of(inputs, own_videos(self.source, folder.parent))
        self.reader.expect(self.source.samples)
        self._check_chunks(inputs["teacher"])

    def _check_chunks(self, teacher: Bundle) -> None:
        mine, solved = self.layout.spans(self.source.frames), teacher.spec.layout
        if solved is not None and solved.spans(self.source.frames) != mine:
            raise UserError(
                "the student's chunks differ from the causal teacher's; give both layouts the same "
                "frames_per_chunk and first_chunk_frames."
            )

    def batch(self, count: int, rng: torch.Generator) -> Trajectories:
        return self.reader.batch(count, rng)

    def loss(self, student: Denoiser, batch: Trajectories, rng: torch.Generator) -> Float[Tensor, ""]:
        device, layout = self.parts.device, self.layout
        states = torch.cat([batch.states, batch.x0[:, None]], dim=1).to(device)
        levels = torch.tensor([*self.source.sigmas, 0.0])
        b, choices, f = states.shape[:3]
        if batch.clean is None:
            count = choices if self.clean_levels else choices - 1
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
            velocity = student.transformer(x_t, sigma, text, mask=layout.mask(f))
        else:
            clean = batch.clean.to(device)
            velocity = velocity_of(student, x_t, sigma, text, clean=clean, layout=layout)
        return ode_regression_loss(x0_from_velocity(x_t, velocity, sigma), x0, sigma)
