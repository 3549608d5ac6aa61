"""A chunk on its way out: the message about it, its packets, and its place on the tape.

Runs in the pool, one chunk after the other. Knows frames and the protocol; nothing of sockets.
"""

import time
from typing import Any

from causvid.models.spec import ModelSpec
from causvid.serve.branches import Made
from causvid.serve.frames import encoder_for, thumbnail
from causvid.serve.protocol import CHUNK_START, KEY_FRAME, Codec, Packet
from causvid.serve.store import Store
from causvid.serve.tape import Tape


class Coder:
    """Codes the chunks of one video for its viewer, and records them."""

    def __init__(self, codec: Codec, spec: ModelSpec, store: Store) -> None:
        self._codec, self._fps = codec, spec.fps
        self._encoder = encoder_for(codec, spec.size, fps=spec.fps)
        self.tape = Tape(store, spec.size, fps=spec.fps)

    def code(self, made: Made) -> tuple[dict[str, Any], list[bytes]]:
        """The message that announces a chunk, and its packets."""
        started = time.perf_counter()
        coded, picture = self._encoder.encode(made.frames), thumbnail(made.frames)
        packets = [self._packet(made, number, payload) for number, payload in enumerate(coded)]
        timing = {**made.timing, "encode": time.perf_counter() - started}
        message = {
            "type": "chunk",
            "branch": made.branch,
            "chunk": made.chunk,
            "frame": made.frame,
            "frames": len(made.frames),
            "prompt": made.prompt,
            "kept": list(made.kept),
            "thumbnail": picture,
            "timing": {stage: round(seconds, 6) for stage, seconds in timing.items()},
        }
        return message, packets

    def record(self, made: Made) -> None:
        self.tape.record(made.piece, made.frames)

    def close(self) -> None:
        self.tape.close()

    def _packet(self, made: Made, number: int, payload: bytes) -> bytes:
        key = KEY_FRAME if number == 0 or self._codec != "h264" else 0
        frame = made.frame + number
        return Packet(
            codec=self._codec, flags=key | (CHUNK_START if number == 0 else 0), branch=made.branch,
            sequence=made.sequence + number, frame=frame, milliseconds=round(1000 * frame / self._fps),
            payload=payload,
        ).pack()  # fmt: skip
