"""How long the parts of a chunk's making take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PARTS = ("text", "denoise", "commit", "decode")
"""Of the making of a chunk."""


class Stopwatch:
    """Adds up seconds for each part. A GPU is waited for, so that its work is counted where it belongs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.seconds[what] += time.perf_counter() - started
