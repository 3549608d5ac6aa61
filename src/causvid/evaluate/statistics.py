"""How sure one can be of a mean or a difference, when few prompts and fewer trainings were drawn.

Scores stand in a table [training seed, prompt, sample]. All models were given the same prompts and noise, so
differences are taken cell by cell and the prompts' own difficulty cancels. Nothing here knows what the
scores mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from causvid.errors import UserError

Scores = Float[ndarray, "r p k"]
"""Training runs, prompts, samples of a prompt."""
OtherScores = Float[ndarray, "r2 p2 k2"]
"""A table that must have the same shape, and is asked whether it has."""

DRAWS = 10_000
LEVEL = 0.95
NUMBERS_AT_ONCE = 2**20
"""Resampled in one go, for memory's sake."""


@dataclass(frozen=True)
class Estimate:
    """A mean and where 95 % of its resampled values lie."""

    mean: float
    low: float
    high: float

    def excludes(self, value: float | int) -> bool:
        return not self.low <= value <= self.high


@dataclass(frozen=True)
class Difference:
    """A less B."""

    estimate: Estimate
    better: float
    """Share of resampled differences above 0: P(A > B)."""
    p: float
    """Two-sided, from the same draws."""


def bootstrap(scores: Scores, *, seed: int, draws: int = DRAWS) -> Float[ndarray, " draws"]:
    """Means of resampled tables: training runs, then prompts, then within a cell its samples.

    The prompts of a draw are the same for every run, as they were when the scores were made.

    Raises:
        UserError: a score is missing. Count what failed; do not average the rest.

    Source: Davison and Hinkley 1997, section 3.8, on hierarchical data.
    """
    _check(scores)
    rng = np.random.default_rng(seed)
    runs, prompts, samples = scores.shape
    at_once = max(1, NUMBERS_AT_ONCE // scores.size)
    means = []
    for first in range(0, draws, at_once):
        count = min(at_once, draws - first)
        run = rng.integers(runs, size=(count, runs, 1, 1))
        prompt = rng.integers(prompts, size=(count, 1, prompts, 1))
        sample = rng.integers(samples, size=(count, runs, prompts, samples)) if samples > 1 else np.array(0)
        means.append(scores[run, prompt, sample].mean(axis=(1, 2, 3)))
    return np.concatenate(means)


def estimate(scores: Scores, *, seed: int = 0, draws: int = DRAWS, level: float = LEVEL) -> Estimate:
    """The mean with its percentile interval."""
    return _interval(float(scores.mean()), bootstrap(scores, seed=seed, draws=draws), level)


def difference(first: Scores, second: OtherScores, *, seed: int = 0, draws: int = DRAWS) -> Difference:
    """The paired difference of two models given the same prompts and noise.

    Raises:
        UserError: the tables have other shapes, so that nothing is paired.
    """
    paired = _paired(first, second)
    drawn = bootstrap(paired, seed=seed, draws=draws)
    below, above = (drawn <= 0).sum(), (drawn >= 0).sum()
    return Difference(
        _interval(float(paired.mean()), drawn, LEVEL),
        better=float((drawn > 0).mean()),
        p=min(1.0, 2 * (min(int(below), int(above)) + 1) / (draws + 1)),
    )


def ratio(first: Scores, second: OtherScores, *, seed: int = 0, draws: int = DRAWS) -> Estimate:
    """The mean of A over the mean of B, both resampled together.

    Draws in which B's mean is 0 do not count.

    Raises:
        UserError: the tables have other shapes, so that nothing is paired.
    """
    _paired(first, second)
    # The same seed and shape: both resample the same prompts.
    above, below = (bootstrap(scores, seed=seed, draws=draws) for scores in (first, second))
    known = below != 0
    drawn = above[known] / below[known]
    return _interval(float(first.mean() / second.mean()), drawn, LEVEL)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values of several hypotheses, corrected for their number.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    corrected, largest = {}, 0.0
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    for rank, (name, p) in enumerate(ordered):
        largest = max(largest, min(1.0, p * (len(ordered) - rank)))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def is_equivalent(
    first: Scores,
    second: OtherScores,
    *,
    margin: float | int,
    seed: int = 0,
    draws: int = DRAWS,
    alpha: float = 0.05,
) -> bool:
    """Whether the difference is shown to be smaller than the margin: two one-sided tests.

    A difference that is merely not significant is not an equivalence.

    Raises:
        UserError: the margin is not above 0.

    Source: Schuirmann 1987, TOST: the interval of level 1 - 2 alpha lies inside the margin.
    """
    if margin <= 0:
        raise UserError(f"the margin of an equivalence is {margin}; it must be above 0.")
    drawn = bootstrap(_paired(first, second), seed=seed, draws=draws)
    found = _interval(float(drawn.mean()), drawn, 1 - 2 * alpha)
    return -margin < found.low and found.high < margin


def table_of(values: Mapping[tuple[int, int], float], *, prompts: int, samples: int) -> Scores:
    """One training run's scores by (prompt, sample); what is missing is nan, and `bootstrap` refuses it."""
    table = np.full((1, prompts, samples), np.nan)
    for (prompt, sample), value in values.items():
        table[0, prompt, sample] = value
    return table


def _paired(first: Scores, second: OtherScores) -> Scores:
    if first.shape != second.shape:
        raise UserError(
            f"scores of shape {first.shape} and {second.shape} cannot be paired; make them alike."
        )
    return first - second


def _interval(mean: float, drawn: ndarray, level: float) -> Estimate:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(mean, float(low), float(high))


def _check(scores: Scores) -> None:
    missing = int(np.isnan(scores).sum())
    if scores.size == 0 or missing:
        raise UserError(
            f"{missing} of {scores.size} scores are missing; an average over the rest would flatter. "
            "Make the missing clips, or leave their prompts out for every model."
        )
