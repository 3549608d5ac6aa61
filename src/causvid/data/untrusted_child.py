"""The process that decodes one file of a stranger; started by `data/untrusted.py`, never imported by it.

    python -P -m causvid.data.untrusted_child '{"do": "read", ...}' < file > answer

Everything it needs is loaded first. Then it gives up what it could do besides: new
files and sockets (no further descriptor can be opened), new processes and threads (the
kernel holds only ordinary users to that), writing to files, memory and processor time
beyond the limits. The answer is any number of frames, each behind an "F", and one line
of JSON. Loads no torch.
"""

import codecs
import io
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import av
from PIL import Image

from causvid.data.decoding import (
    DEMUXERS,
    ClipLimits,
    Picture,
    clip_info,
    clip_pictures,
    open_clip,
    read_still,
    still_size,
)
from causvid.data.files import reading
from causvid.errors import UserError

_LAZY_ENCODINGS = ("ascii", "latin-1", "utf-8", "utf-16", "utf-16-le", "utf-16-be")
_ACCEPTED = "a picture (JPEG, PNG, WebP) or video (MP4, MOV, MKV, WebM)"
_HEAD_BYTES = 12
_STILL_HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_MATROSKA_HEAD = b"\x1aE\xdf\xa3"
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
"""What the first box of an MP4 or MOV is called."""


def main() -> None:
    """Read the file on standard input, as the one argument asks."""
    errand = json.loads(sys.argv[1])
    rehearse()
    fence(errand["limits"])
    with os.fdopen(0, "rb") as file, os.fdopen(1, "wb") as answer:
        answer_to(errand, file, answer.write)


def fence(limits: Mapping[str, Any]) -> None:
    """Give up, for good, whatever decoding one file does not need."""
    os.nice(10)  # those who are watching come first
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CPU, int(limits["cpu_seconds"])),
        (resource.RLIMIT_AS, int(limits["memory_bytes"])),
    ):
        hard = resource.getrlimit(what)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))


def answer_to(errand: Mapping[str, Any], file: BufferedIOBase, send: Callable[[bytes], Any]) -> None:
    """Frames and the last word; nothing is raised for whatever the file holds."""
    name, limits = errand["name"], errand["limits"]
    try:
        with reading(Path(name), _ACCEPTED):
            if errand["do"] == "probe":
                verdict: dict[str, Any] = {"facts": facts_of(file, name, limits)}
            else:
                size = (int(errand["size"][0]), int(errand["size"][1]))
                for picture in pictures_of(
                    file, name, limits, kind=errand["kind"], size=size, fps=errand["fps"]
                ):
                    send(b"F" + picture.tobytes())
                verdict = {"done": True}
    except UserError as error:
        verdict = {"error": str(error)}
        if isinstance(error.__cause__, MemoryError):
            verdict["error"] = (
                f"{name} is damaged, or needs more memory than is given to a file here. Make it smaller."
            )
    send(json.dumps(verdict).encode("ascii") + b"\n")


def kind_of(file: BufferedIOBase, name: str) -> str:
    """By its first bytes; its name and what the sender says about it do not count.

    Raises:
        UserError: neither a picture nor a video of a kind that is accepted.
    """
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (
        head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    ):
        return "image"
    boxes = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
    if head.startswith(b"\x1aE\xdf\xa3") or head[4:8] in boxes:
        return "video"
    raise UserError(f"{name} is not {_ACCEPTED}.")


def facts_of(file: BufferedIOBase, name: str, limits: Mapping[str, Any]) -> dict[str, Any]:
    """What `MediaFacts` holds. Of a video the first frame is decoded: only it says which way is up."""
    if kind_of(file, name) == "image":
        height, width = still_size(file, name, pixels=limits["image_pixels"])
        return {"kind": "image", "width": width, "height": height, "frames": 1}
    allowed = _clip_limits(limits)
    with open_clip(file, demuxers=DEMUXERS, pixels=allowed.pixels) as container:
        info = clip_info(container, name)
        first = next(clip_pictures(container, name, limits=allowed), None)
        if first is None:
            raise UserError(f"{name} holds not a single frame that can be decoded.")
        frames = container.streams.video[0].frames or round((info.seconds or 0) * info.fps)
    height, width = first.shape[:2]
    about = {"frames": frames or None, "seconds": info.seconds, "fps": info.fps}
    return {"kind": "video", "width": width, "height": height, **about}


def pictures_of(
    file: BufferedIOBase,
    name: str,
    limits: Mapping[str, Any],
    *,
    kind: str,
    size: tuple[int, int],
    fps: float | int | None,
) -> Iterator[Picture]:
    """The frames of a picture or a video, fitted to `size`."""
    found = kind_of(file, name)
    if found != kind:
        raise UserError(f"{name} is of kind {found}; {kind} is expected here.")
    if kind == "image":
        yield read_still(file, name, size=size, pixels=limits["image_pixels"])
        return
    allowed = _clip_limits(limits)
    with open_clip(file, demuxers=DEMUXERS, pixels=allowed.pixels) as container:
        yield from clip_pictures(container, name, limits=allowed, fps=fps, size=size)


def _clip_limits(limits: Mapping[str, Any]) -> ClipLimits:
    return ClipLimits(pixels=limits["video_pixels"], seconds=limits["seconds"], frames=limits["frames"])


def rehearse() -> None:
    """Read one small file of each sort: what libraries load at first use cannot be loaded later."""
    for encoding in _LAZY_ENCODINGS:
        codecs.lookup(encoding)
    for kind in ("JPEG", "PNG", "WEBP"):
        still = io.BytesIO()
        Image.new("RGB", (8, 8)).save(still, kind, exif=Image.Exif())
        read_still(still, kind, size=(4, 4), pixels=64)
    clip = io.BytesIO()
    with av.open(clip, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
        for frame in (av.VideoFrame(16, 16, "yuv420p"), None):
            container.mux(stream.encode(frame))
    clip.seek(0)
    limits = ClipLimits(pixels=256, seconds=2)
    with open_clip(clip, demuxers=DEMUXERS, pixels=256) as container:
        list(clip_pictures(container, "clip", limits=limits, fps=1, size=(8, 8)))


if __name__ == "__main__":
    main()
