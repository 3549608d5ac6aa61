"""Groups of flags that all verbs about video share: how a model is loaded, sampled, and its prompts change.

Loads no torch before a flag is used.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, arg

from causvid.errors import UserError

if TYPE_CHECKING:
    from causvid.generate.pipeline import Pipeline

Transition = Literal["soft", "blend", "recache", "cut"]


@dataclass(frozen=True)
class LoadFlags:
    """Loading the model."""

    device: str = "auto"
    """auto, cpu, cuda ..."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """of the network's matrix products; auto is bfloat16 on a GPU, float32 elsewhere if it fits"""
    vae: Annotated[str, arg(metavar="full|tiny|FILE")] = "full"
    """tiny decodes Wan's latents with a small decoder: pictures at once, a little less sharp"""
    offload: Literal["none", "text"] = "none"
    """text frees a large text encoder as soon as prompts are encoded"""
    base: Annotated[str | None, arg(metavar="MODEL")] = None
    """for a checkpoint (.pt): the model with the autoencoder and the text encoder"""

    def load(self, model: str, *, dtype: str | None = None) -> "Pipeline":
        """The model, with the threads that suit it.

        Args:
            dtype: what "auto" means here, if it is known.
        """
        from causvid.generate.machine import use_threads
        from causvid.generate.pipeline import load

        named = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.dtype == "auto" and dtype is not None:
            named["dtype"] = dtype
        pipeline = load(model, **named)
        use_threads(pipeline.bundle)
        return pipeline


@dataclass(frozen=True)
class SamplingFlags:
    """Sampling; by default as the model says (see `causvid info MODEL`)."""

    sampler: Annotated[
        Literal["fresh", "euler", "unipc", "dpm++"] | None, arg(metavar="fresh|euler|unipc|dpm++")
    ] = None
    """fresh is a student's own, euler, unipc and dpm++ are solvers"""
    steps: Annotated[int | None, arg(metavar="N")] = None
    """noise levels, taken from the model's schedule"""
    sigmas: Annotated[str | None, arg(metavar="1,0.9,...")] = None
    """the noise levels themselves, falling"""
    shift: Annotated[float | None, arg(metavar="X")] = None
    """of the schedule that steps are taken from; higher spends more of them near noise"""
    guidance: Annotated[float | None, arg(metavar="X")] = None
    """how far to go from the negative prompt; 1 is off and twice as fast"""
    negative: Annotated[str | None, arg(metavar="PROMPT")] = None
    """what the video should not show"""
    past: Literal["absolute", "windowed", "segment"] | None = None
    """how a long video remembers: a rolling window (absolute, windowed), or segments that overlap"""
    window: Annotated[int | None, arg(metavar="FRAMES")] = None
    """latent frames seen at once, or the length of a segment"""
    sink: Annotated[int | None, arg(metavar="FRAMES")] = None
    """first latent frames that are never forgotten"""

    def changes(self) -> dict[str, Any]:
        """What was typed, as `Pipeline.stream` and `generate` take it."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in named.items() if value is not None}
        return given if self.sigmas is None else {**given, "sigmas": read_levels(self.sigmas)}


Seconds = Annotated[float | None, arg(metavar="SECONDS")]
Seed = Annotated[int | None, arg(metavar="N", help="the same seed gives the same video; 0 by default")]
Size = Annotated[
    str | None,
    arg(metavar="HxW", help="height and width in pixels; by default the model's own"),
]
Scale = Annotated[
    int | None,
    arg(metavar="N", help="enlarge by a whole number; by default what is comfortable to watch"),
]
Loading = Annotated[LoadFlags, OmitArgPrefixes]
Sampling = Annotated[SamplingFlags, OmitArgPrefixes]


def read_levels(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise UserError(
            f"sigmas are {text!r}; give falling numbers from 1 to above 0 with commas between them, "
            "such as 1,0.9375,0.8333,0.625."
        ) from error
