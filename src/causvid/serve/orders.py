"""From what a client wrote to what a video is to be: uploads decoded, timelines read, all checked."""

import asyncio
import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from causvid.errors import UserError
from causvid.models.text import check_prompt
from causvid.serve.branches import Moment
from causvid.serve.camera import Camera
from causvid.serve.limits import Limits
from causvid.serve.order import DEFAULT_STRENGTH, Order
from causvid.serve.protocol import Mode
from causvid.serve.uploads import Uploads
from causvid.types import Frames

_SEEDS = 2**32
_LONGEST_TIMELINE = 1000
_NEEDS: Mapping[Mode, Literal["image", "video"] | None] = {
    "text": None, "image": "image", "extend": "video", "edit": "video", "camera": None,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a start message and a job have in common."""

    mode: Mode
    prompt: str = ""
    seed: int | None = None
    image: str | None = None
    video: str | None = None
    strength: float | None = None
    timeline: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Story:
    """A timeline as the frames of a model see it."""

    prompt: str
    seed: int | None
    moments: tuple[Moment, ...]
    seconds: float | None
    strength: float | None


async def read_wish(
    wish: Wish, uploads: Uploads, *, limits: Limits, size: tuple[int, int], fps: float | int
) -> Order:
    """The order, complete but for how and how long it is made.

    Raises:
        UserError: something is missing, too much, too long or not understood.
    """
    try:
        story = await asyncio.to_thread(_story, wish, limits, fps)
    except OverflowError:
        raise UserError("the timeline holds a number that is too large; times are seconds.") from None
    pixels = await _pixels(wish, uploads)
    if wish.strength is not None and wish.mode not in ("edit", "camera"):
        raise UserError('strength is for the modes "edit" and "camera" only.')
    first = DEFAULT_STRENGTH if story.strength is None else story.strength
    source = Camera(size, pixels=limits.picture_pixels) if wish.mode == "camera" else None
    return Order(
        prompt=story.prompt,
        seed=_seed(wish.seed, story.seed),
        moments=story.moments,
        seconds=story.seconds,
        image=None if wish.mode != "image" or pixels is None else pixels[0],
        clip=pixels if wish.mode == "extend" else None,
        source=source or (pixels if wish.mode == "edit" else None),
        strength=first if wish.strength is None else wish.strength,
    )


def _seed(*wanted: int | None) -> int:
    return next((seed for seed in wanted if seed is not None), secrets.randbelow(_SEEDS))


def _story(wish: Wish, limits: Limits, fps: float | int) -> Story:
    if wish.timeline is None:
        prompt = check_prompt(limits.check_prompt(wish.prompt))
        return Story(prompt=prompt, seed=None, moments=(), seconds=None, strength=None)
    from causvid.generate.timeline import Timeline

    events = wish.timeline.get("events")
    if isinstance(events, list) and len(events) > _LONGEST_TIMELINE:  # before reading them takes long
        raise UserError(f"the timeline has {len(events)} events; at most {_LONGEST_TIMELINE} are accepted.")
    timeline = Timeline.from_json(json.dumps(wish.timeline))
    for event in timeline.events:
        check_prompt(limits.check_prompt(event.prompt))
    first, *later = timeline.events
    moments = tuple(
        Moment(
            frame=math.floor(event.time * fps + 1e-6), prompt=event.prompt, transition=event.transition,
            over=event.over, strength=event.strength,
        )
        for event in later
    )  # fmt: skip
    return Story(
        prompt=first.prompt,
        seed=timeline.seed,
        moments=moments,
        seconds=timeline.seconds,
        strength=first.strength,
    )


async def _pixels(wish: Wish, uploads: Uploads) -> Frames | None:
    kind = _NEEDS[wish.mode]
    for name, given in (("image", wish.image), ("video", wish.video)):
        if (given is not None) != (name == kind):
            what = f"needs the id of an upload as {name!r}" if name == kind else f"takes no {name}"
            raise UserError(f"the mode {wish.mode!r} {what}.")
    given = wish.image if kind == "image" else wish.video
    if kind is None or given is None:
        return None
    return await asyncio.to_thread(uploads.get(given, kind).read)
