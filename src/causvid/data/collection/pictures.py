"""A video of a collection becomes pictures of one size and rate, and facts about it.

What is asked of a file is an `Errand`, which goes as JSON to a process of its own. Loads
no torch, so that such a process starts quickly. Knows open files, nothing of paths.
"""

from collections.abc import Generator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any

import av

from causvid.data.decoding import (
    DEMUXERS,
    ClipLimits,
    Fit,
    Picture,
    Span,
    clip_info,
    clip_pictures,
    open_clip,
)
from causvid.errors import UserError

ACCEPTED = "a video of a kind that is accepted (MP4, MOV, MKV, WebM, GIF)"
ALLOWED = f"{DEMUXERS},gif"
MISSING_SHARE, MISSING_SECONDS = 0.1, 0.5
"""How much shorter than it says a sound file may be: the last frame has no end, rates are rounded."""


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What to read of a file."""

    name: str
    """Of the file, for messages."""
    size: tuple[int, int]
    fit: Fit
    fps: int
    spans: tuple[Span, ...] | None = None
    """Frames at that rate, in rising order; None for all, and then the length is checked."""
    most_pixels: int
    most_seconds: float


Facts = dict[str, Any]
"""height and width as stored, fps, seconds, codec, audio, frames (given out)."""
Pictures = Generator[Picture, None, Facts]


def pictures_of(file: BufferedIOBase, errand: Errand) -> Pictures:
    """The frames, upright and fitted; returns the facts.

    Raises:
        UserError: beyond a limit, no video, or shorter than it says. Damage is any other exception.
    """
    try:
        return (yield from _pictures(file, errand))
    except av.error.ArgumentError as error:  # what decoders say to frames beyond their limit
        raise UserError(
            f"{errand.name} is damaged, or says that it has frames of more than {errand.most_pixels} pixels."
        ) from error


def _pictures(file: BufferedIOBase, errand: Errand) -> Pictures:
    limits = ClipLimits(pixels=errand.most_pixels, seconds=errand.most_seconds)
    with open_clip(file, demuxers=ALLOWED, pixels=errand.most_pixels) as container:
        info = clip_info(container, errand.name)
        claimed = _claimed_seconds(container, info.seconds)
        frames = 0
        asked: dict[str, Any] = {"fps": errand.fps, "size": errand.size}
        asked |= {"fit": errand.fit, "spans": errand.spans}
        for picture in clip_pictures(container, errand.name, limits=limits, **asked):
            frames += 1
            yield picture
        if errand.spans is None:
            _check_length(errand.name, frames / errand.fps, claimed)
        return {
            "height": info.height,
            "width": info.width,
            "fps": round(info.fps, 3),
            "seconds": round(frames / errand.fps, 3),
            "codec": container.streams.video[0].codec_context.codec.canonical_name,
            "audio": bool(container.streams.audio),
            "frames": frames,
        }


def _claimed_seconds(container: Any, whole: float | None) -> float | None:
    """How long the file says that its pictures last; where there is sound, that may go on for longer."""
    stream = container.streams.video[0]
    said = [float(stream.duration * stream.time_base)] if stream.duration and stream.time_base else []
    clock = str(stream.metadata.get("DURATION", "")).split(":")  # Matroska, as FFmpeg writes it
    if len(clock) == 3 and all(part.replace(".", "", 1).isdecimal() for part in clock):
        said.append(3600 * float(clock[0]) + 60 * float(clock[1]) + float(clock[2]))
    if whole is not None and not (said and container.streams.audio):
        said.append(whole)
    return max(said, default=None)


def _check_length(name: str, seconds: float, claimed: float | None) -> None:
    if not seconds:
        raise UserError(f"{name} holds not a single frame that can be decoded.")
    if claimed is not None and seconds < claimed - max(MISSING_SHARE * claimed, MISSING_SECONDS):
        raise UserError(
            f"{name} says that it lasts {claimed:.1f} s and holds {seconds:.1f} s: it is cut short."
        )
