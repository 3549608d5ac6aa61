"""What distribution matching is asked to do.

Where the student's clips come from is one word:

    "data"       real clips noised per chunk, one masked forward      CausVid, algorithm 1
    "simulated"  its own whole clips, sampled under the mask; the     DMD2
                 last pass runs under grad
    "rollout"    its own chunk loop through the cache, one step of    Self-Forcing
                 which runs under grad; prompts suffice
    "long"       the same behind a past that grows from step to step  LongLive

Sources: CausVid, arXiv:2412.07772, section 4.2; DMD2, arXiv:2405.14867 (the paper);
Self-Forcing, arXiv:2506.08009; LongLive, arXiv:2509.22622.
"""

from dataclasses import dataclass, field
from typing import Literal

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.flow.schedule import FlowSchedule
from causvid.models.spec import check_sigmas
from causvid.train.adapters import AdapterConfig
from causvid.train.long_video import LongConfig

EXTRA_LOSSES = ("regression",)
"""Words in `DmdConfig.extra`."""


@dataclass(frozen=True, kw_only=True)
class DmdConfig:
    student_input: Literal["data", "simulated", "rollout", "long"] = "rollout"
    teacher: Literal["bidirectional", "causal"] = "bidirectional"
    """What [inputs] teacher must be. A causal one, and its critic, score chunks under a clean past."""
    clips: str = "latents"
    """Encoded clips, for student_input "data"."""
    clean_levels: bool = True
    """For student_input "data": draw sigma 0 among the levels, so that clean chunks are judged too."""
    prompts: str | None = None
    """What the student's own videos follow: a text file with one caption a line, or a folder that
    `causvid encode` made of videos. None, or a folder of rendered clips: prompts of the rendered domain."""
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
    sampler: Literal["fresh", "euler"] = "fresh"
    """How one of its levels leads to the next: with new noise, or with the noise it sees (Euler's method)."""
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
    """Share of the student's own videos whose prompt changes."""
    long: LongConfig | None = None
    """For student_input "long"."""
    trained_share: float = 1.0
    """Of the exported weights; the rest are those the student began with. Matching drops what is rare, such
    as rain, and half-way back much of it returns. Source: WiSE-FT, arXiv:2109.01903."""
    adapters: AdapterConfig | None = None
    """Train adapters in place of all weights."""
    extra: dict[str, float] = field(default_factory=dict)
    """Further losses of the student, by word, and how much each counts: "regression" on trajectories."""
    trajectories: str = "trajectories"
    """For the extra loss "regression": a folder made by `causvid trajectories`, beside this run."""

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
        if not 0 < self.trained_share <= 1:
            raise UserError(f"dmd.trained_share is {self.trained_share}; it must be above 0 and at most 1.")
        for word in self.extra:
            if word not in EXTRA_LOSSES:
                raise UserError(f"dmd.extra names {word!r}; accepted: {', '.join(EXTRA_LOSSES)}.")
        if (self.long is None) == (self.student_input == "long"):
            raise UserError("[dmd.long] goes with student_input 'long', and that needs it.")
        if self.long is not None:
            self.long.check(self.frames, self.layout)
