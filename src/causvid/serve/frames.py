"""Frames as a browser takes them: JPEG, WebP, or H.264 without a container.

Coding runs in a pool of threads, never on the event loop and never on the engine's thread. Every
chunk of H.264 begins with a key frame, so that it can be shown without those before it. Knows pixels.
"""

import base64
import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, Protocol, runtime_checkable

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import Colorspace
from PIL import Image

from causvid.serve.protocol import Codec
from causvid.types import Frames

SMALLEST_H264 = 128
"""Pixels: decoders in hardware refuse less, so smaller pictures are enlarged by a whole number."""
_SMALL = 256
_THUMBNAIL_HEIGHT = 72
_BT709 = 1


@runtime_checkable
class FrameEncoder(Protocol):
    """One viewer's way to have frames coded; it may remember what came before."""

    def encode(self, frames: Frames) -> list[bytes]:
        """The frames of one chunk, coded one by one; the first is a key frame."""


class StillEncoder:
    """Every frame a picture of its own."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def encode(self, frames: Frames) -> list[bytes]:
        return [_still(Image.fromarray(picture), self.codec) for picture in frames.numpy()]


class H264Encoder:
    """Annex B, baseline: what `avc1.42E01E` promises. A frame goes in and comes out at once.

    Args:
        size: height and width of the frames.
        smallest: they are enlarged by the whole number that gives both sides so many pixels.
        crf: quality, lower is better.
        enlarge: "blocks" leaves it to the viewer whether pixels are seen.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        fps: float | int,
        smallest: int,
        crf: int,
        enlarge: Literal["blocks", "smooth"],
    ) -> None:
        self._resample = Image.Resampling.NEAREST if enlarge == "blocks" else Image.Resampling.BICUBIC
        self.scale = max(1, -(-smallest // min(size)))
        height, width = (side * self.scale for side in size)
        self.size = (height + height % 2, width + width % 2)
        codec = av.CodecContext.create("libx264", "w")
        codec.height, codec.width = self.size
        codec.pix_fmt = "yuv420p"
        rate = Fraction(fps).limit_denominator(1001)
        codec.framerate, codec.time_base = rate, 1 / rate
        codec.thread_count = 1
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.options = {
            "preset": "veryfast", "tune": "zerolatency", "profile": "baseline", "crf": str(crf),
            "forced-idr": "1",
            "x264-params": "scenecut=0:keyint=infinite:repeat-headers=1:annexb=1",
        }  # fmt: skip
        self._codec, self._count = codec, 0

    def encode(self, frames: Frames) -> list[bytes]:
        packets = []
        for number, picture in enumerate(frames.numpy()):
            frame = av.VideoFrame.from_ndarray(self._fitted(picture), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, threads=1)
            frame.pts, self._count = self._count, self._count + 1
            frame.pict_type = PictureType.I if number == 0 else PictureType.NONE
            packets.append(b"".join(bytes(packet) for packet in self._codec.encode(frame)))
        return packets

    def _fitted(self, picture: np.ndarray) -> np.ndarray:
        height, width = (side * self.scale for side in picture.shape[:2])
        enlarged = picture
        if self.scale > 1:
            enlarged = np.asarray(Image.fromarray(picture).resize((width, height), self._resample))
        missing = ((0, self.size[0] - height), (0, self.size[1] - width), (0, 0))
        return np.ascontiguousarray(np.pad(enlarged, missing, mode="edge"))


def choose_codec(offered: Sequence[Codec]) -> Codec:
    """The first that the client decodes; the server codes them all."""
    return offered[0]


def encoder_for(codec: Codec, size: tuple[int, int], *, fps: float | int) -> FrameEncoder:
    if codec == "h264":
        crf = 18 if min(size) < _SMALL else 21
        return H264Encoder(size, fps=fps, smallest=SMALLEST_H264, crf=crf, enlarge="blocks")
    return StillEncoder(codec)


def thumbnail(frames: Frames) -> str:
    """The first frame, small, as an address that an <img> takes."""
    picture = Image.fromarray(frames[0].numpy())
    if picture.height > _THUMBNAIL_HEIGHT:
        width = max(1, round(picture.width * _THUMBNAIL_HEIGHT / picture.height))
        picture = picture.resize((width, _THUMBNAIL_HEIGHT), Image.Resampling.BILINEAR)
    return "data:image/jpeg;base64," + base64.b64encode(_still(picture, "jpeg")).decode("ascii")


def _still(picture: Image.Image, codec: Codec) -> bytes:
    small = min(picture.size) < _SMALL  # people watch it enlarged
    out = io.BytesIO()
    if codec == "webp":
        picture.save(out, "WEBP", quality=92 if small else 82, method=2)
    else:
        picture.save(out, "JPEG", quality=92 if small else 82, subsampling=0 if small else 2)
    return out.getvalue()
