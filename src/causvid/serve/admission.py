"""Who still fits: what a live video takes of the device's memory, worked out before it begins.

A session keeps a cache and what the decoder remembers; every chunk that one can go back by keeps
them once more. A large model therefore goes back by few chunks, or none. Knows sizes; an allocation that
fails all the same ends the video that asked for it, in `engine.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from causvid.errors import UserError
from causvid.generate.pipeline import Pipeline
from causvid.models.memory import Workload, estimate
from causvid.models.room import available

_SHARE = 0.5
"""Of what is free after loading, for histories; the rest is for branches, and for what others do."""
_FRAMES = 240
"""Latent frames that a stream without a window is taken to reach."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Bytes that one live video takes."""

    kept: int
    """For every chunk that one can go back by, and for every branch."""
    working: int
    """While a chunk of it is made, beside that."""

    @classmethod
    def of(cls, pipeline: Pipeline, *, device: torch.device) -> "Cost":
        spec = pipeline.spec
        work = Workload(
            size=spec.size, frames=_FRAMES, layout=spec.layout, dtype=pipeline.dtype, device=device.type
        )
        memory = estimate(spec, work, weights={})
        return cls(kept=memory.cache + memory.remembered, working=memory.working - memory.cache)


class Admission:
    """Makes sessions as long as there is memory for them.

    Args:
        make: makes one.
        free: bytes that can still be had on a device, None where that is not known.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        *,
        free: Callable[[torch.device], int | None] = available,
    ) -> None:
        self._make, self._free = make, free

    def __call__(self, pipeline: Pipeline, prompt: str, **how: Any) -> Any:
        """A new session.

        Raises:
            UserError: there is no memory for it, or an argument does not fit.
        """
        device = device_of(pipeline)
        free, cost = self._free(device), Cost.of(pipeline, device=device)
        if free is not None and cost.kept + cost.working > free:
            raise UserError(
                "the device has no memory left for another video; try again when others have ended."
            )
        return self._make(pipeline, prompt, **how)

    def history(self, pipeline: Pipeline, *, sessions: int, most: int) -> int:
        """How many chunks each of so many viewers can go back by, up to a number; maybe none."""
        device = device_of(pipeline)
        free, cost = self._free(device), Cost.of(pipeline, device=device)
        if free is None or cost.kept == 0:
            return most
        left = _SHARE * (free - cost.working) / sessions - cost.kept
        return max(0, min(most, int(left // cost.kept)))


def device_of(pipeline: Pipeline) -> torch.device:
    denoiser = pipeline.bundle.denoiser
    assert denoiser is not None
    return denoiser.transformer.out.weight.device
