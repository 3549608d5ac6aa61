"""Does a clip show what its prompt says?

Scores are made of a judge's posteriors and of what the text mentions; nothing is asked that the prompt left
open. A share means little alone: it stands beside what the same judge gives the truth (its ceiling) and
the truth of other prompts (chance).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from causvid.data import worlds
from causvid.errors import UserError
from causvid.evaluate.protocol import Item
from causvid.evaluate.verifiers import Reading

SURE = 0.5
"""A new value is seen once its posterior is above this ..."""
SURE_FRAMES = 3
"""... for so many frames."""
SETTLED_SECONDS = 1
"""After a switch, before the new values are asked for."""


def posterior(reading: Reading, factor: str, frames: slice = slice(None)) -> Float[Tensor, " n"]:
    """Mean probabilities of a factor's words over some frames; for what only time tells, over all windows."""
    if factor in reading.frame:
        return reading.frame[factor][frames].mean(dim=0)
    count = len(next(iter(reading.frame.values())))
    windows = reading.clip[factor]
    # Windows are spread evenly, so a share of the clip is a share of them, at least one.
    first, last, _ = frames.indices(count)
    low = min(len(windows) - 1, first * len(windows) // count)
    return windows[low : max(low + 1, -(-last * len(windows) // count))].mean(dim=0)


def is_shown(reading: Reading, factor: str, value: str, frames: slice = slice(None)) -> bool:
    """Whether the likeliest word of a factor is this one."""
    return int(posterior(reading, factor, frames).argmax()) == worlds.FACTORS[factor].index(value)


def verified(reading: Reading, item: Item, frames: slice = slice(None)) -> dict[str, bool]:
    """For each factor the prompt mentions, whether it is shown in these frames."""
    first, _, _ = frames.indices(len(reading.path))
    return {name: is_shown(reading, name, value, frames) for name, value in item.expected(first).items()}


@dataclass(frozen=True)
class Shown:
    """How much of its prompt one clip shows."""

    factors: dict[str, bool]
    kind_by_frame: float | None
    """Share of frames whose object is of the right kind: forgives no deformed frame. None: not mentioned."""
    start: dict[str, bool]
    """Which factors are shown in the first seconds."""
    end: dict[str, bool]
    """The same in the last."""

    @property
    def share(self) -> float:
        """TA of one clip."""
        return share(self.factors)

    @property
    def strict(self) -> bool:
        """All of it."""
        return all(self.factors.values())


def shown(reading: Reading, item: Item, *, ends: int) -> Shown | None:
    """How much of a steady prompt is shown; None if it mentions nothing.

    Args:
        ends: frames of the beginning and of the end that are compared.
    """
    if item.switch is not None:
        raise UserError(f"the prompt {item.identity} changes mid-clip; `switched` measures it.")
    factors = verified(reading, item)
    if not factors:
        return None
    by_frame = frames_of_kind(reading, item.scene.kind) if "kind" in factors else None
    first, last = (verified(reading, item, part) for part in (slice(0, ends), slice(-ends, None)))
    return Shown(factors, by_frame, first, last)


def frames_of_kind(reading: Reading, kind: str) -> float:
    """Share of frames in which an object of this kind is seen."""
    right = worlds.FACTORS["kind"].index(kind)
    return float((reading.frame["kind"].argmax(dim=1) == right).float().mean())


def words_read(reading: Reading, frames: slice = slice(None)) -> dict[str, str]:
    """The likeliest word of every factor."""
    return {
        name: values[int(posterior(reading, name, frames).argmax())]
        for name, values in worlds.FACTORS.items()
    }


@dataclass(frozen=True)
class Switched:
    """What a clip does when its prompt changes, factor by factor."""

    latency: dict[str, int | None]
    """Frames until a changed factor is seen; None if it never is."""
    new: dict[str, bool]
    """Which changed factors are shown once they had a second."""
    retained: dict[str, bool]
    """Which factors that were told and shown before, and should stay, are still shown."""
    kept: dict[str, bool]
    """Which factors that the new prompt does not mention are read as before, told or not."""


def switched(reading: Reading, item: Item, *, fps: int) -> Switched:
    """How soon the new prompt shows, and what becomes of the rest."""
    if item.scene.change is None:
        raise UserError(f"the prompt {item.identity} does not change; `shown` measures it.")
    at, changed = item.scene.change
    after = slice(at + SETTLED_SECONDS * fps, None)
    told = {name: value for name, value in item.expected(0).items() if name not in changed}
    before = {name for name, value in told.items() if is_shown(reading, name, value, slice(0, at))}
    then, now = words_read(reading, slice(0, at)), words_read(reading, after)
    return Switched(
        latency={name: _latency(reading, name, value, at) for name, value in changed.items()},
        new={name: is_shown(reading, name, value, after) for name, value in changed.items()},
        retained={name: is_shown(reading, name, told[name], after) for name in sorted(before)},
        kept={
            name: then[name] == now[name]
            for name in worlds.FACTORS
            if name not in changed and name not in item.second_mentioned
        },
    )


def corrected(share: float, *, floor: float, ceiling: float) -> float | None:
    """TA* = (TA - c) / (u - c): 0 is what another prompt's truth gets, 1 the truth itself. None if c = u."""
    return None if ceiling == floor else (share - floor) / (ceiling - floor)


def _latency(reading: Reading, factor: str, value: str, at: int) -> int | None:
    """Frames from the switch until the value is seen for `SURE_FRAMES` frames."""
    sure = (reading.frame[factor][at:, worlds.FACTORS[factor].index(value)] > SURE).tolist()
    return next((t for t in range(len(sure) - SURE_FRAMES + 1) if all(sure[t : t + SURE_FRAMES])), None)


def share(factors: Mapping[str, bool]) -> float:
    """Of the factors that are right; 0 of none."""
    return sum(factors.values()) / len(factors) if factors else 0.0
