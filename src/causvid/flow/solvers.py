"""Solvers of the probability flow: from noise to data along a velocity field.

A solver takes a function velocity(x, sigma) and the levels to visit; it yields the
state at every level, the given one first. It knows nothing about networks or text.
"""

from collections.abc import Callable, Iterator, Sequence

from causvid.flow.schedule import wide
from causvid.types import Latents

Velocity = Callable[[Latents, float], Latents]


def euler(velocity: Velocity, x: Latents, sigmas: Sequence[float]) -> Iterator[Latents]:
    """x <- x + (next sigma - sigma) * velocity, in float32 at least. First order."""
    x = wide(x)
    yield x
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        x = x + (following - sigma) * wide(velocity(x, sigma))
        yield x
