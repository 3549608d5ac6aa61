"""Verbs that begin with a video somebody has: going on from its end, and making it anew."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from causvid.commands.flags import (
    LoadFlags,
    Loading,
    Sampling,
    SamplingFlags,
    Scale,
    Seconds,
    Size,
)
from causvid.commands.words import read_size, warn_of_unknown_words
from causvid.errors import UserError

if TYPE_CHECKING:
    from causvid.generate.pipeline import Pipeline
    from causvid.types import Frames

MAX_SECONDS = 3600
"""Of a clip; its frames are held in memory, of which reading takes no more than it may."""
Clip = Annotated[Positional[Path], arg(metavar="CLIP", help="an MP4, MOV, MKV, WebM or GIF")]
Prompt = Annotated[Positional[str], arg(metavar="PROMPT")]
Model = Annotated[
    str | None, arg(metavar="MODEL", help="by default the one the clip was made with, else tiny")
]


def extend(
    clip: Clip,
    prompt: Prompt,
    /,
    *,
    model: Model = None,
    seconds: float = 5.0,
    seed: int = 0,
    size: Size = None,
    scale: Scale = None,
    loading: Loading = LoadFlags(),  # noqa: B008
    sampling: Sampling = SamplingFlags(),  # noqa: B008
    out: Annotated[Path, arg(aliases=["-o"])] = Path("out.mp4"),
) -> None:
    """Let a video go on: the file holds the clip and what follows it.

    The clip is cropped and scaled to the model's size and played at its rate.

    Args:
        prompt: what happens next.
        seconds: how much is added.
        seed: the same seed gives the same continuation.
        out: where; .mp4, .gif, .webp, or .png for a contact sheet.
    """
    from causvid.generate.clip import frames_in
    from causvid.generate.films import first_frames
    from causvid.recording import made_with, write_clip

    _check_files(clip, out)
    pipeline = _loaded(model, clip, prompt, loading).sampled(**sampling.changes())
    frames = frames_in(seconds, pipeline.spec.fps)
    shape = read_size(size) or pipeline.spec.size
    before = _read(clip, pipeline, shape)
    session = pipeline.session(prompt, video=before, seed=seed, size=shape)
    told = {"verb": "extend", "prompt": prompt.strip(), "clip": clip.name, "clip_frames": len(before)}
    print(
        write_clip(
            first_frames(session, frames),
            out,
            fps=pipeline.spec.fps,
            size=shape,
            total=frames,
            metadata=told | made_with(pipeline, seed=seed, size=shape, seconds=seconds),
            before=before.split(64),
            scale=scale,
        )
    )


def edit(
    clip: Clip,
    prompt: Prompt,
    /,
    *,
    strength: float = 0.5,
    adapt: Literal["none", "motion"] = "none",
    model: Model = None,
    seconds: Seconds = None,
    seed: int = 0,
    size: Size = None,
    scale: Scale = None,
    loading: Loading = LoadFlags(),  # noqa: B008
    sampling: Sampling = SamplingFlags(),  # noqa: B008
    out: Annotated[Path, arg(aliases=["-o"])] = Path("out.mp4"),
) -> None:
    """Make a video anew after a prompt, chunk by chunk, and keep of it what the strength leaves.

    The clip is cropped and scaled to the model's size and played at its rate.

    Args:
        prompt: what it shall show.
        strength: 0 keeps the clip as it is, 1 ignores it.
        adapt: motion lowers the strength by up to 0.1 where the clip moves much.
        seconds: how much of the clip; all of it by default.
        seed: the same seed gives the same video.
        out: where; .mp4, .gif, .webp, or .png for a contact sheet.
    """
    from causvid.generate.clip import frames_in
    from causvid.generate.films import edited
    from causvid.recording import made_with, write_clip

    _check_files(clip, out)
    pipeline = _loaded(model, clip, prompt, loading).sampled(**sampling.changes())
    shape = read_size(size) or pipeline.spec.size
    most = None if seconds is None else frames_in(seconds, pipeline.spec.fps)
    given = _read(clip, pipeline, shape)[:most]
    session = pipeline.session(prompt, seed=seed, size=shape)
    told: dict[str, Any] = {"verb": "edit", "prompt": prompt.strip(), "clip": clip.name}
    told |= {"strength": strength, "adapt": adapt}
    length = len(given) / pipeline.spec.fps
    print(
        write_clip(
            edited(session, given, strength=strength, adapt=adapt),
            out,
            fps=pipeline.spec.fps,
            size=shape,
            total=len(given),
            metadata=told | made_with(pipeline, seed=seed, size=shape, seconds=length),
            scale=scale,
        )
    )


def _check_files(clip: Path, out: Path) -> None:
    """Before a model is loaded: the clip can be read, and is not what will be written.

    Raises:
        UserError: it cannot, or it is.
    """
    from causvid.data.footage import probe

    if not clip.is_file():
        raise UserError(f"{clip} cannot be read: there is no such file.")
    if clip.suffix.lower() in (".webp", ".png"):
        raise UserError(f"{clip} is a picture; extend and edit read videos (MP4, MOV, MKV, WebM, GIF).")
    probe(clip)
    if out.exists() and out.samefile(clip):
        raise UserError(f"-o is the clip itself, {clip}, which would be overwritten; name another file.")


def _loaded(model: str | None, clip: Path, prompt: str, loading: LoadFlags) -> "Pipeline":
    """The model that was asked for, or that the clip was made with."""
    pipeline = loading.load(model or maker_of(clip))
    warn_of_unknown_words(pipeline.unknown_words(prompt))
    return pipeline


def maker_of(clip: Path) -> str:
    """The model that a clip of causvid says it was made with; of others the embedded one."""
    from causvid.data.metadata import read_metadata

    try:
        return str(read_metadata(clip).get("model", "tiny"))
    except UserError:
        return "tiny"  # somebody else's video; whether it can be read shows when it is


def _read(clip: Path, pipeline: "Pipeline", shape: tuple[int, int]) -> "Frames":
    from causvid.data.footage import read_video

    return read_video(clip, fps=pipeline.spec.fps, size=shape, max_seconds=MAX_SECONDS)
