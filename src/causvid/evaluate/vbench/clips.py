"""Two files of every clip: one upstream decodes, and one that gives back the frames bit for bit.

Upstream's readers, OpenCV and decord, give back RGB within rounding where a video is made with the matrix of
BT.601 and says so. The other file is H.264 in RGB, which loses nothing. Knows frames and paths only.
"""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
from av.video.reformatter import ColorRange, Colorspace

from causvid.data.files import writing
from causvid.data.footage import read_video
from causvid.types import Frames

Kind = Literal["video", "frames"]
_BT601 = 6
"""Colour code point of ITU-T H.273."""
_ENOUGH_SECONDS = 3600.0


def write_clip(frames: Frames, path: Path, *, fps: float | int, kind: Kind, unfinished: Path) -> None:
    """Write a clip without loss at exactly its rate; it appears whole or not at all.

    Args:
        frames: all of them.
        path: where.
        fps: frames a second.
        kind: "video" is YUV 4:4:4 in MP4, which rounding takes 52 dB from the frames; "frames" is exact.
        unfinished: a folder of the same disk for half-written files: upstream reads all it finds in its own.
    """
    part = unfinished / f"part{path.suffix}"
    with writing(path):
        unfinished.mkdir(parents=True, exist_ok=True)
        _encode(frames, part, fps=fps, kind=kind)
        os.replace(part, path)


def _encode(frames: Frames, part: Path, *, fps: float | int, kind: Kind) -> None:
    codec, pixels = ("libx264", "yuv444p") if kind == "video" else ("libx264rgb", "rgb24")
    with av.open(f"file:{part}", "w") as container:  # the suffix says which container
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = container.add_stream(codec, rate=rate, options={"crf": "0", "preset": "veryfast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1  # the bytes depend on the frames alone
        if kind == "video":
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT601
            context.color_range = ColorRange.MPEG
        for picture in frames.numpy():
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if kind == "video":
                frame = frame.reformat(format=pixels, dst_colorspace=Colorspace.ITU601, threads=1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_clip(path: Path) -> Frames:
    """All frames of either file."""
    return read_video(path, max_seconds=_ENOUGH_SECONDS)
