"""How long the parts of a chunk's making take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PARTS = ("text", "denoise", "commit", "decode")
"""Of the making of a chunk."""


class Stopwatch:
    """Adds up seconds for each part. A GPU notes the time itself, so that nothing waits for it in between."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._noted: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        on_gpu = self.device.type == "cuda"
        started, first = time.perf_counter(), self._now() if on_gpu else None
        try:
            yield
        finally:
            if first is not None:
                self._noted.append((part, first, self._now()))
            else:
                self._seconds[part] += time.perf_counter() - started

    def _now(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def read(self) -> dict[str, float]:
        """Seconds of every part so far; a GPU is waited for."""
        for part, first, last in self._noted:
            last.synchronize()
            self._seconds[part] += first.elapsed_time(last) / 1000
        self._noted = []
        return dict(self._seconds)
