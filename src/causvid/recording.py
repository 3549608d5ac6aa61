"""A stream becomes a file, chunk by chunk, while somebody watches it grow.

Joins three things that know nothing of one another: a pipeline, a clip writer and a
progress bar. What a clip was made from is stored inside it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from causvid import __version__
from causvid.data.video import ClipWriter, viewing_scale
from causvid.errors import UserError
from causvid.generate.clip import frames_in
from causvid.generate.inputs import Picture
from causvid.generate.pipeline import Pipeline
from causvid.progress import Progress
from causvid.types import Frames

DEFAULT_SECONDS = 10.0


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
            f"{self.path}: {self.frames / self.fps:g} s of video, {width}x{height}, {self.frames} frames in "
            f"{self.seconds:.2f} s ({self.frames_per_second:.0f} frames/s), "
            f"the first after {self.first_frames_seconds:.2f} s"
        )


def record(
    pipeline: Pipeline,
    prompt: str,
    out: Path,
    *,
    seconds: float | int | None = None,
    seed: int = 0,
    image: Picture | None = None,
    prompts_at: Mapping[float | int, str] | None = None,
    transition: str = "soft",
    size: tuple[int, int] | None = None,
    scale: int | None = None,
    also: Sequence[Path] = (),
    facts: Mapping[str, Any] | None = None,
) -> Recording:
    """Generate a clip into a file; its suffix decides the kind.

    Args:
        seconds: how long; by default ten, or the length a bidirectional model was trained on.
        image, prompts_at, transition, size: as in `Pipeline.stream`.
        scale: whole-number enlargement; by default what is comfortable to watch.
        also: further files of the same clip.
        facts: further things to store in the file.

    Raises:
        UserError: bad input, or a file that cannot be written. Nothing is left behind then.
    """
    spec = pipeline.spec
    if scale is not None and not 1 <= scale <= 64:
        raise UserError(f"scale is {scale}; it must be a whole number from 1 to 64.")
    if spec.layout is not None and seconds is None:
        seconds = DEFAULT_SECONDS
    metadata = {
        "prompt": prompt.strip(),
        "prompts_at": {f"{moment:g}": text for moment, text in (prompts_at or {}).items()},
        "transition": transition,
        "seed": seed,
        "model": spec.name,
        "sigmas": list(spec.sigmas),
        "size": list(size or spec.size),
        "fps": spec.fps,
        "seconds": seconds,
        "version": __version__,
        **(facts or {}),
    }
    started = time.perf_counter()
    steering = {"image": image, "prompts_at": prompts_at or None, "transition": transition}
    make = pipeline.stream if spec.layout is not None else _at_once(pipeline)
    chunks = make(prompt, seconds=seconds, seed=seed, size=size, **_changed(steering))
    with ExitStack() as stack:
        clips = [
            stack.enter_context(
                ClipWriter(
                    path,
                    fps=spec.fps,
                    metadata=metadata,
                    scale=scale or default_scale(path, (size or spec.size)[0]),
                )
            )
            for path in (out, *also)
        ]
        first_frames = next(chunks)  # before anything is shown: what cannot be made has failed by now
        first = time.perf_counter() - started
        total = None if seconds is None else frames_in(seconds, spec.fps)
        bar = stack.enter_context(Progress(total, label=out.name, unit="frame"))
        for frames in chain([first_frames], chunks):
            for clip in clips:
                clip.write(frames)
            bar.update(len(frames))
    taken = time.perf_counter() - started
    clip = clips[0]
    assert clip.size is not None
    shown = (clip.size[0] * clip.scale, clip.size[1] * clip.scale)
    return Recording(
        path=out, frames=clip.frames, fps=spec.fps, size=shown, first_frames_seconds=first, seconds=taken
    )


def _at_once(pipeline: Pipeline) -> Callable[..., Iterator[Frames]]:
    """A bidirectional model's whole clip as its only chunk."""

    def chunks(prompt: str, **how: Any) -> Iterator[Frames]:
        yield pipeline.generate(prompt, **how)

    return chunks


def _changed(steering: dict[str, Any]) -> dict[str, Any]:
    """Without what was left as it is: a model that cannot be steered complains only when asked to."""
    return {name: value for name, value in steering.items() if value is not None and value != "soft"}


def default_scale(out: Path, height: int) -> int:
    """Comfortable to watch; a contact sheet shows many pictures and takes half of that."""
    scale = viewing_scale(height)
    return max(1, scale // 2) if out.suffix.lower() == ".png" else scale
