"""All records of one run of the tables, and the means and differences they give.

Arms may have several training seeds, all others one; everything is taken over the clips on which a
metric is defined for all that are compared. Knows records, not where they come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from causvid.evaluate.statistics import Scores, estimate
from causvid.evaluate.summary import Mean, Record, mean_of, pairs

Runs = Sequence[Sequence[Record]]
"""One list of records for each training seed."""
FROM_DRAWS = 2000


@dataclass(frozen=True)
class Results:
    """By length of clips ("short", "long", "speed") and arm."""

    runs: Mapping[str, Mapping[str, Runs]]

    def has(self, length: str, *arms: str) -> bool:
        return all(self.runs.get(length, {}).get(arm) for arm in arms)

    def of(self, length: str, arm: str) -> Runs:
        return self.runs[length][arm]

    def flat(self, length: str, arm: str) -> list[Record]:
        """The records of all its seeds."""
        return [record for run in self.of(length, arm) for record in run]

    def paired(self, length: str, first: str, second: str, metric: str) -> tuple[Scores, Scores] | None:
        """Two tables [seed, prompt, sample] of the same clips; None if there are none.

        The only seed of an arm is repeated.
        That training varies is then seen for the arm with several seeds only.
        """
        a, b = self.of(length, first), self.of(length, second)
        count = max(len(a), len(b)) if 1 in (len(a), len(b)) else min(len(a), len(b))
        known = _defined([*a[:count], *b[:count]], metric)
        tables = []
        for number in range(count):
            mine, theirs = (
                [record for record in runs[number % len(runs)] if record["id"] in known] for runs in (a, b)
            )
            found = pairs(mine, theirs, metric)
            if found is None:
                return None
            tables.append(found)
        return np.concatenate([one for one, _ in tables]), np.concatenate([two for _, two in tables])

    def mean(self, length: str, arm: str, metric: str) -> dict[str, Any] | None:
        """A mean with its interval over seeds, prompts and samples, and the mean of every seed."""
        runs = self.of(length, arm)
        each = [mean_of(run, metric) for run in runs]
        if any(one is None for one in each):
            return None
        means = [one for one in each if one is not None]
        whole = means[0]
        known = _defined(runs, metric)
        if len(runs) > 1 and known:
            tables = [
                pairs(kept, kept, metric) for kept in ([r for r in run if r["id"] in known] for run in runs)
            ]
            found = estimate(np.concatenate([t[0] for t in tables if t is not None]), draws=FROM_DRAWS)
            whole = Mean(found.mean, found.low, found.high, len(known), len(runs[0]))
        return asdict(whole) | {"seeds": [one.mean for one in means]}

    def curve(self, length: str, arm: str, name: str) -> dict[str, list[float]]:
        """Second by second: the mean and where 95 % of its resampled values lie."""
        rows = [
            {"id": r["id"], "prompt": r["prompt"], **{str(t): q for t, q in enumerate(r["curves"][name])}}
            for r in self.flat(length, arm)
        ]
        found = [mean_of(rows, str(t)) for t in range(min(len(row) for row in rows) - 2)]
        kept = [one for one in found if one is not None]
        return {key: [getattr(one, key) for one in kept] for key in ("mean", "low", "high")}


def _defined(runs: Runs, metric: str) -> set[str]:
    """The clips on which a metric is defined in every run."""
    each = [{record["id"] for record in run if record.get(metric) is not None} for run in runs]
    return set.intersection(*each) if each else set()
