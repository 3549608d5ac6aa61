"""How far a long piece of work has come: a bar on a terminal, plain lines elsewhere.

    with Progress(1000, label="teacher", unit="step") as bar:
        bar.update(loss=0.41, lr=1e-4)

Both shows say the same: share done, rate, time left, and whatever fields the caller
passes. A log gets at most one line every few seconds. Knows nothing about training
or generation.
"""

import sys
import time
from collections.abc import Callable
from io import TextIOBase
from types import TracebackType
from typing import Any

PLAIN_LINE_EVERY_SECONDS = 5.0


class Progress:
    """Counts units of work and shows them while used in a `with` block.

    Args:
        total: how many units there are; None where nobody knows.
        label: what is being done, a word or two.
        unit: what is counted, in the singular ("step", "frame").
        done: units finished before (a resumed run); they do not count in the rate.
        stream: where to write; standard error by default.
        clock: seconds that only grow; a test brings its own.
    """

    def __init__(
        self,
        total: int | None,
        *,
        label: str,
        unit: str,
        done: int = 0,
        stream: TextIOBase | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.label, self.unit, self.done = total, label, unit, done
        self._stream: Any = sys.stderr if stream is None else stream
        self._clock = clock
        self._before, self._started = done, clock()
        self._fields: dict[str, Any] = {}
        self._bar: Any = None
        self._task: Any = None
        self._line_at: float | None = None
        self._line_done: int | None = None

    def __enter__(self) -> "Progress":
        self._started = self._clock()
        if self._stream.isatty():
            self._bar = _terminal_bar(self._stream)
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, text="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._show_bar()
            self._bar.stop()
        elif self._line_done != self.done or self.done != self.total:  # the end is said once
            self._write_line()

    @property
    def elapsed(self) -> float:
        """Seconds since the block was entered."""
        return self._clock() - self._started

    @property
    def rate(self) -> float:
        """Units a second since the block was entered; 0 before the first."""
        done = self.done - self._before
        return done / self.elapsed if done > 0 and self.elapsed > 0 else 0.0

    def update(self, advance: int = 1, **fields: Any) -> None:
        """Count `advance` more units; `fields` (loss=0.41, note="saving") stay shown until replaced."""
        self.done += advance
        self._fields.update(fields)
        if self._bar is not None:
            self._show_bar()
        elif self._line_at is None or self._clock() - self._line_at >= PLAIN_LINE_EVERY_SECONDS:
            self._write_line()

    def say(self, text: str) -> None:
        """Write a line of its own without tearing the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def describe(self) -> str:
        """The line both shows share, without the label."""
        of = f"/{self.total}" if self.total is not None else ""
        parts = [f"{self.done}{of} {self.unit}s"]
        if self.total:
            parts.insert(0, f"{100 * self.done // self.total:3d}%")
        if self.rate:
            fast = self.rate >= 1
            parts.append(f"{self.rate:.1f} {self.unit}s/s" if fast else f"{1 / self.rate:.1f} s/{self.unit}")
            if self.total is not None and self.done < self.total:
                parts.append(f"ETA {duration((self.total - self.done) / self.rate)}")
        if self.total is not None and self.done >= self.total:
            parts.append(f"took {duration(self.elapsed)}")
        parts += [_field(name, value) for name, value in self._fields.items() if value not in (None, "")]
        return "  ".join(parts)

    def _show_bar(self) -> None:
        self._bar.update(self._task, completed=self.done, text=self.describe())

    def _write_line(self) -> None:
        self._line_at, self._line_done = self._clock(), self.done
        print(f"{self.label}  {self.describe()}", file=self._stream, flush=True)


def duration(seconds: float | int) -> str:
    """4.2 s, 3:07 or 1:02:09, whichever is readable."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _field(name: str, value: Any) -> str:
    if name == "note":
        return str(value)
    return f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"


def _terminal_bar(stream: Any) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(file=stream),
        refresh_per_second=5,
    )
