"""What a session shows of a whole film: its continuation, or the film made anew.

Knows a session and pictures, nothing of files.
"""

from collections.abc import Iterator

from causvid.generate.session import StreamingSession
from causvid.types import Frames


def first_frames(session: StreamingSession, frames: int) -> Iterator[Frames]:
    """Chunks until there are so many frames; the last is cut to fit."""
    while frames > 0:
        shown = (session.finish() if frames <= session.held else session.next_chunk())[:frames]
        frames -= len(shown)
        yield shown


def edited(
    session: StreamingSession, film: Frames, *, strength: float | int, adapt: str = "none"
) -> Iterator[Frames]:
    """As many frames as the film has, each made from it. After its end its last frame stands still.

    Args:
        session: one that has shown nothing.
        film: of the session's size.
        strength, adapt: as in `StreamingSession.push`.

    Raises:
        UserError: the film has another size, or a value is not accepted.
    """
    session.push(film, strength=strength, adapt=adapt)
    left = len(film)
    while left > 0:
        if left <= session.held:
            yield session.finish()[:left]
            return
        missing = session.input_frames - session.queued
        if missing > 0:
            session.push(film[-1:].expand(missing, -1, -1, -1), strength=strength, adapt=adapt)
        shown = session.next_chunk()[:left]
        left -= len(shown)
        yield shown
