"""What a live video consists of: branches, each with a stream, its past and its prompts.

A branch is one line of time. It begins where the video began or at a chunk of another branch,
shares what was before, and can be cut back. Knows nothing of turns or networks.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from causvid.types import Frames


@dataclass(frozen=True, kw_only=True)
class Moment:
    """From which frame on a prompt is shown."""

    frame: int
    prompt: str
    transition: str = "soft"
    over: int = 4
    strength: float | None = None


@dataclass(eq=False)
class Piece:
    """A chunk of the recording: where its coded frames lie, once they are written."""

    frame: int
    frames: int
    span: tuple[int, int] | None = None
    """First byte and the one after the last."""


@dataclass(eq=False)
class Branch:
    """One line of time."""

    number: int
    session: Any
    """A StreamingSession, or None when the video has ended."""
    moments: tuple[Moment, ...]
    pieces: list[Piece] = field(default_factory=list)

    def at(self, prompt: str, frame: int, **how: Any) -> None:
        """A prompt from this frame on, instead of one that was to begin there."""
        kept = tuple(moment for moment in self.moments if moment.frame < frame)
        self.moments = (*kept, Moment(frame=frame, prompt=prompt, **how))

    def strength(self, strength: float, frame: int) -> None:
        """Another strength from this frame on; the prompt stays."""
        last = replace(self.moments[-1], frame=frame, strength=strength)
        kept = tuple(moment for moment in self.moments if moment.frame < frame)
        self.moments = (*kept, last)

    def cut(self, chunk: int, frame: int) -> None:
        """Forget what came from this chunk on. A prompt that began with it stays."""
        del self.pieces[chunk:]
        self.moments = tuple(moment for moment in self.moments if moment.frame <= frame)

    def fork(self, number: int, session: Any) -> "Branch":
        return Branch(number, session, self.moments, list(self.pieces))


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """A chunk as it leaves the engine."""

    frames: Frames
    sequence: int
    branch: int
    chunk: int
    frame: int
    prompt: str
    kept: tuple[int, int]
    timing: dict[str, float]
    piece: Piece
    edit_seconds: float | None
    """From a new prompt's arrival to the first chunk made from it."""
    first_seconds: float | None
    """From the wish to start to the first chunk."""
