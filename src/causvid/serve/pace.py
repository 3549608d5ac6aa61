"""When the next chunk of a live video is wanted: credits and the clock.

A viewer grants credits, the number of frames that may be on their way to it; a frame comes
back as a credit when it was shown. Without room for a chunk nothing is made, so a slow
viewer costs neither memory nor turns. At the pace "realtime" a chunk is moreover made only
shortly before its pictures are needed, so that a new prompt is seen soon. Knows numbers.
"""

from collections import deque

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
        self.shown = 0

    @property
    def in_flight(self) -> int:
        return self.sent - self.shown

    def room(self, frames: int) -> bool:
        """Whether a chunk of so many frames may be made. One chunk always may, if nothing is on its way."""
        return self.in_flight == 0 or self.in_flight + frames <= self.granted

    def take(self, frames: int) -> int:
        """Count frames as sent; gives the first one's sequence number."""
        first, self.sent = self.sent, self.sent + frames
        return first

    def ack(self, sequence: int) -> None:
        """The frame of this number was shown, and with it all before.

        Raises:
            UserError: there is no such frame yet.
        """
        if sequence >= self.sent:
            raise UserError(f"frame {sequence} is acknowledged, but only {self.sent} frames have been sent.")
        self.shown = max(self.shown, sequence + 1)


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
