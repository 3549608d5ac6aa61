"""When the next chunk of a live video is wanted: credits and the clock.

A viewer grants credits, the number of frames that may be on their way to it; a frame comes
back as a credit when it was shown. Without room for a chunk nothing is made, so a slow
viewer costs neither memory nor turns. At the pace "realtime" a chunk is moreover made only
shortly before its pictures are needed, so that a new prompt is seen soon. Knows numbers.
"""

import math
import threading
from collections import deque
from collections.abc import Callable

from causvid.errors import UserError

_SLACK = 0.1
"""Seconds between a chunk being made and being on the screen that are not measured here: coding, the
network, and what the page needs."""
_MARGIN = 1.25
_LONGEST_LEAD = 1.5
_REMEMBERED = 3


class Credits:
    """Frames on their way to a viewer. Numbers go on over the videos of one connection."""

    def __init__(self, granted: int) -> None:
        self.granted = granted
        self.sent = 0
        """Frames made for it so far: the sequence number of the next one."""
        self.written = 0
        """Of these, no longer in this program's memory."""
        self.shown = 0
        """Of these, shown or never to be shown."""

    @property
    def in_flight(self) -> int:
        return self.sent - self.shown

    def room(self, frames: int) -> bool:
        """Whether a chunk of so many frames may be made. One chunk always may, if nothing is on its way."""
        counts = (self.sent - self.shown, self.sent - self.written)
        return all(count == 0 or count + frames <= self.granted for count in counts)

    def take(self, frames: int) -> int:
        """Count frames as sent; gives the first one's sequence number."""
        first, self.sent = self.sent, self.sent + frames
        return first

    def wrote(self, sequence: int) -> None:
        """The frame of this number has left, and with it all before."""
        self.written = max(self.written, sequence + 1)

    def ack(self, sequence: int) -> None:
        """The frame of this number was shown, and with it all before.

        Raises:
            UserError: there is no such frame yet.
        """
        if sequence >= self.sent:
            raise UserError(f"frame {sequence} is acknowledged, but only {self.sent} frames have been sent.")
        self.wrote(sequence)
        self.shown = max(self.shown, sequence + 1)

    def forgive(self) -> None:
        """What is on its way will not be shown: something else comes now."""
        self.shown = self.sent


class Pace:
    """The clock of one video that is shown while it is made."""

    def __init__(self, fps: float | int) -> None:
        self._fps = fps
        self._costs: deque[float] = deque(maxlen=_REMEMBERED)
        self._shown_until = float("-inf")

    @property
    def lead(self) -> float:
        """How long before it is needed a chunk is begun, in seconds."""
        return min(_LONGEST_LEAD, _MARGIN * max(self._costs, default=0.0) + _SLACK)

    def due(self) -> float:
        """When the next chunk is to be begun if all that was made is being shown."""
        return self._shown_until - self.lead

    def enough(self, in_flight: int) -> bool:
        """Whether the viewer has more waiting than it should: it shows frames more slowly than the clock."""
        return in_flight / self._fps > self.lead + _SLACK

    def made(self, frames: int, *, wanted: float, now: float) -> None:
        """A chunk that was wanted at one time exists now."""
        self._costs.append(now - wanted)
        self._shown_until = max(self._shown_until, now) + frames / self._fps

    def restart(self) -> None:
        """What was made will not be shown: something else comes now."""
        self._shown_until = float("-inf")


class Schedule:
    """When the next chunk of one video is due, and for how long it has been. For any thread."""

    def __init__(
        self, credits: Credits, *, fps: float | int, realtime: bool, clock: Callable[[], float]
    ) -> None:
        self._credits, self._realtime, self._clock = credits, realtime, clock
        self._pace = Pace(fps)
        self._lock = threading.RLock()
        self._frames = 0
        self._wanted = clock()

    def ack(self, sequence: int) -> None:
        """A frame was shown.

        Raises:
            UserError: there is no such frame.
        """
        self._let(lambda: self._credits.ack(sequence))

    def wrote(self, sequence: int) -> None:
        """A frame has left."""
        self._let(lambda: self._credits.wrote(sequence))

    def restart(self, arrived: float) -> None:
        """Another place in time was asked for at this moment: it is wanted now, and nothing else is shown."""
        with self._lock:
            self._credits.forgive()
            self.hurry(arrived)

    def hurry(self, arrived: float) -> None:
        """What was to come later is wanted since this moment."""
        with self._lock:
            self._pace.restart()
            self._wanted = max(self._wanted, arrived)

    def due(self, frames: int, *, stepping: bool) -> float:
        """When a chunk of so many frames is to be begun; inf: the viewer has to show something first."""
        with self._lock:
            self._frames = frames
            if self._full(stepping):
                return math.inf
            return self._pace.due() if self._realtime and not stepping else -math.inf

    def made(self, frames: int, *, started: float) -> tuple[int, float]:
        """A chunk exists now; gives its first sequence number, and how long it had to wait for its turn."""
        with self._lock:
            now = self._clock()
            due = self._pace.due() if self._realtime else -math.inf
            wanted = min(started, max(self._wanted, due))
            self._wanted = now
            self._pace.made(frames, wanted=wanted, now=now)
            return self._credits.take(frames), started - wanted

    def _full(self, stepping: bool) -> bool:
        """Whether there is enough on its way for now."""
        if not self._credits.room(self._frames):
            return True
        return self._realtime and not stepping and self._pace.enough(self._credits.in_flight)

    def _let(self, change: Callable[[], None]) -> None:
        with self._lock:
            waited = self._full(stepping=False)
            change()
            if waited and not self._full(stepping=False):
                self._wanted = self._clock()
