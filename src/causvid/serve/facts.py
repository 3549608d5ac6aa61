"""What is stored in a video that the server made, so that it can be told and made again."""

from typing import Any

from causvid import __version__
from causvid.generate.sampling import sampling_facts
from causvid.generate.timeline import Event, Timeline
from causvid.models.spec import ModelSpec
from causvid.serve.branches import Branch
from causvid.serve.order import Order


def timeline_of(branch: Branch, order: Order, spec: ModelSpec) -> Timeline:
    """The prompts of a branch as far as it has been shown."""
    frames = sum(piece.frames for piece in list(branch.pieces))
    first, *later = branch.moments
    shown = (first, *(moment for moment in later if moment.frame < frames))
    events = tuple(
        Event(
            moment.frame / spec.fps, moment.prompt, moment.transition, moment.over, moment.strength
        )
        for moment in shown
    )  # fmt: skip
    return Timeline(events, order.seed, frames / spec.fps if frames else None, spec.name)


def facts_of(timeline: Timeline, order: Order, spec: ModelSpec) -> dict[str, Any]:
    """The description of a clip: the words of `causvid generate`, which can make it again if it was
    made from words alone."""
    facts: dict[str, Any] = {"prompt": timeline.prompt, "timeline": timeline.to_table()}
    if order.begins_with != "words":
        facts |= {"verb": "serve", "begins_with": order.begins_with}
    return facts | {
        "seed": order.seed,
        "model": spec.name,
        **sampling_facts(spec),
        "size": list(order.size or spec.size),
        "fps": spec.fps,
        "seconds": timeline.seconds,
        "version": __version__,
    }


def timeline_ordered(order: Order, spec: ModelSpec) -> Timeline:
    """The prompts of a video that is made as it was ordered."""
    first = Event(0.0, order.prompt, strength=None if order.source is None else order.strength)
    later = tuple(
        Event(moment.frame / spec.fps, moment.prompt, moment.transition, moment.over, moment.strength)
        for moment in order.moments
    )
    return Timeline((first, *later), order.seed, order.seconds, spec.name)
