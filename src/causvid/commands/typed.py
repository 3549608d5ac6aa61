"""Lines that somebody types while a video goes on: prompts, and a few words that begin with a slash.

Knows text and threads; nothing of video.
"""

import queue
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

TRANSITIONS = ("soft", "blend", "recache", "cut")
HELP = (
    "a line is the next prompt; /soft, /blend, /recache or /cut and a prompt say how it comes in; "
    "/pause, /resume, /quit"
)


@dataclass(frozen=True)
class Wish:
    """What a line asks for: a prompt with a transition, or "pause", "resume", "quit", "help"."""

    word: str
    prompt: str = ""


def read_wish(line: str, *, transition: str) -> Wish | None:
    """What a line asks for; None for an empty one. What is not understood asks for help.

    Args:
        transition: of a prompt that says none.
    """
    text = line.strip()
    if not text:
        return None
    if not text.startswith("/"):
        return Wish(transition, text)
    word, _, rest = text[1:].partition(" ")
    if word in TRANSITIONS and rest.strip():
        return Wish(word, rest.strip())
    return Wish(word) if word in ("pause", "resume", "quit") and not rest.strip() else Wish("help")


class TypedLines:
    """Lines of a stream, taken without waiting for them."""

    def __init__(self, stream: Iterable[str]) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: Iterable[str]) -> None:
        with suppress(OSError, ValueError):  # the terminal is gone; the video goes on
            for line in stream:
                self._lines.put(line)

    def take(self, *, within: float = 0.0) -> str | None:
        """The next line; None if there is none within so many seconds."""
        try:
            return self._lines.get(timeout=within) if within > 0 else self._lines.get_nowait()
        except queue.Empty:
            return None


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """Is set by Ctrl-C or a termination signal inside, once; a second Ctrl-C interrupts at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
