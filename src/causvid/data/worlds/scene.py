"""What is in a scene, and the law scenes are drawn from.

A scene is six words (its factors) and a few continuous parameters that no
caption tells (phase, period, radius, place). A two-part scene changes one or two
of the words at a given frame. One seed is one scene, everywhere and forever, and
every seed is a scene. A balanced eighth of the colour, kind and ground
combinations is held out, so that composition can be measured.

This module draws nothing and writes no captions.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from causvid.errors import UserError

FPS = 12

FACTORS: dict[str, tuple[str, ...]] = {
    "kind": ("ball", "box", "triangle", "star", "ring", "heart"),
    "colour": ("red", "green", "blue", "yellow", "purple", "white"),
    "motion": ("sweep", "bounce", "circle", "diagonal", "still"),
    "sky": ("day", "sunset", "night", "cloudy"),
    "ground": ("grass", "sand", "water", "snow"),
    "weather": ("clear", "rain", "snow"),
}

CHANGEABLE = ("colour", "sky", "ground", "weather")
"""What may change mid-clip. A kind or a motion could not change without a jump."""

SWITCH_EVERY = 12
"""Pixel frames between places where a change may begin: one chunk."""

Split: TypeAlias = Literal["train", "heldout", "any"]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One world: what it shows, and how it moves for every frame there is."""

    seed: int
    kind: str
    colour: str
    motion: str
    sky: str
    ground: str
    weather: str

    radius: float
    """In heights of the picture, .22 to .28."""
    period: float
    """Frames of one turn of the motion, 24 to 36."""
    phase: float
    """Where in its turn the motion is at frame 0, 0 to 1."""
    place: tuple[float, float]
    """Where the motion sits in the room it has, 0 to 1 across and down."""
    shower: tuple[float, float]
    """Where the first raindrop or flake is at frame 0, 0 to 1 across and down."""
    shower_period: float
    """Frames after which the weather repeats, 48 to 72."""
    change: tuple[int, Mapping[str, str]] | None = None
    """From this frame on, these factors have these values."""

    def at(self, frame: int) -> dict[str, str]:
        """The six factors at a pixel frame."""
        labels = {factor: getattr(self, factor) for factor in FACTORS}
        if self.change is not None and frame >= self.change[0]:
            labels |= self.change[1]
        return labels


def is_held_out(labels: Mapping[str, str]) -> bool:
    """Whether training never shows this colour, kind and ground together.

    18 of 144 combinations: each colour and each kind loses three, on three different
    grounds, so every pair of values is still seen.
    """
    colour, kind, ground = (FACTORS[name].index(labels[name]) for name in ("colour", "kind", "ground"))
    return (colour + kind) % 2 == 0 and ground == (colour // 2 + kind // 2 + 2 * (colour % 2)) % 4


def scene(
    seed: int,
    *,
    split: Split = "train",
    change_probability: float = 0.0,
    switch: int | None = None,
    frames: int = 60,
) -> Scene:
    """The scene of a seed.

    Args:
        seed: any integer.
        split: "train" never shows a held-out combination, "heldout" always does, before and
            after a change; "any" does not care.
        change_probability: how likely the scene has two parts.
        switch: the frame where the second part begins, a multiple of 12; drawn if None.
        frames: length of the clip, within which the switch is drawn.

    Raises:
        UserError: if a change is asked for and the clip has no room for it.
    """
    rng = random.Random(seed)
    labels = _draw_labels(rng, split=split)
    drawn = Scene(
        seed=seed,
        kind=labels["kind"],
        colour=labels["colour"],
        motion=labels["motion"],
        sky=labels["sky"],
        ground=labels["ground"],
        weather=labels["weather"],
        radius=rng.uniform(0.22, 0.28),
        period=rng.uniform(24.0, 36.0),
        phase=rng.random(),
        place=(rng.random(), rng.random()),
        shower=(rng.random(), rng.random()),
        shower_period=rng.uniform(48.0, 72.0),
    )
    if rng.random() >= change_probability:
        return drawn
    return replace(drawn, change=(_draw_switch(rng, switch, frames), _draw_change(rng, labels, split=split)))


def _fits(labels: Mapping[str, str], split: Split) -> bool:
    return split == "any" or is_held_out(labels) == (split == "heldout")


def _draw_labels(rng: random.Random, *, split: Split) -> dict[str, str]:
    while True:
        labels = {factor: rng.choice(values) for factor, values in FACTORS.items()}
        if _fits(labels, split):
            return labels


def _draw_change(rng: random.Random, labels: dict[str, str], *, split: Split) -> dict[str, str]:
    """One or two factors with other values than before."""
    while True:
        factors = rng.sample(CHANGEABLE, rng.choice((1, 1, 2)))
        change = {name: rng.choice([v for v in FACTORS[name] if v != labels[name]]) for name in factors}
        if _fits(labels | change, split):
            return change


def _draw_switch(rng: random.Random, switch: int | None, frames: int) -> int:
    if switch is None:
        last = (frames - 1) // SWITCH_EVERY
        if last < 1:
            raise UserError(
                f"a two-part scene of {frames} frames has no room for its change; "
                f"ask for more than {SWITCH_EVERY} frames, or for change_probability=0."
            )
        return SWITCH_EVERY * rng.randint(1, last)
    if switch < 0 or switch % SWITCH_EVERY:
        raise UserError(f"switch is {switch}; a change begins at a multiple of {SWITCH_EVERY} pixel frames.")
    return switch
