"""A model's own way from noise to video, and the same with what somebody wants otherwise.

Everything a sampler needs is in the model's spec: levels or steps, the kind of step, the shift
of the schedule, guidance. So another sampler is another spec over the same weights, and
whatever generates (a clip, a stream, a session) takes it without knowing.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.flow.schedule import FlowSchedule
from causvid.models.bundle import Bundle
from causvid.models.spec import ModelSpec, Sampler

MAX_STEPS = 1000
SEGMENT_FRAMES = 21
"""Latent frames of a segment where the model has no window: what Wan's students were trained on."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What of a model's sampler should be otherwise; None leaves it as the model says.

    Raises:
        UserError: a value that is not accepted.
    """

    sampler: str | None = None
    """"fresh" adds new noise between levels, as a student does; "euler", "unipc" and "dpm++" are solvers."""
    steps: int | None = None
    """Levels from the model's schedule."""
    sigmas: tuple[float, ...] | None = None
    """The levels themselves, falling from at most 1 to above 0."""
    shift: float | int | None = None
    """Of the schedule that steps are taken from."""
    guidance: float | int | None = None
    negative: str | None = None
    past: str | None = None
    """How a long video remembers: "absolute", "windowed" or "segment" (see `ChunkLayout.positions`)."""
    window: int | None = None
    """Latent frames seen at once, or the length of a segment."""
    sink: int | None = None
    """First latent frames that are never forgotten."""

    def __post_init__(self) -> None:
        if self.sampler is not None:
            check_sampler(self.sampler)
        if self.steps is not None and not 1 <= self.steps <= MAX_STEPS:
            raise UserError(f"steps is {self.steps}; it must be a whole number from 1 to {MAX_STEPS}.")
        if self.sigmas is not None and (not self.sigmas or self.steps is not None or self.shift is not None):
            raise UserError(
                "sigmas are the levels themselves: give at least one, and neither steps nor shift with them."
            )
        if self.guidance is not None and not 0 <= self.guidance <= 100:
            raise UserError(f"guidance is {self.guidance:g}; it must be from 0 to 100, where 1 is none.")

    @property
    def changes(self) -> dict[str, Any]:
        """Those that are given, by name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if value is not None}

    def of(self, spec: ModelSpec) -> ModelSpec:
        """The model's spec with these changes.

        Raises:
            UserError: they do not fit the model.
        """
        sigmas, steps = self._levels(spec)
        word = spec.sampler_word if self.sampler is None else check_sampler(self.sampler)
        return replace(
            spec,
            sampler=word,
            sigmas=sigmas,
            steps=steps,
            schedule=spec.schedule if self.shift is None else FlowSchedule(shift=float(self.shift)),
            guidance=spec.guidance if self.guidance is None else float(self.guidance),
            negative=spec.negative if self.negative is None else self.negative,
            layout=self._layout(spec),
        )

    def _layout(self, spec: ModelSpec) -> ChunkLayout | None:
        if self.past is None and self.window is None and self.sink is None:
            return spec.layout
        if spec.layout is None:
            raise UserError(
                f"the model {spec.name!r} is bidirectional and has no past: "
                "past, window and sink need a causal model."
            )
        positions: Any = self.past or spec.layout.positions
        window, sink = self.window, self.sink
        if window is None:
            window = spec.layout.window_frames
        if positions == "segment" and window is None:
            window = SEGMENT_FRAMES
        if sink is None:
            sink = 0 if positions == "segment" else spec.layout.sink_frames
        return replace(
            spec.layout, positions=positions, window_frames=window, sink_frames=sink, overlap_frames=None
        )

    def _levels(self, spec: ModelSpec) -> tuple[tuple[float, ...], int]:
        if self.sigmas is not None:
            return tuple(map(float, self.sigmas)), spec.steps
        if self.steps is not None:
            return (), self.steps
        if self.shift is not None and spec.sigmas:
            raise UserError(
                f"the model {spec.name!r} has its own levels, {list(spec.sigmas)}: a shift goes with steps."
            )
        return spec.sigmas, spec.steps


def check_sampler(word: str) -> Sampler:
    """The word itself.

    Raises:
        UserError: there is no such sampler.
    """
    for known in get_args(Sampler):
        if word == known:
            return known
    raise UserError(f"sampler is {word!r}; accepted: {', '.join(get_args(Sampler))}.")


def resampled(bundle: Bundle, sampling: Sampling) -> Bundle:
    """The same weights under another sampler; itself where nothing is changed.

    Raises:
        UserError: the changes do not fit the model.
    """
    return replace(bundle, spec=sampling.of(bundle.spec)) if sampling.changes else bundle


def sampling_facts(spec: ModelSpec) -> dict[str, Any]:
    """How a clip of this model is sampled, as it is stored in the clip."""
    levels: dict[str, Any] = {"sigmas": list(spec.sigmas)}
    if not spec.sigmas:
        levels |= {"steps": spec.steps, "shift": spec.schedule.shift}
    guided = {} if spec.guidance == 1 else {"guidance": spec.guidance, "negative": spec.negative}
    return {"sampler": spec.sampler_word, **levels, **guided, **_past_facts(spec.layout)}


def _past_facts(layout: ChunkLayout | None) -> dict[str, Any]:
    if layout is None:
        return {}
    facts = {"past": layout.positions, "window": layout.window_frames, "sink": layout.sink_frames}
    return {name: value for name, value in facts.items() if value is not None}


def sampling_of(table: dict[str, Any]) -> Sampling:
    """The sampler a clip was made with, from what `sampling_facts` stored in it."""
    named = {field.name: table[field.name] for field in fields(Sampling) if field.name in table}
    if sigmas := named.pop("sigmas", None):
        named["sigmas"] = tuple(sigmas)
    return Sampling(**named)
