"""What a session shows of a whole film: its continuation, or the film made anew.

Knows a session and pictures, nothing of files.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from causvid.generate.session import StreamingSession
from causvid.generate.timeline import Event
from causvid.types import Frames


def first_frames(
    session: StreamingSession, frames: float | int, changes: Sequence[Event] = ()
) -> Iterator[Frames]:
    """Chunks until there are so many frames; the last is cut to fit.

    On a CPU with cores to spare a chunk is decoded while the next one is made.

    Args:
        frames: how many; infinity never ends.
        changes: prompts, each from the chunk on that shows its moment.
    """
    events = list(changes)
    spare = session.setting.device.type == "cpu" and (os.cpu_count() or 1) > 1
    ahead = spare and not session.layout.in_segments
    decoding: Future[Frames] | None = None
    with ThreadPoolExecutor(1) as worker:
        while frames > 0:
            until = (session.frames + session.next_frames) / session.fps
            while events and events[0].time < until:
                if decoding is not None:
                    yield decoding.result()
                    decoding = None
                event = events.pop(0)
                session.set_prompt(event.prompt, transition=event.transition, over=event.over)
            if not ahead or not session.chunks:  # the first frames come as early as they can
                shown = session.finish() if frames <= session.held else session.next_chunk()
                yield shown if len(shown) <= frames else shown[: int(frames)]
                frames -= len(shown)
                continue
            count = min(session.next_frames, frames)
            decode = session.make_ahead()
            if decoding is not None:
                yield decoding.result()
            decoding = worker.submit(decode)
            frames -= count
        if decoding is not None:
            yield decoding.result()[: int(count)]


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
