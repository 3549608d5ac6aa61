"""A video from anybody, read as frames, with limits.

For files a person names on their own machine: decoding runs here, in this process.
What strangers send is read in a process of its own, by `data/untrusted.py`. How bytes
become pixels is in `data/decoding.py`. Knows files and frames, nothing of models.
"""

from pathlib import Path

import numpy as np
import torch

from causvid.data.decoding import DEMUXERS, ClipInfo, ClipLimits, clip_info, clip_pictures, open_clip
from causvid.data.files import reading
from causvid.errors import UserError
from causvid.types import Frames

MAX_PIXELS = 4096 * 2304
MAX_SECONDS = 60.0
_MAX_BYTES = 4 * 2**30
_DEMUXERS = f"{DEMUXERS},gif"
_ACCEPTED = "a video of a kind that is accepted (MP4, MOV, MKV, WebM, GIF)"


def probe(path: str | Path) -> ClipInfo:
    """Size, rate and length of a video, without decoding it.

    Raises:
        UserError: the file is missing, damaged, or no MP4, MOV, MKV, WebM or GIF.
    """
    path = Path(path)
    with reading(path, _ACCEPTED), path.open("rb") as file:
        with open_clip(file, demuxers=_DEMUXERS, pixels=MAX_PIXELS) as container:
            return clip_info(container, str(path))


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
    path, limits = Path(path), ClipLimits(pixels=max_pixels, seconds=max_seconds)
    pictures, used = [], 0
    with reading(path, _ACCEPTED), path.open("rb") as file:
        with open_clip(file, demuxers=_DEMUXERS, pixels=max_pixels) as container:
            for picture in clip_pictures(container, str(path), limits=limits, fps=fps, size=size):
                pictures.append(picture)
                used += picture.nbytes
                if used > _MAX_BYTES:
                    raise UserError(
                        f"{path} needs more than {_MAX_BYTES >> 30} GiB of memory. Cut it, or ask for less."
                    )
        if not pictures:
            raise UserError(f"{path} holds not a single frame that can be decoded.")
        return torch.from_numpy(np.stack(pictures))
