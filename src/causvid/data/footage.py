"""A video from anybody, read as frames, with limits.

A small file can claim frames of a hundred megapixels, or a playlist can name other
files: size and length are checked before decoding and again while it goes on, and
only container formats that hold their own data are opened. Knows files and frames,
nothing of models.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps

from causvid.data.files import reading
from causvid.errors import UserError
from causvid.types import Frames

MAX_PIXELS = 4096 * 2304
MAX_SECONDS = 60.0
_MAX_FPS = 240
_MAX_BYTES = 4 * 2**30
_ACCEPTED = "a video of a kind that is accepted (MP4, MOV, MKV, WebM, GIF)"


@dataclass(frozen=True, kw_only=True)
class ClipInfo:
    """What a video file says about itself, which need not be true."""

    height: int
    width: int
    fps: float
    seconds: float | None
    """None where the file does not say."""


def probe(path: str | Path) -> ClipInfo:
    """Size, rate and length of a video, without decoding it.

    Raises:
        UserError: the file is missing, damaged, or no MP4, MOV, MKV, WebM or GIF.
    """
    path = Path(path)
    with reading(path, _ACCEPTED), path.open("rb") as file, _container(file) as container:
        return _info(container, path)


def read_video(
    path: str | Path,
    *,
    fps: float | int | None = None,
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    max_seconds: float | int = MAX_SECONDS,
) -> Frames:
    """All frames of a video, upright.

    Args:
        path: an MP4, MOV, MKV, WebM or GIF.
        fps: wanted rate: at each of its moments the frame then on show is taken; None keeps every frame.
        size: wanted height and width: frames are scaled to cover it and cropped to their centre.
        max_pixels: larger frames are refused before one is decoded.
        max_seconds: longer videos are refused.

    Raises:
        UserError: the file is missing, damaged, of another kind, too large or too long.
    """
    path = Path(path)
    pictures, used = [], 0
    with reading(path, _ACCEPTED), path.open("rb") as file, _container(file) as container:
        info = _info(container, path)
        timed = _decode(container, info, path, max_pixels=max_pixels, max_seconds=max_seconds)
        for frame in (frame for _, frame in timed) if fps is None else _resample(timed, fps, info):
            pictures.append(_picture(frame, size))
            used += pictures[-1].nbytes
            if used > _MAX_BYTES:
                raise UserError(
                    f"{path} needs more than {_MAX_BYTES >> 30} GiB of memory. Cut it, or ask for less."
                )
        if not pictures:
            raise UserError(f"{path} holds not a single frame that can be decoded.")
        return torch.from_numpy(np.stack(pictures))


def _container(file: Any) -> Any:
    # A file object and a list of formats: a playlist must not make the decoder open other files.
    options = {"format_whitelist": "mov,matroska,webm,gif"}
    return av.open(file, "r", container_options=options, metadata_errors="replace")


def _info(container: Any, path: Path) -> ClipInfo:
    if not container.streams.video:
        raise UserError(f"{path} holds no video.")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise UserError(f"{path} holds video in a coding that cannot be decoded here.")
    return ClipInfo(
        height=stream.height,
        width=stream.width,
        fps=float(stream.average_rate or stream.guessed_rate or 0),
        seconds=container.duration / av.time_base if container.duration else None,
    )


def _decode(
    container: Any, info: ClipInfo, path: Path, *, max_pixels: int, max_seconds: float | int
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Each frame with its moment in seconds; every limit again as they come, for headers may lie."""
    _check(info.height, info.width, info.seconds or 0, path, max_pixels=max_pixels, max_seconds=max_seconds)
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    start = None
    for number, frame in enumerate(container.decode(stream)):
        moment = frame.time if frame.time is not None else number / (info.fps or 1)
        start = moment if start is None else start
        seconds = max(moment - start, number / _MAX_FPS)
        _check(frame.height, frame.width, seconds, path, max_pixels=max_pixels, max_seconds=max_seconds)
        yield moment - start, frame


def _check(
    height: int, width: int, seconds: float | int, path: Path, *, max_pixels: int, max_seconds: float | int
) -> None:
    if height * width > max_pixels:
        raise UserError(
            f"{path} has frames of {width}x{height} pixels; at most {max_pixels} in all are accepted."
        )
    if seconds > max_seconds:
        raise UserError(f"{path} is longer than the {max_seconds:g} seconds accepted. Cut it first.")


def _resample(
    timed: Iterator[tuple[float, av.VideoFrame]], fps: float | int, info: ClipInfo
) -> Iterator[av.VideoFrame]:
    """At every moment i / fps the frame on show."""
    shown, taken, end = None, 0, 0.0
    for moment, frame in timed:
        while shown is not None and (taken + 0.01) / fps < moment:  # a hundredth: times in files are rounded
            yield shown
            taken += 1
        shown, end = frame, moment + 1 / (info.fps or fps)
    while shown is not None and (taken + 0.01) / fps < end:
        yield shown
        taken += 1


def _picture(frame: av.VideoFrame, size: tuple[int, int] | None) -> UInt8[np.ndarray, "H W 3"]:
    stored = frame.reformat(format="rgb24", threads=1).to_ndarray()
    upright = np.rot90(stored, frame.rotation // 90)
    if size is None or upright.shape[:2] == size:
        return upright
    fitted = ImageOps.fit(Image.fromarray(upright), (size[1], size[0]), method=Image.Resampling.LANCZOS)
    return np.array(fitted)
