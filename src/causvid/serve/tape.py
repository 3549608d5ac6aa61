"""What a live video showed, kept so that any branch of it can be taken home as an MP4.

Each chunk is coded once, beginning with a key frame, and appended to one file; a branch is a list
of places in it. Making the MP4 copies them in order and codes nothing. Knows frames and files.
"""

import io
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from causvid.data.metadata import pack
from causvid.errors import UserError
from causvid.serve.branches import Piece
from causvid.serve.frames import H264Encoder
from causvid.serve.store import Store
from causvid.types import Frames

_VIEWED_AT = 256
"""Smaller pictures are enlarged, as in a file that the command line writes."""
_HEADER_BYTES = 4


class Tape:
    """The recording of one live video. One thread at a time records."""

    def __init__(self, store: Store, size: tuple[int, int], *, fps: float | int) -> None:
        self._store, self._fps = store, fps
        self._path = store.new(".h264")
        crf = 16 if min(size) < _VIEWED_AT else 18
        self._encoder = H264Encoder(size, fps=fps, smallest=_VIEWED_AT, crf=crf, enlarge="smooth")
        self.broken: str | None = None
        """Why nothing more is recorded."""

    def record(self, piece: Piece, frames: Frames) -> None:
        """Code a chunk and remember where it lies. A full disk ends the recording, not the video."""
        if self.broken is not None:
            return
        coded = self._encoder.encode(frames)
        sizes = json.dumps([len(packet) for packet in coded]).encode()
        data = len(sizes).to_bytes(_HEADER_BYTES, "little") + sizes + b"".join(coded)
        try:
            start = self._store.append(self._path, data)
        except UserError as error:
            self.broken = str(error)
            return
        piece.span = (start, start + len(data))

    def video(self, pieces: Sequence[Piece], metadata: Mapping[str, Any]) -> Path:
        """A new MP4 of these chunks; whoever asked removes it.

        Raises:
            UserError: there is nothing yet, or the recording was given up.
        """
        spans = [piece.span for piece in pieces]
        if self.broken is not None and None in spans:
            raise UserError(f"this video was not recorded to its end: {self.broken}")
        written = [span for span in spans if span is not None]
        if not written:
            raise UserError("this branch has no frames yet; wait for its first chunk.")
        path = self._store.new(".mp4")
        try:
            self._store.spend(path, sum(stop - start for start, stop in written))
            with open(self._path, "rb") as tape:
                _copy(tape, written, path, fps=self._fps, remark=pack(metadata))
            self._store.measure(path)
        except BaseException as error:
            self._store.remove(path)
            if isinstance(error, OSError) and not isinstance(error, UserError):
                raise UserError(
                    "the video could not be put together; the server's disk may be full."
                ) from error
            raise
        return path

    def close(self) -> None:
        self._store.remove(self._path)


def _copy(
    tape: io.BufferedReader, spans: Sequence[tuple[int, int]], out: Path, *, fps: float | int, remark: str
) -> None:
    options = {"movflags": "+faststart+use_metadata_tags"}
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(f"file:{out}", "w", format="mp4", options=options) as container:
        container.metadata["comment"] = remark
        first = b"".join(_packets(tape, spans[0]))
        with av.open(io.BytesIO(first), "r", format="h264") as source:
            stream = container.add_stream_from_template(source.streams.video[0])
            stream.time_base = 1 / rate
            count = 0
            for span in spans:
                for number, data in enumerate(_packets(tape, span)):
                    packet = av.Packet(data)
                    packet.stream, packet.time_base = stream, 1 / rate
                    packet.pts = packet.dts = count
                    packet.duration = 1
                    packet.is_keyframe = number == 0
                    container.mux(packet)
                    count += 1


def _packets(tape: io.BufferedReader, span: tuple[int, int]) -> list[bytes]:
    tape.seek(span[0])
    length = int.from_bytes(tape.read(_HEADER_BYTES), "little")
    return [tape.read(size) for size in json.loads(tape.read(length))]
