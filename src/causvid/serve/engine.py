"""One thread owns the device; everybody who wants a chunk takes turns.

A `Work` is a live video or the job that is being made. It says when it is next due, and a
turn makes at most one chunk. Turns go round, so that nobody waits for more than one chunk of
each other. An exception in a turn ends that work alone. Should the thread itself fail, every
work ends, the model is loaded again, and meanwhile the engine is not ready. The event loop
never runs a model. Knows nothing of networks.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from causvid.errors import UserError
from causvid.generate.pipeline import Pipeline

_LOG = logging.getLogger("causvid.serve.engine")
_LONGEST_WAIT = 1.0
_RELOADS = 5
_RESTART_PAUSE = 0.2
"""Seconds."""

MakeSession = Callable[..., Any]
"""(pipeline, prompt, **how) -> StreamingSession. Another one is how tests let a chunk fail."""


@runtime_checkable
class Host(Protocol):
    """What a work may ask of the engine in its turn."""

    def session(self, prompt: str, **how: Any) -> Any:
        """A new session of the model."""

    def remove(self, work: Any) -> None:
        """No further turns for this work."""


@runtime_checkable
class Work(Protocol):
    """What the engine lets have turns. All of this is called on the engine's thread."""

    name: str
    """For the log."""

    def due(self) -> float:
        """When it wants its next turn, in `time.monotonic` seconds; inf: when it is woken."""

    def turn(self, engine: Host) -> None:
        """Do what is asked, and make at most one chunk."""

    def end(self, error: Exception | None) -> None:
        """It gets no turn any more, because of this."""


class Lost(Exception):
    """The engine failed, through no fault of the work it ended."""


class Engine:
    """Runs works on one thread of its own.

    Args:
        load: makes the pipeline; called again after a failure.
        make_session: makes the sessions of live videos and jobs.
    """

    def __init__(self, load: Callable[[], Pipeline], *, make_session: MakeSession) -> None:
        self._load, self._make_session = load, make_session
        self._changed = threading.Condition()
        self._works: deque[Work] = deque()
        self._ready = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._pipeline: Pipeline | None = None
        self.restarts = 0
        self.broken = False
        """Whether it has given up: the model cannot be loaded again in this process."""

    # For any thread.

    @property
    def pipeline(self) -> Pipeline:
        assert self._pipeline is not None, "the engine has not been started"
        return self._pipeline

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    def start(self) -> None:
        """Load the model here, so that a wrong name is heard at once, and begin."""
        self._pipeline = self._load()
        self._ready.set()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def add(self, work: Work) -> None:
        """Give a work turns until it ends.

        Raises:
            UserError: the engine is stopping or starting again.
        """
        with self._changed:
            if self._stopping or not self._ready.is_set():
                raise UserError("the server is not ready to make video; try again in a moment.")
            self._works.append(work)
            self._changed.notify()

    def wake(self) -> None:
        """Something about a work has changed: ask all of them again when they are due."""
        with self._changed:
            self._changed.notify()

    def remove(self, work: Work) -> None:
        """No further turns; one that has begun is finished."""
        with self._changed:
            if work in self._works:
                self._works.remove(work)

    @property
    def works(self) -> int:
        with self._changed:
            return len(self._works)

    def stop(self, *, timeout: float = 30.0) -> None:
        """Finish the turn that has begun and end."""
        with self._changed:
            self._stopping = True
            self._ready.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    # On the engine's thread.

    def session(self, prompt: str, **how: Any) -> Any:
        return self._make_session(self.pipeline, prompt, **how)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._take_turns()
            except BaseException:
                _LOG.exception("the engine failed and starts again")
                self._start_again()

    def _take_turns(self) -> None:
        while (work := self._next()) is not None:
            try:
                work.turn(self)
            except Exception as error:
                if _poisons(error):
                    raise
                if not isinstance(error, UserError):
                    _LOG.exception("%s failed and was ended; others go on", work.name)
                self.remove(work)
                work.end(error)
                _free_memory(error)

    def _next(self) -> Work | None:
        """The work whose turn it is, waited for; None when stopping."""
        with self._changed:
            while not self._stopping:
                now, soonest = time.monotonic(), math.inf
                for work in self._works:
                    due = work.due()
                    if due <= now:
                        self._works.remove(work)
                        self._works.append(work)
                        return work
                    soonest = min(soonest, due)
                self._changed.wait(min(_LONGEST_WAIT, soonest - now))
        return None

    def _start_again(self) -> None:
        with self._changed:
            self._ready.clear()
            works, self._works = list(self._works), deque()
        for work in works:
            work.end(Lost("the engine failed"))
        for _ in range(_RELOADS):
            if self._stopping:
                return
            try:
                self._pipeline = self._load()
                break
            except Exception:
                _LOG.exception("the model could not be loaded again")
                time.sleep(_RESTART_PAUSE)
        else:
            self.broken = self._stopping = True
            return
        with self._changed:
            self.restarts += 1
            if not self._stopping:
                self._ready.set()


def explain_failure(error: Exception) -> tuple[str, str]:
    """What a viewer hears of a failure: a code and a sentence."""
    import torch

    if isinstance(error, UserError):
        return "refused", str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "memory", "the device has no memory left for this video; try again when others have ended."
    if isinstance(error, Lost):
        return "engine", "the server lost its model and loads it again; start the video anew in a moment."
    return "internal", "this video failed for a reason that only the server's log knows; start it anew."


def _poisons(error: Exception) -> bool:
    """Whether the device itself failed: then nothing works on it any more, for anybody."""
    import torch

    return isinstance(error, torch.AcceleratorError) and not isinstance(error, torch.OutOfMemoryError)


def _free_memory(error: Exception) -> None:
    """Give back what a failed work held, so that the others can have it."""
    import torch

    if isinstance(error, torch.OutOfMemoryError) and torch.cuda.is_available():
        torch.cuda.empty_cache()
