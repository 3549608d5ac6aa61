"""One encoder for each kind of clip file: MP4, animated GIF and WebP, PNG contact sheet.

Each takes frames as they come (`add`) and completes its file (`finish`). They write to
the path they are given and to nothing else; names, errors and what happens to a
half-written file are the business of `data/video.py`.
"""

from collections.abc import Mapping
from fractions import Fraction
from io import BufferedIOBase
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace
from jaxtyping import UInt8
from PIL import Image, PngImagePlugin

from causvid.data.metadata import EXIF_IMAGE_DESCRIPTION, PNG_KEYWORD
from causvid.data.sheets import contact_sheet
from causvid.errors import UserError

Picture = UInt8[np.ndarray, "H W 3"]

_BT709 = 1
"""Colour code points of ITU-T H.273 for high-definition video, which players assume."""
_SMALL_HEIGHT = 256
_MAX_ANIMATION_BYTES = 2**30
_GIF_MOST_FPS = 50
_SHEET_FRAMES = 64
_SHEET_INTERVAL_SECONDS = 0.5


@runtime_checkable
class Encoder(Protocol):
    """What a kind of file needs."""

    def add(self, picture: Picture) -> None:
        """Take the next frame."""

    def finish(self) -> None:
        """Complete the file."""

    def abandon(self) -> None:
        """Let go of the file, whose content no longer matters."""


class Mp4:
    """H.264 in MP4, encoded as the frames come: memory does not grow with length.

    CRF 18 looks like the original at usual sizes. Below 256 pixels people watch the
    clip enlarged and an 8x8 block is a large part of it, so CRF 10 is used there. One
    thread makes the bytes depend on the frames alone.
    """

    flags = "+faststart+use_metadata_tags"  # faststart: plays before it is all there
    key_frame_every_seconds = 2.0
    tuning: Mapping[str, str] = MappingProxyType({})
    muxing: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, target: Path | BufferedIOBase, *, fps: float | int, size: tuple[int, int], remark: str
    ) -> None:
        rate = Fraction(fps).limit_denominator(1001)
        # "file:" keeps a name with a colon from being taken for a protocol.
        where = f"file:{target}" if isinstance(target, Path) else target
        self._container = av.open(where, "w", format="mp4", options={"movflags": self.flags, **self.muxing})
        self._container.metadata["comment"] = remark
        crf = "10" if min(size) < _SMALL_HEIGHT else "18"
        self._stream = self._container.add_stream(
            "libx264", rate=rate, options={"crf": crf, "preset": "veryfast", **self.tuning}
        )
        codec = self._stream.codec_context
        # yuv420p shares colour between pairs of pixels: an odd edge is repeated once.
        self._stream.height, self._stream.width = size[0] + size[0] % 2, size[1] + size[1] % 2
        self._stream.pix_fmt = "yuv420p"
        codec.thread_count = 1
        codec.gop_size = max(1, round(self.key_frame_every_seconds * fps))
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = ColorRange.MPEG
        self._pad = ((0, size[0] % 2), (0, size[1] % 2), (0, 0))

    def add(self, picture: Picture) -> None:
        frame = av.VideoFrame.from_ndarray(np.pad(picture, self._pad, mode="edge"), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, threads=1)
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        self._container.close()


class Animation:
    """What GIF and WebP share: Pillow writes them in one go, so the clip is kept until the end.

    Memory is 3 bytes a pixel and frame: 1.5 MB for ten seconds of 64x64 at 12 frames a
    second, 190 MB at 832x480 and 16; above 1 GiB the writer asks for an MP4.
    """

    ticks_per_second: int

    def __init__(self, part: Path, *, fps: float | int, remark: str) -> None:
        self._part, self._fps, self._remark = part, fps, remark
        self._pictures: list[Image.Image] = []
        self._bytes = 0

    def add(self, picture: Picture) -> None:
        self._bytes += picture.nbytes
        if self._bytes > _MAX_ANIMATION_BYTES:
            raise UserError(
                f"the clip is too long for {self._part.stem}: a file of this kind is kept in memory "
                f"until the end, at most {_MAX_ANIMATION_BYTES >> 20} MiB. Write an .mp4."
            )
        self._pictures.append(Image.fromarray(picture))

    def abandon(self) -> None:
        self._pictures.clear()

    def _durations(self) -> list[int]:
        """Milliseconds of every frame; rounded so that the errors do not add up."""
        ticks = [round(i * self.ticks_per_second / self._fps) for i in range(len(self._pictures) + 1)]
        return [(b - a) * 1000 // self.ticks_per_second for a, b in pairwise(ticks)]


class Gif(Animation):
    """256 colours chosen once for the whole clip, so that they do not flicker."""

    ticks_per_second = 100

    def __init__(self, part: Path, *, fps: float | int, remark: str) -> None:
        if fps > _GIF_MOST_FPS:
            raise UserError(
                f"a .gif holds at most {_GIF_MOST_FPS} frames a second, not {fps:g}. Write an .mp4 or .webp."
            )
        super().__init__(part, fps=fps, remark=remark)

    def finish(self) -> None:
        step = max(1, len(self._pictures) // 32)
        sample = np.concatenate([np.asarray(p) for p in self._pictures[::step]])
        palette = Image.fromarray(sample).quantize(256, method=Image.Quantize.MEDIANCUT)
        first, *others = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in self._pictures]
        with self._part.open("wb") as file:
            first.save(
                file, "GIF", save_all=True, append_images=others, duration=self._durations(), loop=0,
                optimize=False, comment=self._remark.encode("ascii"),
            )  # fmt: skip


class WebP(Animation):
    """Full colour and lossy; a tenth of the GIF or less."""

    ticks_per_second = 1000

    def finish(self) -> None:
        exif = Image.Exif()
        exif[EXIF_IMAGE_DESCRIPTION] = self._remark
        first, *others = self._pictures
        with self._part.open("wb") as file:
            first.save(
                file, "WEBP", save_all=True, append_images=others, duration=self._durations(), loop=0,
                quality=90, method=4, exif=exif.tobytes(),
            )  # fmt: skip


class Sheet:
    """A contact sheet of one frame every half second, eight to a row.

    At most 64 frames are kept: when there are more, every second one goes and the
    interval doubles, so a clip of any length needs the memory of 64 frames.
    """

    def __init__(self, part: Path, *, fps: float | int, remark: str) -> None:
        self._part, self._remark = part, remark
        self._interval = max(1, round(fps * _SHEET_INTERVAL_SECONDS))
        self._kept: list[Picture] = []
        self._count = 0

    def add(self, picture: Picture) -> None:
        if self._count % self._interval == 0:
            self._kept.append(picture.copy())
        if len(self._kept) > _SHEET_FRAMES:
            del self._kept[1::2]
            self._interval *= 2
        self._count += 1

    def finish(self) -> None:
        info = PngImagePlugin.PngInfo()
        info.add_text(PNG_KEYWORD, self._remark)
        with self._part.open("wb") as file:
            contact_sheet(torch.from_numpy(np.stack(self._kept))).save(file, "PNG", pnginfo=info)

    def abandon(self) -> None:
        self._kept.clear()
