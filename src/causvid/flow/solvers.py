"""Solvers of the probability flow: from noise to data along a velocity field.

A solver takes a function velocity(x, sigma) and the levels to visit; it yields the
state at every level, the given one first. It knows nothing about networks or text.

Source of UniPC: Zhao et al. 2023, arXiv:2302.04867, as Wan 2.1 uses it: order 2, B(h) = e^h - 1,
predicting x0. Of DPM-Solver++: Lu et al. 2022, arXiv:2211.01095, multistep of order 2 in its midpoint
form, which Wan 2.1 offers too; it is UniPC without the correction.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from causvid.errors import UserError
from causvid.flow.schedule import per_frame, wide
from causvid.types import Latents, Sigma

Velocity = Callable[[Latents, float], Latents]
Solver = Callable[[Velocity, Latents, Sequence[float]], Iterator[Latents]]


def euler(velocity: Velocity, x: Latents, sigmas: Sequence[float]) -> Iterator[Latents]:
    """x <- x + (next sigma - sigma) * velocity, in float32 at least. First order.

    Args:
        velocity: the field, noise - x0.
        x: the state at the first level.
        sigmas: falling noise levels.
    """
    x = wide(x)
    yield x
    for sigma, following in pairwise(_falling(sigmas)):
        x = x + (following - sigma) * wide(velocity(x, sigma))
        yield x


def euler_step(x: Latents, velocity: Latents, high: Sigma, low: Sigma) -> Latents:
    """One of those steps where every frame has levels of its own, given in float64: differences of
    neighbouring levels are small, and narrower numbers lose much of them."""
    return wide(x) + per_frame((low.double() - high.double()).to(wide(x).dtype)) * wide(velocity)


def unipc(velocity: Velocity, x: Latents, sigmas: Sequence[float]) -> Iterator[Latents]:
    """Second order for one velocity a step: each new x0 also corrects the step that led to it.

    The first step, and the last if it ends in 0, are of first order.

    Args:
        velocity: the field, noise - x0.
        x: the state at the first level.
        sigmas: falling noise levels.
    """
    state = wide(x)
    yield state
    known: list[tuple[float, Latents]] = []
    steps = len(_falling(sigmas)) - 1
    base, order = state, 0
    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        x0 = state - sigma * wide(velocity(state, sigma))
        if order:
            state = _multistep(base, known[-order:], sigma, found=x0)
        known = [*known[-1:], (sigma, x0)]
        base, order = state, min(2, step + 1, steps - step)
        state = _multistep(base, known[-order:], following)
        yield state


def dpm(velocity: Velocity, x: Latents, sigmas: Sequence[float]) -> Iterator[Latents]:
    """DPM-Solver++ 2M: second order for one velocity a step, by a line through the last two x0.

    The first step, and the last if it ends in 0, are of first order.

    Args:
        velocity: the field, noise - x0.
        x: the state at the first level.
        sigmas: falling noise levels.
    """
    state = wide(x)
    yield state
    before: tuple[float, Latents] | None = None
    for sigma, following in pairwise(_falling(sigmas)):
        x0 = state - sigma * wide(velocity(state, sigma))
        known = [(sigma, x0)] if before is None or following == 0 else [before, (sigma, x0)]
        state = _multistep(state, known, following)
        before = (sigma, x0)
        yield state


SOLVERS: Mapping[str, Solver] = MappingProxyType({"euler": euler, "unipc": unipc, "dpm++": dpm})
"""By the word that is typed."""


def _multistep(
    x: Latents, known: list[tuple[float, Latents]], sigma: float, *, found: Latents | None = None
) -> Latents:
    """From the last known level to sigma, by a line through what is known of x0.

    Args:
        x: the state at the last known level.
        known: (level, x0) of the last one or two levels.
        sigma: where to go.
        found: the x0 there, once known: then this is the corrector, else the predictor.
    """
    start, x0 = known[-1]
    h = _log_snr(sigma) - _log_snr(start)
    phi_1 = math.expm1(-h)
    moved = sigma / start * x - (1 - sigma) * phi_1 * x0
    ratio, slope = 0.0, None
    if len(known) == 2:
        ratio = (_log_snr(known[0][0]) - _log_snr(start)) / h
        slope = (known[0][1] - x0) / ratio
    if found is None:
        return moved if slope is None else moved - (1 - sigma) * phi_1 * 0.5 * slope
    if slope is None:
        return moved - (1 - sigma) * phi_1 * 0.5 * (found - x0)
    first = (-phi_1 / h - 1) / phi_1
    second = 2 * (-(phi_1 / -h - 1) / h - 0.5) / phi_1
    weight = (first - second) / (1 - ratio)
    return moved - (1 - sigma) * phi_1 * (weight * slope + (first - weight) * (found - x0))


def _log_snr(sigma: float) -> float:
    """log((1 - sigma) / sigma): the solver's clock."""
    if sigma in (0, 1):
        return math.inf if sigma == 0 else -math.inf
    return math.log((1 - sigma) / sigma)


def _falling(sigmas: Sequence[float]) -> Sequence[float]:
    if len(sigmas) < 2 or any(b >= a for a, b in pairwise(sigmas)) or sigmas[0] > 1 or sigmas[-1] < 0:
        raise UserError(
            f"a solver needs falling noise levels from at most 1 to at least 0, not {list(sigmas)}."
        )
    return sigmas
