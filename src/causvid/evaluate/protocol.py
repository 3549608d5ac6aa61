"""What is asked of every model: the prompts, the noise, and how long.

All prompts describe held-out combinations. Everything about an item follows from the suite's name, the number
of its prompt and the number of its sample, never from rank, order or batch, so that all models are given
the same. Two texts are kept: the one a clip is generated from and what it is scored against.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import torch

from causvid.data import worlds
from causvid.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Suite:
    """How much is measured."""

    name: str
    prompts: int
    """That stay the same through the clip."""
    switches: int
    """Further prompts that change half-way."""
    samples: int
    """Clips per prompt."""
    seconds: float
    batch: int
    """Clips generated together."""
    flow_every: int
    """Optical flow looks at one in so many frames."""
    judge_clips: int = 48
    """Further short clips of the truth on which the judge of words is checked."""
    anchors: tuple[str, ...] | None = None
    """Which of the seven are made; None is all of them."""
    tells: Literal["drawn", "part"] = "drawn"
    """What a prompt mentions: what captions of the domain do; or the kind and two more factors, and then
    the truth of every sample is drawn anew in all the rest."""
    watched: Literal["clips", "stream"] = "clips"
    """Whether whole clips are measured, or a stream that is never held."""

    def __post_init__(self) -> None:
        if self.prompts < 2 or self.samples < 1 or self.switches < 0 or self.seconds < 2:
            raise UserError(
                f"the suite {self.name!r} needs at least 2 prompts, 1 sample of each and 2 seconds; "
                f"it has {self.prompts}, {self.samples} and {self.seconds:g}."
            )


SUITES = MappingProxyType(
    {
        "quick": Suite(name="quick", prompts=12, switches=4, samples=1, seconds=10.0, batch=4, flow_every=6),
        "full": Suite(
            name="full",
            prompts=128,
            switches=32,
            samples=4,
            seconds=10.0,
            batch=16,
            flow_every=4,
            judge_clips=256,
        ),
        "long": Suite(
            name="long",
            prompts=8,
            switches=0,
            samples=1,
            seconds=30.0,
            batch=2,
            flow_every=18,
            anchors=("truth", "truth_vae", "other_prompt"),
        ),
        "diversity": Suite(
            name="diversity",
            prompts=8,
            switches=0,
            samples=16,
            seconds=3.0,
            batch=16,
            flow_every=12,
            anchors=("truth", "truth_vae"),
            tells="part",
        ),
        "endless": Suite(
            name="endless",
            prompts=2,
            switches=0,
            samples=1,
            seconds=600.0,
            batch=1,
            flow_every=1,
            watched="stream",
        ),
    }
)
"""quick: what is being tuned. full: for tables. long: half a minute. diversity: many clips of few prompts.
endless: ten minutes of a stream."""


def find_suite(name: str) -> Suite:
    """The suite of this name.

    Raises:
        UserError: there is none.
    """
    if name not in SUITES:
        raise UserError(f"suite is {name!r}; accepted: {', '.join(SUITES)}.")
    return SUITES[name]


OPEN_TO_CHOICE = ("colour", "motion", "sky", "ground", "weather")
"""Of these a prompt that tells only a part tells two."""


def sized(suite: Suite, *, seconds: float | int | None, prompts: int | None) -> Suite:
    """The suite with clips of this length and so many prompts; None is what it has."""
    length = suite.seconds if seconds is None else float(seconds)
    count = suite.prompts if prompts is None else prompts
    switches = round(suite.switches * count / suite.prompts)
    return replace(suite, seconds=length, prompts=count, switches=switches)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One clip to make, and what it should show."""

    prompt: int
    """The number of its prompt in the suite."""
    sample: int
    scene: worlds.Scene
    """What the truth shows."""
    text: str
    """What the clip is generated from."""
    mentioned: frozenset[str]
    """The factors it is scored on: those the text tells."""
    second_text: str | None = None
    """From the frame of the scene's change on."""
    second_mentioned: frozenset[str] = frozenset()
    seed: int
    """Of all noise."""

    @property
    def identity(self) -> str:
        return f"{self.prompt:04d}-{self.sample}"

    @property
    def switch(self) -> int | None:
        """The pixel frame where the second text begins."""
        return None if self.scene.change is None else self.scene.change[0]

    def expected(self, frame: int) -> dict[str, str]:
        """The factors a viewer of this frame can check against what was said."""
        labels = self.scene.at(frame)
        told = self.mentioned
        if self.switch is not None and frame >= self.switch:
            told = told | self.second_mentioned
        return {name: labels[name] for name in worlds.FACTORS if name in told}

    def described(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "id": self.identity,
            "prompt": self.prompt,
            "sample": self.sample,
            "text": self.text,
            "second_text": self.second_text,
            "switch_frame": self.switch,
            "scored_on": sorted(self.mentioned | self.second_mentioned),
            "labels": self.scene.at(0),
            "scene_seed": self.scene.seed,
            "noise_seed": self.seed,
        }


def frames_of(suite: Suite) -> int:
    """Pixel frames of every clip."""
    return round(suite.seconds * worlds.FPS)


def items_of(suite: Suite) -> list[Item]:
    """All clips of a suite: first those whose prompt stays, then those whose prompt changes."""
    numbers = [
        (prompt, sample)
        for prompt in range(suite.prompts + suite.switches)
        for sample in range(suite.samples)
    ]
    return [_item(suite, prompt, sample) for prompt, sample in numbers]


def _item(suite: Suite, prompt: int, sample: int) -> Item:
    changes = prompt >= suite.prompts
    frames = frames_of(suite)
    middle = frames // 2 // worlds.FPS * worlds.FPS
    scene = worlds.scene(
        number_of(suite.name, prompt),
        split="heldout",
        change_probability=float(changes),
        switch=middle if changes else None,
        frames=frames,
    )
    wording = random.Random(number_of(suite.name, prompt, "wording"))
    told = None if suite.tells == "drawn" else ["kind", *wording.sample(OPEN_TO_CHOICE, 2)]
    first = worlds.caption(scene, wording, mention=told)
    second = worlds.caption(scene, wording, part=1) if changes else None
    if told is not None:
        scene = _drawn_again(scene, told, number_of(suite.name, prompt, sample, "scene"))
    return Item(
        prompt=prompt,
        sample=sample,
        scene=scene,
        text=first.text,
        mentioned=first.mentioned,
        second_text=None if second is None else second.text,
        second_mentioned=frozenset() if second is None else second.mentioned,
        seed=number_of(suite.name, prompt, sample),
    )


def _drawn_again(scene: worlds.Scene, told: Sequence[str], seed: int) -> worlds.Scene:
    """Another scene of the law models are trained on in which these factors are the same."""
    rng = random.Random(seed)
    while True:
        drawn = worlds.scene(rng.getrandbits(40), split="any")
        again = replace(drawn, **{name: getattr(scene, name) for name in told})
        if not worlds.is_held_out(again.at(0)) or {"kind", "colour", "ground"} <= set(told):
            return again


def number_of(*parts: str | int) -> int:
    """A number below 2**40 that these words and numbers always give."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:5], "big")


def other_seed(item: Item) -> worlds.Scene:
    """A scene the same prompt describes: the same words, everything else drawn again."""
    drawn = worlds.scene(number_of("other", item.scene.seed, item.sample), split="any")
    labels = {name: getattr(item.scene, name) for name in worlds.FACTORS}
    return replace(drawn, change=item.scene.change, **labels)


def source_of(item: Item) -> torch.Generator:
    """The noise of a clip."""
    return torch.Generator().manual_seed(item.seed)


def fingerprint(items: Sequence[Item]) -> str:
    """A sha256 of all that is asked."""
    text = json.dumps([item.described() for item in items], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
