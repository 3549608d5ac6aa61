"""Clips become files, chunk by chunk.

    with ClipWriter("out.mp4", fps=12, metadata={"prompt": prompt, "seed": 0}) as clip:
        for frames in chunks:
            clip.write(frames)

The suffix decides the kind: .mp4, .gif, .webp, or .png for a contact sheet. The file
appears under its name when it is complete and not before; after an error or Ctrl-C
nothing is left behind and an earlier file of that name is as it was. Reading is in
`data/footage.py` and `data/metadata.py`. Knows frames, nothing of models.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from causvid.data import formats
from causvid.data.files import drop_part, finish_part, open_part, writing
from causvid.data.metadata import pack
from causvid.errors import UserError
from causvid.types import Frames

SUFFIXES = (".mp4", ".gif", ".webp", ".png")
_MAX_FPS = 240
_COMFORTABLE_HEIGHT = 256


class ClipWriter:
    """Writes one clip; use it in a `with` block.

    Args:
        path: where; its suffix decides the kind.
        fps: frames a second.
        size: height and width of the frames; None takes those of the first.
        metadata: what `read_metadata` gives back: prompt, seed, model ...
        scale: whole-number enlargement of every frame; see `viewing_scale`.

    Raises:
        UserError: an unknown suffix, a folder that is missing or cannot be written, a full
            disk. All methods may raise it; the unfinished file is gone by then.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float | int,
        size: tuple[int, int] | None = None,
        metadata: Mapping[str, Any],
        scale: int = 1,
    ) -> None:
        self.path, self.fps, self.size, self.scale = Path(path), fps, size, scale
        if self.path.suffix.lower() not in SUFFIXES:
            raise UserError(
                f"{self.path} is no kind of clip; accepted: {', '.join(SUFFIXES)} (.png is a contact sheet)."
            )
        if not 0 < fps <= _MAX_FPS:
            raise UserError(f"a clip of {fps:g} frames a second cannot be written; 0 to {_MAX_FPS} can.")
        self._remark = pack(metadata)
        self._part = open_part(self.path)
        self._encoder: formats.Encoder | None = None
        self._open = True
        self.frames = 0

    def __enter__(self) -> "ClipWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()

    def write(self, frames: Frames) -> None:
        """Add frames to the end. All have the same size."""
        if not self._open:
            raise ValueError(f"{self.path} is closed: no frame can be added")
        pictures = frames.cpu().numpy()
        try:
            with writing(self.path):
                for picture in pictures:
                    self._add(picture)
        except BaseException:
            self.discard()
            raise

    def close(self) -> None:
        """Complete the file and give it its name. A second time nothing happens."""
        if not self._open:
            return
        try:
            if self._encoder is None:
                raise UserError(f"{self.path} is not written: there is not a single frame.")
            with writing(self.path):
                self._encoder.finish()
            finish_part(self._part, self.path)
        except BaseException:
            self.discard()
            raise
        self._open = False

    def discard(self) -> None:
        """Leave no trace: the unfinished file is removed, an earlier one stays."""
        if not self._open:
            return
        self._open = False
        if self._encoder is not None:
            with suppress(OSError):  # on a full disk even closing fails, and the file goes anyway
                self._encoder.abandon()
        drop_part(self._part)

    def _add(self, picture: np.ndarray) -> None:
        height, width = picture.shape[:2]
        if self._encoder is None:
            self.size = self.size or (height, width)
            self._encoder = self._start(self.size)
        if self.size != (height, width):
            raise ValueError(f"a frame of {(height, width)} in a clip of {self.size}")
        if self.scale > 1:
            enlarged = (width * self.scale, height * self.scale)
            picture = np.asarray(Image.fromarray(picture).resize(enlarged, Image.Resampling.BICUBIC))
        self._encoder.add(picture)
        self.frames += 1

    def _start(self, size: tuple[int, int]) -> formats.Encoder:
        suffix = self.path.suffix.lower()
        if suffix == ".mp4":
            enlarged = (size[0] * self.scale, size[1] * self.scale)
            return formats.Mp4(self._part, fps=self.fps, size=enlarged, remark=self._remark)
        kinds: Mapping[str, Callable[..., formats.Encoder]] = {
            ".gif": formats.Gif,
            ".webp": formats.WebP,
            ".png": formats.Sheet,
        }
        return kinds[suffix](self._part, fps=self.fps, remark=self._remark)


def viewing_scale(height: int) -> int:
    """The smallest whole-number enlargement at which a clip is comfortable to watch (256 pixels)."""
    return -(-_COMFORTABLE_HEIGHT // height)
