"""What a scene looks like, in English.

Captions vary in words and order, tell only what is true, and leave some of it out:
`mentioned` says what they tell, so that a judge asks for nothing the prompt left
open. Lower case; no punctuation but commas.

This module does not know how anything is drawn.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from causvid.data.worlds.scene import FACTORS, Scene
from causvid.data.worlds.words import (
    CHANGES,
    COLOURS,
    KINDS,
    MOTIONS,
    OPENINGS,
    OTHER,
    PLACES,
    SOON,
    STOPS,
    TAGS,
    TURNS,
    UNNAMED,
)
from causvid.errors import UserError

TELL_ALL = 0.5
"""How often a caption tells all six factors."""
TELL = {"kind": 0.95, "colour": 0.9, "motion": 0.8, "sky": 0.65, "ground": 0.65, "weather": 0.65}
"""How often each is told otherwise."""
CHANGE_ALONE = 0.5
"""How often the second part is told by its change alone."""

Choice = TypeVar("Choice")


Random: TypeAlias = random.Random | np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Caption:
    text: str
    mentioned: frozenset[str]
    """The factors a reader could name."""


def caption(scene: Scene, rng: Random, *, part: int = 0, mention: Collection[str] | None = None) -> Caption:
    """One way to describe a scene.

    Args:
        scene: what to describe.
        rng: draws the wording.
        part: 0 describes the scene before its change, 1 after it. Half of the second
            parts tell the change alone ("then it snows"); the others tell it among the rest.
        mention: tell exactly these factors, in a full description; drawn if None.

    Raises:
        UserError: if `part` is not 0 or 1, or `mention` names no factor of ours.
    """
    if part not in (0, 1):
        raise UserError(f"part is {part}; a scene has part 0, before its change, and part 1, after it.")
    if mention is not None and (unknown := set(mention) - set(FACTORS)):
        raise UserError(f"mention names {', '.join(sorted(unknown))}; the factors are {', '.join(FACTORS)}.")
    labels, changed = _labels(scene, part)
    if mention is not None:
        return _describe(labels, rng, told=frozenset(mention))
    if changed and rng.random() < CHANGE_ALONE:
        return _tell_change(scene, rng)
    described = _describe(labels, rng, told=_draw_told(rng) | set(changed))
    if changed and rng.random() < 0.5:
        return Caption(text=f"{_pick(rng, SOON)}, {described.text}", mentioned=described.mentioned)
    return described


def vocabulary() -> tuple[str, ...]:
    """Every word captions can use, and some connectives more, sorted."""
    tables = (KINDS, UNNAMED, COLOURS, MOTIONS, PLACES, TAGS, CHANGES, STOPS, TURNS, OPENINGS, SOON, OTHER)
    return tuple(sorted({word for phrase in _strings(tables) for word in phrase.split()}))


def _strings(table: Any) -> Iterator[str]:
    if isinstance(table, str):
        yield table
        return
    for entry in table.values() if isinstance(table, Mapping) else table:
        yield from _strings(entry)


def _labels(scene: Scene, part: int) -> tuple[dict[str, str], Mapping[str, str]]:
    """The factors of a part, and which of them are new in it."""
    if scene.change is None:
        return scene.at(0), {}
    switch, changed = scene.change
    return (scene.at(switch), changed) if part else (scene.at(switch - 1), {})


def _pick(rng: Random, choices: Sequence[Choice]) -> Choice:
    return choices[int(rng.random() * len(choices))]


def _shuffled(rng: Random, items: Sequence[Choice]) -> list[Choice]:
    return sorted(items, key=lambda _: rng.random())


def _draw_told(rng: Random) -> frozenset[str]:
    if rng.random() < TELL_ALL:
        return frozenset(FACTORS)
    return frozenset(factor for factor, chance in TELL.items() if rng.random() < chance)


def _describe(labels: Mapping[str, str], rng: Random, *, told: frozenset[str]) -> Caption:
    """A sentence, an inverted sentence, a picture title or a list."""
    form = _pick(rng, ("sentence", "sentence", "inverted", "inverted", "title", "list"))
    if form == "list":
        return Caption(text=_list(labels, rng, told=told), mentioned=told)
    finite = form != "title"
    thing = _article(_thing(labels, rng, told=told))
    act = _pick(rng, MOTIONS[labels["motion"]])[0 if finite else 1] if "motion" in told else ""
    around = [_pick(rng, PLACES[name][labels[name]]) for name in _shuffled(rng, sorted(told & set(PLACES)))]
    opening = _pick(rng, ("", *OPENINGS)) if form == "title" else ""
    front = [f"{around.pop()},"] if form == "inverted" and around else []
    text = " ".join(word for word in [*front, opening, thing, act, *around] if word)
    return Caption(text=text, mentioned=told)


def _thing(labels: Mapping[str, str], rng: Random, *, told: frozenset[str]) -> str:
    kind = _pick(rng, KINDS[labels["kind"]] if "kind" in told else UNNAMED)
    return f"{_pick(rng, COLOURS[labels['colour']])} {kind}" if "colour" in told else kind


def _article(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeio' else 'a'} {thing}"


def _list(labels: Mapping[str, str], rng: Random, *, told: frozenset[str]) -> str:
    entries = [_pick(rng, TAGS[name][labels[name]]) for name in sorted(told & set(TAGS))]
    if "motion" in told:
        entries.append(_pick(rng, MOTIONS[labels["motion"]])[1])
    return ", ".join([_thing(labels, rng, told=told), *_shuffled(rng, entries)])


def _tell_change(scene: Scene, rng: Random) -> Caption:
    """The change alone; a turning object may be called by its name."""
    labels, changed = _labels(scene, 1)
    events, mentioned = [], set(changed)
    for factor in _shuffled(rng, sorted(changed)):
        if factor == "colour":
            named = rng.random() < 0.6
            events.append(_turn(labels, rng, named=named))
            mentioned |= {"kind"} if named else set()
        elif factor == "weather" and labels["weather"] == "clear":
            events.append(_pick(rng, (*STOPS[scene.weather], *CHANGES["weather"]["clear"])))
        else:
            events.append(_pick(rng, CHANGES[factor][labels[factor]]))
    soon = _pick(rng, ("", *SOON))
    return Caption(text=f"{soon} {' and '.join(events)}".strip(), mentioned=frozenset(mentioned))


def _turn(labels: Mapping[str, str], rng: Random, *, named: bool) -> str:
    thing = _pick(rng, KINDS[labels["kind"]] if named else UNNAMED)
    return f"the {thing} {_pick(rng, TURNS)} {_pick(rng, COLOURS[labels['colour']])}"
