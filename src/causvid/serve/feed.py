"""What an edited video is made from: as many frames of a clip or a camera as its next chunk uses.

A session says how many those are. Where a model works in segments that is not how many it shows: some
frames are held back until the next segment shows them again. Knows sessions and frames; nothing of time.
"""

from typing import Any

from causvid.serve.camera import Camera
from causvid.types import Frames


def missing(session: Any) -> int:
    """Frames that the next chunk uses and that it was not given yet. After a rewind it has them already."""
    return max(0, (session.input_frames or session.next_frames) - session.queued)


def has_enough(source: Frames | Camera | None, session: Any) -> bool:
    """Whether a camera has sent what the next chunk uses; a clip is there from the beginning."""
    return not isinstance(source, Camera) or source.enough(missing(session))


def is_used_up(source: Frames | Camera | None, session: Any) -> bool:
    """Whether a clip has too few frames left for another chunk."""
    if source is None or isinstance(source, Camera):
        return False
    return _given(session) + missing(session) > len(source)


def feed(source: Frames | Camera, session: Any, *, strength: float) -> None:
    """Give the session what its next chunk is made from."""
    count, start = missing(session), _given(session)
    frames = source.take(count) if isinstance(source, Camera) else source[start : start + count]
    session.push(frames, strength=strength)


def _given(session: Any) -> int:
    """Frames of the source that it was given so far."""
    return session.frames + session.held + session.queued
