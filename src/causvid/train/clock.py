"""Where the time of a step goes: data, forward, backward, optimiser, and the rest.

A GPU works on after a call returns; `exact` waits for it at every border, which costs a
little and is for measuring. Otherwise what is waiting counts where somebody next needs a result.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Phase = Literal["data", "forward", "backward", "optimizer"]
PHASES: tuple[Phase, ...] = ("data", "forward", "backward", "optimizer")


class Clock:
    """Seconds by phase since they were last read."""

    def __init__(self, device: torch.device, *, exact: bool = False) -> None:
        self.device, self.exact = device, exact
        self._spent = dict.fromkeys(PHASES, 0.0)
        self._began = time.perf_counter()

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        began = self._now()
        try:
            yield
        finally:
            self._spent[phase] += self._now() - began

    def _now(self) -> float:
        if self.exact and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def read(self) -> tuple[float, dict[str, float]]:
        """Seconds that have passed, and the share of each phase in them."""
        now = self._now()
        passed = max(now - self._began, 1e-9)
        shares: dict[str, float] = {phase: spent / passed for phase, spent in self._spent.items()}
        shares["other"] = max(0.0, 1 - sum(shares.values()))
        self._spent, self._began = dict.fromkeys(PHASES, 0.0), now
        return passed, shares


def peak_memory(device: torch.device) -> float:
    """The most this process has held so far, in GB: on the GPU, or in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
