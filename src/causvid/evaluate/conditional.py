"""What a prompt leaves open: is it drawn as the domain draws it?

The law of what a prompt does not tell is known exactly: every combination of factors is as likely as any
other, but for the held-out ones, which no model was shown; period, phase and radius are uniform. So
narrowness is seen without features: clips of one prompt are counted by what is read in them.

Entropies of few samples are too small, and those of true samples equally so: each is set against its mean
over draws from the law, as many for every prompt as there are clips. The same draws give the p-value, which
is exact up to their number. Blind to fidelity; and what the judge misreads looks like variety: see the row
of the truth.

Source of the test: G-test by Monte Carlo, Hope 1968, "A simplified Monte Carlo significance test procedure".
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from causvid.data import worlds
from causvid.evaluate.protocol import Item
from causvid.evaluate.summary import Record

DRAWS = 2000
JOINT = ("kind", "colour", "ground")
"""The factors that are held out together; the others are independent."""
RANGES = MappingProxyType({"period": (24.0, 36.0), "phase": (0.0, 1.0), "radius": (0.22, 0.28)})
"""Of what no prompt tells; all uniform. Source: `worlds.scene`."""

Law = Float[ndarray, " k"]


def law(factor: str, told: Mapping[str, str]) -> Law:
    """The chance of every word of a factor, given the words that are told."""
    words = worlds.FACTORS[factor]
    if factor not in JOINT:
        return np.full(len(words), 1 / len(words))
    counts = dict.fromkeys(words, 0)
    for values in itertools.product(*(worlds.FACTORS[name] for name in JOINT)):
        labels = dict(zip(JOINT, values, strict=True))
        if all(told.get(name, labels[name]) == labels[name] for name in JOINT):
            counts[labels[factor]] += not worlds.is_held_out(labels)
    total = sum(counts.values())
    return np.array([counts[word] / total for word in words])


def compared(counts: Sequence[Sequence[int]], laws: Sequence[Law], *, seed: int = 0) -> dict[str, float]:
    """How clips of several prompts are spread over one factor's words, against the law of each prompt.

    Args:
        counts: for every prompt, how many clips show each word.
        laws: for every prompt, the chance of each word.

    Returns:
        entropy_ratio: mean entropy over that of as many true draws; 1 is right, 0 always the same word.
        kl: mean KL(found || law), less that of true draws.
        missing: mean chance of the words that were never drawn, less that of true draws.
        p: the chance of a G statistic as large if the law were obeyed.
    """
    rng = np.random.default_rng(seed)
    found, null = np.zeros(3), np.zeros((DRAWS, 3))
    for row, chances in zip(counts, laws, strict=True):
        found += _statistics(np.array(row)[None], chances)[0]
        null += _statistics(rng.multinomial(sum(row), chances, size=DRAWS), chances)
    n = len(counts)
    entropy, kl, missing = found / n
    expected = null.mean(axis=0) / n
    return {
        "entropy_ratio": float(entropy / expected[0]) if expected[0] else math.nan,
        "kl": float(kl - expected[1]),
        "missing": float(missing - expected[2]),
        "p": float((1 + (null[:, 1] >= found[1] - 1e-12).sum()) / (DRAWS + 1)),
    }


def by_factor(records: Sequence[Record], items: Mapping[str, Item]) -> dict[str, dict[str, Any]]:
    """The comparison for every factor some prompt leaves open, over the prompts that do.

    Args:
        records: of one arm, several clips for every prompt.
        items: what was asked, by identity.
    """
    rows: dict[str, dict[str, Any]] = {}
    prompts: dict[int, list[Record]] = {}
    for record in records:
        prompts.setdefault(record["prompt"], []).append(record)
    for factor, words in worlds.FACTORS.items():
        counts, laws = [], []
        for group in prompts.values():
            item = items[group[0]["id"]]
            if factor in item.mentioned:
                continue
            told = {name: getattr(item.scene, name) for name in item.mentioned}
            read = [record["read"][factor] for record in group]
            counts.append([read.count(word) for word in words])
            laws.append(law(factor, told))
        if counts:
            rows[factor] = {**compared(counts, laws), "prompts": len(counts), "clips": int(np.sum(counts))}
    return rows


def uniform_test(values: Sequence[float], *, low: float, high: float) -> dict[str, float]:
    """How far numbers are from evenly spread: D = sup |F_n - F|, its p-value, and W1 as a share of the range.

    What lies outside the range counts as at its end.

    Source: Kolmogorov 1933; p from the first terms of his series, with Stephens' correction for few samples.
    """
    x = np.clip((np.sort(np.array(values)) - low) / (high - low), 0, 1)
    n = len(x)
    after, before = np.arange(1, n + 1) / n, np.arange(n) / n
    distance = float(max((after - x).max(), (x - before).max()))
    scaled = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    terms = [(-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101)]
    p = min(1.0, max(0.0, 2 * sum(terms))) if scaled > 0.2 else 1.0
    # Both quantile functions, at the middle of each sample's share.
    return {"ks": distance, "p": p, "w1": float(np.abs(x - (after + before) / 2).mean()), "clips": n}


def continuous(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Period, phase and radius of the clips that move, and as they were told to, from their fitted paths."""
    moving = [r for r in records if r.get("family", "still") != "still" and r.get("family_right", 1) == 1]
    found = {}
    for name, (low, high) in RANGES.items():
        values = [r[name] for r in moving if r.get(name) is not None]
        if values:
            found[name] = uniform_test(values, low=low, high=high)
    return found


def _statistics(counts: ndarray, chances: Law) -> Float[ndarray, "n 3"]:
    """Entropy, KL to the law, and the chance of what was not drawn, for every row of counts."""
    share = counts / counts.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(share > 0, share * np.log(share), 0.0).sum(axis=1)
        # A word that cannot be drawn, drawn all the same, is counted as a rare one.
        cross = np.where(share > 0, share * np.log(np.maximum(chances, 1e-3)), 0.0).sum(axis=1)
    return np.stack([-own, own - cross, ((counts == 0) * chances).sum(axis=1)], axis=1)
