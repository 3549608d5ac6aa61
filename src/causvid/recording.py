"""A stream becomes a file, chunk by chunk, while somebody watches it grow.

Joins three things that know nothing of one another: a pipeline, a clip writer and a
progress bar. What a clip was made from is stored inside it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from causvid import __version__
from causvid.data.video import ClipWriter, viewing_scale
from causvid.errors import UserError
from causvid.generate.clip import frames_in
from causvid.generate.inputs import Picture
from causvid.generate.pipeline import Pipeline
from causvid.generate.sampling import sampling_facts
from causvid.generate.timeline import Timeline
from causvid.progress import Progress
from causvid.types import Frames

AnyFrames = UInt8[Tensor, "_ H W 3"]
"""One of several that may differ in length."""
DEFAULT_SECONDS = 10.0
LAST_SECONDS = 5.0
"""Of the last prompt of a timeline that does not say how long it is."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was written, and how fast it came."""

    path: Path
    frames: int
    fps: float | int
    size: tuple[int, int]
    """Height and width of the file's pictures."""
    first_frames_seconds: float
    """From the prompt to the first frames, loading not included."""
    seconds: float
    """Wall time of making and writing all frames."""

    @property
    def frames_per_second(self) -> float:
        return self.frames / self.seconds

    def __str__(self) -> str:
        height, width = self.size
        return (
            f"{self.path}: {self.frames / self.fps:g} s of video, {height}x{width}, {self.frames} frames in "
            f"{self.seconds:.2f} s ({self.frames_per_second:.0f} frames/s), "
            f"the first after {self.first_frames_seconds:.2f} s"
        )


def record(
    pipeline: Pipeline,
    prompt: str,
    out: Path,
    *,
    scale: int | None = None,
    also: Sequence[Path] = (),
    image: Picture | None = None,
    sampling: Mapping[str, Any] | None = None,
    **asked: Any,
) -> Recording:
    """Generate a clip into a file; its suffix decides the kind.

    Args:
        scale: whole-number enlargement; by default what is comfortable to watch.
        also: further files of the same clip.
        image: a picture of the video's size to start from.
        sampling: sampler, steps, sigmas, shift, guidance and negative, where they should be otherwise.
        asked: whatever `Asked` has.

    Raises:
        UserError: bad input, or a file that cannot be written. Nothing is left behind then.
    """
    if sampling:
        pipeline = pipeline.sampled(**sampling)
    spec, what = pipeline.spec, Asked(**asked).of(pipeline)
    make = pipeline.stream if spec.layout is not None else _at_once(pipeline)
    chunks = make(
        what.timeline or prompt, seconds=what.seconds, seed=what.seed, size=what.size, **what.steering(image)
    )
    return write_clip(
        chunks,
        out,
        fps=spec.fps,
        size=what.size or spec.size,
        total=None if what.seconds is None else frames_in(what.seconds, spec.fps),
        metadata=what.metadata(pipeline, prompt),
        scale=scale,
        also=also,
    )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a clip shows when, as `Pipeline.stream` takes it, in numbers and words that a file can hold."""

    seconds: float | int | None = None
    """By default ten, or the length a bidirectional model was trained on."""
    seed: int = 0
    prompts_at: Mapping[float | int, str] | None = None
    transition: str = "soft"
    over: int = 4
    timeline: Timeline | None = None
    """In place of prompt, prompts_at, transition and over."""
    size: tuple[int, int] | None = None
    facts: Mapping[str, Any] | None = None
    """Further things to store in the file."""

    def of(self, pipeline: Pipeline) -> "Asked":
        """The same, its length said."""
        if self.timeline is not None and self.timeline.seconds is not None and self.seconds is None:
            return replace(self, seconds=self.timeline.seconds)
        if pipeline.spec.layout is None or self.seconds is not None:
            return self
        last = 0.0 if self.timeline is None else self.timeline.events[-1].time
        return replace(self, seconds=max(DEFAULT_SECONDS, last + LAST_SECONDS))

    def steering(self, image: Picture | None) -> dict[str, Any]:
        """Without what was left as it is: a model that cannot be steered complains only when asked to."""
        given: dict[str, Any] = {"image": image, "prompts_at": self.prompts_at or None}
        given["transition"] = None if self.transition == "soft" else self.transition
        given["over"] = self.over if self.transition == "blend" else None
        return {name: value for name, value in given.items() if value is not None}

    def metadata(self, pipeline: Pipeline, prompt: str) -> dict[str, Any]:
        """What is stored in the clip; whoever has it can make the clip again."""
        if self.timeline is not None:
            told: dict[str, Any] = {"prompt": self.timeline.prompt, "timeline": self.timeline.to_table()}
        else:
            later = {f"{moment:g}": text for moment, text in (self.prompts_at or {}).items()}
            told = {"prompt": prompt.strip(), "prompts_at": later, "transition": self.transition}
            told |= {"over": self.over} if self.transition == "blend" else {}
        facts = {**told, **(self.facts or {})}
        return facts | made_with(pipeline, seed=self.seed, size=self.size, seconds=self.seconds)


def made_with(
    pipeline: Pipeline, *, seed: int, size: tuple[int, int] | None, seconds: float | int | None
) -> dict[str, Any]:
    """What is stored in every clip: model, sampler, noise and shape."""
    spec = pipeline.spec
    return {
        "seed": seed,
        "model": spec.name,
        **sampling_facts(spec),
        "dtype": str(pipeline.dtype).removeprefix("torch."),
        "size": list(size or spec.size),
        "fps": spec.fps,
        "seconds": seconds,
        "version": __version__,
    }


def write_clip(
    chunks: Iterator[Frames],
    out: Path,
    *,
    fps: float | int,
    size: tuple[int, int],
    total: int | None,
    metadata: Mapping[str, Any],
    before: Iterable[AnyFrames] = (),
    scale: int | None = None,
    also: Sequence[Path] = (),
) -> Recording:
    """Write frames as they are made.

    Args:
        chunks: makes them.
        size: their height and width.
        total: how many there will be, `before` not counted; None where nobody knows.
        metadata: what is stored in the file.
        before: frames that are there already and come first.
        scale: whole-number enlargement; by default what is comfortable to watch.
        also: further files of the same clip.

    Raises:
        UserError: bad input, or a file that cannot be written. Nothing is left behind then.
    """
    if scale is not None and not 1 <= scale <= 64:
        raise UserError(f"scale is {scale}; it must be a whole number from 1 to 64.")
    started = time.perf_counter()
    with ExitStack() as stack:
        clips = [
            stack.enter_context(
                ClipWriter(path, fps=fps, metadata=metadata, scale=scale or default_scale(path, size[0]))
            )
            for path in (out, *also)
        ]
        first_frames = next(chunks)  # before anything is shown: what cannot be made has failed by now
        first = time.perf_counter() - started
        for frames in before:
            _to_all(clips, frames)
        _to_all(clips, first_frames)
        bar = Progress(total, label=out.name, unit="frame", done=len(first_frames))
        stack.enter_context(bar)
        for frames in chunks:
            _to_all(clips, frames)
            bar.update(len(frames))
    taken = time.perf_counter() - started
    clip = clips[0]
    assert clip.size is not None
    shown = (clip.size[0] * clip.scale, clip.size[1] * clip.scale)
    return Recording(
        path=out, frames=clip.frames, fps=fps, size=shown, first_frames_seconds=first, seconds=taken
    )


def _to_all(clips: Sequence[ClipWriter], frames: Frames) -> None:
    for clip in clips:
        clip.write(frames)


def _at_once(pipeline: Pipeline) -> Callable[..., Iterator[Frames]]:
    """A bidirectional model's whole clip as its only chunk; its steps are shown while they are made."""

    def chunks(prompt: str | Timeline, **how: Any) -> Iterator[Frames]:
        with StepBar(str(prompt)) as bar:
            frames = pipeline.generate(prompt, on_step=bar, **how)
        assert isinstance(frames, torch.Tensor)
        yield frames

    return chunks


class StepBar:
    """Shows the steps of a clip that comes in one piece, from the first that was made."""

    def __init__(self, label: str) -> None:
        self._label = label if len(label) <= 30 else f"{label[:27]}..."
        self._stack = ExitStack()
        self._bar: Progress | None = None

    def __enter__(self) -> "StepBar":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __call__(self, done: int, of: int) -> None:
        if self._bar is None:  # the first step tells no rate: it also warms everything up
            self._bar = self._stack.enter_context(Progress(of, label=self._label, unit="step", done=done))
        self._bar.update(done - self._bar.done)


def default_scale(out: Path, height: int) -> int:
    """Comfortable to watch; a contact sheet shows many pictures and takes half of that."""
    scale = viewing_scale(height)
    return max(1, scale // 2) if out.suffix.lower() == ".png" else scale
