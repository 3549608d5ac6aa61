"""Foreign bytes become pixels, one picture at a time, with limits.

A small file can claim frames of a hundred megapixels, or a playlist can name other
files: size and length are checked before decoding and again while it goes on, only
container formats that hold their own data are opened, and nothing but the file that
was handed over. Loads no torch, so that a process made for one file starts quickly.
Arrays are uint8 [H W 3]. Knows open files, nothing of paths or models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from typing import IO, Any, Literal, cast

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from causvid.data.bombs import bombs_are_errors
from causvid.errors import UserError

Picture = NDArray[np.uint8]
Fit = Literal["cover", "contain"]
"""How a picture gets another shape: cut to its centre, or whole between black bars."""
Span = tuple[int, int]
"""The frames from the first number up to before the second."""

DEMUXERS = "mov,matroska,webm"
CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "prores", "gif")
_DECODERS = ",".join((*CODECS, "libdav1d", "libvpx", "libvpx-vp9"))
"""The same, by the names of the libraries that decode them: probing opens no others, audio included."""
_MAX_FPS = 240


@dataclass(frozen=True, kw_only=True)
class ClipInfo:
    """What a video file says about itself, which need not be true."""

    height: int
    width: int
    fps: float
    seconds: float | None
    """None where the file does not say."""


@dataclass(frozen=True, kw_only=True)
class ClipLimits:
    """What a video may hold at most."""

    pixels: int
    """In one frame."""
    seconds: float | int
    frames: int | None = None
    """Read from the file, and again returned; None for as many as the seconds allow."""


def open_clip(file: BufferedIOBase, *, demuxers: str, pixels: int) -> Any:
    """A container to be closed by the caller, usually with `with`.

    Args:
        file: can be sought in.
        demuxers: kinds of containers, in the words of FFmpeg.
        pixels: decoders refuse much larger frames by themselves, also while the file is being probed.
    """
    return av.open(
        file,
        "r",
        options=_backstop(pixels),
        container_options={"format_whitelist": demuxers, "codec_whitelist": _DECODERS},
        metadata_errors="replace",
        io_open=_open_nothing,
    )


def _backstop(pixels: int) -> dict[str, str]:
    """Decoders count the edges they add for themselves, so theirs is the looser limit."""
    return {"max_pixels": str(2 * pixels + 2**16)}


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PermissionError("the file names another file")


def clip_info(container: Any, name: str) -> ClipInfo:
    """What the container claims about its first video stream.

    Raises:
        UserError: it holds no video, or in a coding that is not decoded.
    """
    if not container.streams.video:
        raise UserError(f"{name} holds no video.")
    stream = container.streams.video[0]
    if stream.codec_context is None or stream.codec_context.codec.canonical_name not in CODECS:
        raise UserError(f"{name} holds video in a coding that is not accepted; {', '.join(CODECS)} are.")
    return ClipInfo(
        height=stream.height,
        width=stream.width,
        fps=float(stream.average_rate or stream.guessed_rate or 0),
        seconds=container.duration / av.time_base if container.duration else None,
    )


def clip_pictures(
    container: Any,
    name: str,
    *,
    limits: ClipLimits,
    fps: float | int | None = None,
    size: tuple[int, int] | None = None,
    fit: Fit = "cover",
    spans: Sequence[Span] | None = None,
) -> Iterator[Picture]:
    """Every frame, upright; with `fps` the one on show at each of its moments, with `size` fitted to it.

    Args:
        container: from `open_clip`.
        name: of the file, for messages.
        limits: of the file's own frames.
        fps, size: as for `read_video`.
        fit: how frames get that size.
        spans: only these frames, in rising order; nothing behind the last of them is decoded.

    Raises:
        UserError: a limit is passed. Damage is any other exception.
    """
    info = clip_info(container, name)
    timed = _decode(container, info, name, limits)
    frames = (frame for _, frame in timed) if fps is None else _resample(timed, fps, info)
    ahead = None if spans is None else list(spans)
    for number, frame in enumerate(frames):
        _check_count(number, name, limits)
        if ahead is None or ahead[0][0] <= number < ahead[0][1]:
            yield fitted(_upright(frame), size, fit)
        if ahead is not None and number + 1 >= ahead[0][1]:
            del ahead[0]
            if not ahead:
                return


def _decode(
    container: Any, info: ClipInfo, name: str, limits: ClipLimits
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Each frame with its moment in seconds; every limit again as they come, for headers may lie."""
    _check(info.height, info.width, info.seconds or 0, name, limits)
    stream = container.streams.video[0]
    _check_count(stream.frames - 1, name, limits)
    stream.codec_context.thread_count = 1
    stream.codec_context.options = _backstop(limits.pixels)
    start = None
    for number, frame in enumerate(container.decode(stream)):
        _check_count(number, name, limits)
        moment = frame.time if frame.time is not None else number / (info.fps or 1)
        start = moment if start is None else start
        _check(frame.height, frame.width, max(moment - start, number / _MAX_FPS), name, limits)
        yield moment - start, frame


def _check(height: int, width: int, seconds: float | int, name: str, limits: ClipLimits) -> None:
    if height * width > limits.pixels:
        raise UserError(
            f"{name} has frames of {width}x{height} pixels; at most {limits.pixels} in all are accepted."
        )
    if seconds > limits.seconds:
        raise UserError(f"{name} is longer than the {limits.seconds:g} seconds accepted. Cut it first.")


def _check_count(before: int, name: str, limits: ClipLimits) -> None:
    if limits.frames is not None and before >= limits.frames:
        raise UserError(f"{name} has more than the {limits.frames} frames accepted. Cut it first.")


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


def _upright(frame: av.VideoFrame) -> Picture:
    stored = frame.reformat(format="rgb24", threads=1).to_ndarray()
    return np.rot90(stored, frame.rotation // 90)


def fitted(picture: Picture, size: tuple[int, int] | None, fit: Fit = "cover") -> Picture:
    """Scaled to cover a size (height, width) and cropped to its centre, or to lie within it."""
    if size is None or picture.shape[:2] == size:
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    shape = ImageOps.fit if fit == "cover" else ImageOps.pad
    return np.array(shape(image, (size[1], size[0]), method=Image.Resampling.LANCZOS))


def still_size(file: BufferedIOBase, name: str, *, pixels: int) -> tuple[int, int]:
    """Upright height and width of a JPEG, PNG or WebP, undecoded.

    Raises:
        UserError: more pixels than allowed. Damage is any other exception.
    """
    with bombs_are_errors(), _opened(file) as image:
        _check_still(image, name, pixels)
        sideways = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF orientation
        return (image.width, image.height) if sideways else (image.height, image.width)


def read_still(file: BufferedIOBase, name: str, *, size: tuple[int, int], pixels: int) -> Picture:
    """The picture, upright and fitted; of an animation the first one, transparent parts black.

    Raises:
        UserError: more pixels than allowed. Damage is any other exception.
    """
    with bombs_are_errors(), _opened(file) as image:
        _check_still(image, name, pixels)
        upright = ImageOps.exif_transpose(_to_rgb(image))
        return np.array(ImageOps.fit(upright, (size[1], size[0]), method=Image.Resampling.LANCZOS))


def _opened(file: BufferedIOBase) -> Image.Image:
    return Image.open(cast(IO[bytes], file), formats=("JPEG", "PNG", "WEBP"))


def _check_still(image: Image.Image, name: str, pixels: int) -> None:
    if image.width * image.height > pixels:
        raise UserError(
            f"{name} has {image.width}x{image.height} pixels; "
            f"at most {pixels / 1_000_000:g} million are accepted. Make it smaller."
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit colour of any mode, transparency laid over black."""
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip instead of scale
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        colour = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour).convert("RGB")
    return image.convert("RGB")
