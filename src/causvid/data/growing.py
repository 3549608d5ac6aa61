"""A video that can be watched while it is written, and has no known end.

    with GrowingClip(Path("live.mp4"), fps=12, metadata={"prompt": prompt}) as clip:
        clip.write(frames)                       # a second later it can be played

A fragmented MP4: every second is a piece of its own, so that what was written can be played
wherever it breaks off. It goes into a file, which appears at once and grows, or into an open
stream such as standard output. A file that ends well becomes an ordinary MP4, whose
metadata then says all that happened.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from io import BufferedIOBase
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import av
import numpy as np
from PIL import Image

from causvid.data.files import drop_part, finish_part, open_part, writing
from causvid.data.formats import Mp4
from causvid.data.metadata import pack
from causvid.errors import UserError
from causvid.types import Frames


class FragmentedMp4(Mp4):
    """H.264 in pieces of a second, each whole in itself."""

    flags = "+frag_keyframe+empty_moov+default_base_moof+use_metadata_tags"
    key_frame_every_seconds = 1.0
    tuning = MappingProxyType({"tune": "zerolatency"})  # a frame that goes in comes out
    muxing = MappingProxyType({"flush_packets": "1"})


class GrowingClip:
    """Writes one endless clip; use it in a `with` block.

    Args:
        target: a file, which must end in .mp4, or an open binary stream.
        fps: frames a second.
        metadata: what `read_metadata` gives back until the file is finished.
        scale: whole-number enlargement of every frame.

    Raises:
        UserError: the file cannot be written. All methods may raise it.
    """

    def __init__(
        self, target: Path | BufferedIOBase, *, fps: float | int, metadata: Mapping[str, Any], scale: int = 1
    ) -> None:
        self.target, self.fps, self.scale = target, fps, scale
        self.metadata: Mapping[str, Any] = metadata
        """Whatever is here at the end is stored in a finished file."""
        if isinstance(target, Path):
            if target.suffix.lower() != ".mp4":
                raise UserError(
                    f"{target} cannot grow; give a name that ends in .mp4, or - for standard output."
                )
            drop_part(open_part(target))  # an impossible target fails now
        self._encoder: FragmentedMp4 | None = None
        self.frames = 0

    def __enter__(self) -> "GrowingClip":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif self._encoder is not None:
            with suppress(OSError):  # what was written stays and can be played
                self._encoder.abandon()

    def write(self, frames: Frames) -> None:
        """Add frames to the end. All have the same size."""
        with self._guard():
            for picture in frames.cpu().numpy():
                self._add(picture)

    def close(self) -> None:
        """Complete the clip; a file becomes an ordinary MP4."""
        if self._encoder is None:
            return
        with self._guard():
            self._encoder.finish()
        self._encoder = None
        if isinstance(self.target, Path):
            _rewrite(self.target, pack(self.metadata))

    def _add(self, picture: np.ndarray) -> None:
        height, width = picture.shape[0] * self.scale, picture.shape[1] * self.scale
        if self._encoder is None:
            remark = pack(self.metadata)
            self._encoder = FragmentedMp4(self.target, fps=self.fps, size=(height, width), remark=remark)
        if self.scale > 1:
            picture = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
        self._encoder.add(picture)
        self.frames += 1

    def _guard(self) -> AbstractContextManager[None]:
        """Failures of a file are told by its name; those of a stream are its reader's, who may be gone."""
        return writing(self.target) if isinstance(self.target, Path) else nullcontext()


def _rewrite(path: Path, remark: str) -> None:
    """The same pictures in one piece, with another remark. On a failure the pieces stay as they are."""
    part = open_part(path)
    try:
        with (
            writing(path),
            av.open(f"file:{path}", "r", format="mp4") as source,
            av.open(f"file:{part}", "w", format="mp4", options={"movflags": Mp4.flags}) as target,
        ):
            target.metadata["comment"] = remark
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)
        finish_part(part, path)
    except BaseException:
        drop_part(part)
        raise
