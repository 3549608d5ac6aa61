"""What a video shows and when, as a file that people write and programs keep.

    {"causvid_timeline": 1, "seed": 7, "seconds": 20, "model": "tiny",
     "events": [{"time": 0, "prompt": "a red ball on the grass"},
                {"time": 8, "prompt": "it snows", "transition": "blend", "over": 4}]}

`seed`, `seconds` and `model` may be left out; of an event, all but time and prompt. A
prompt begins with the chunk that shows its moment. The file is read strictly: a key
nobody knows or a value of another type is an error that says where it is.

Knows nothing of models or of how a video is made.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from causvid.config import build, plain
from causvid.errors import UserError
from causvid.generate.edit import check_strength
from causvid.generate.inputs import check_count, check_seed, check_transition
from causvid.generate.prompts import MOST_OVER
from causvid.models.text import check_prompt

VERSION_KEY, VERSION = "causvid_timeline", 1
MOST_BYTES = 4_000_000
MOST_EVENTS = 10_000


@dataclass(frozen=True)
class Event:
    """A prompt, and when and how it begins.

    Raises:
        UserError: a value that is not accepted.
    """

    time: float
    """In seconds from the start of the video."""
    prompt: str
    transition: str = "soft"
    over: int = 4
    """Chunks of a blend."""
    strength: float | None = None
    """From here on, of a video that is edited; None leaves it as it was."""

    def __post_init__(self) -> None:
        if not 0 <= self.time < math.inf:
            raise UserError(f"an event's time is {self.time:g}; it must be 0 or more seconds.")
        check_prompt(self.prompt)
        check_transition(self.transition)
        check_count(self.over, "over", least=1, most=MOST_OVER)
        if self.strength is not None:
            check_strength(self.strength)


@dataclass(frozen=True)
class Timeline:
    """Prompts in the order in which they begin, and what else is needed to make the same video again.

    Raises:
        UserError: no event, one at the start missing, events out of order, or a value not accepted.
    """

    events: tuple[Event, ...]
    seed: int | None = None
    seconds: float | None = None
    """How long; None is for whoever plays it to say."""
    model: str | None = None
    """The name of the model it was made with or for."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.events) <= MOST_EVENTS:
            raise UserError(
                f"a timeline has 1 to {MOST_EVENTS} events, not {len(self.events)}; the first is at time 0."
            )
        if self.events[0].time != 0:
            raise UserError(f"the first event is at {self.events[0].time:g} seconds; it must be at 0.")
        for before, after in pairwise(self.events):
            if after.time <= before.time:
                raise UserError(
                    f"the event at {after.time:g} seconds comes after the one at {before.time:g}; "
                    "times must rise from event to event."
                )
        if self.seed is not None:
            check_seed(self.seed)
        if self.seconds is not None and not self.events[-1].time < self.seconds < math.inf:
            raise UserError(
                f"the timeline lasts {self.seconds:g} seconds and its last event is at "
                f"{self.events[-1].time:g}; it must last longer than that."
            )

    @property
    def prompt(self) -> str:
        """What the video shows at first."""
        return self.events[0].prompt

    @property
    def edits(self) -> bool:
        """Whether it says strengths, which need a video to edit."""
        return any(event.strength is not None for event in self.events)

    @classmethod
    def from_json(cls, text: str, *, where: str = "the timeline") -> "Timeline":
        """The timeline that this text holds.

        Args:
            where: how to call it in an error.

        Raises:
            UserError: it is no timeline, or not all of it is understood.
        """
        if len(text) > MOST_BYTES:
            raise UserError(f"{where} has {len(text)} characters; at most {MOST_BYTES} are read.")
        try:
            table = json.loads(text, object_pairs_hook=_unique, parse_constant=_refused)
        except RecursionError as error:
            raise UserError(f"{where} is nested too deeply for a timeline.") from error
        except ValueError as error:
            raise UserError(f"{where} is not valid JSON: {error}.") from error
        return timeline_of(table, where=where)

    def to_table(self) -> dict[str, Any]:
        """What the file holds, as plain values."""
        return {VERSION_KEY: VERSION, **plain(self)}

    def to_json(self) -> str:
        """The text of the file; `from_json` of it is an equal timeline."""
        return json.dumps(self.to_table(), indent=1, ensure_ascii=False) + "\n"

    def write(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            UserError: it cannot be written.
        """
        try:
            Path(path).write_text(self.to_json(), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}.") from error


def timeline_of(table: Any, *, where: str) -> Timeline:
    """The timeline that plain values say, as a JSON reader gives them.

    Raises:
        UserError: it is no timeline, or not all of it is understood.
    """
    if not isinstance(table, Mapping) or VERSION_KEY not in table:
        raise UserError(f'{where} is no timeline: an object with "{VERSION_KEY}": {VERSION} is expected.')
    version = table[VERSION_KEY]
    if type(version) is not int or version != VERSION:
        raise UserError(f"{where} is of version {version!r}; this program reads version {VERSION}.")
    try:
        return build(Timeline, {key: table[key] for key in table if key != VERSION_KEY}, where)
    except UserError as error:
        message = str(error)
        raise error if message.startswith(where) else UserError(f"{where}: {message}") from error


def check_changes(
    prompts_at: Mapping[float | int, str], seconds: float | int | None, *, transition: str, over: int
) -> tuple[Event, ...]:
    """Prompts to come with their moments, in order, as events.

    Raises:
        UserError: one is empty, before the start or after the end; or what all of them do is not accepted.
    """
    check_transition(transition)
    check_count(over, "over", least=1, most=MOST_OVER)
    for moment, prompt in prompts_at.items():
        check_prompt(prompt)
        if not 0 <= moment < (math.inf if seconds is None else seconds):
            end = "" if seconds is None else f" and before the end, {seconds:g}"
            raise UserError(
                f"the prompt {prompt!r} is to begin at {moment:g} seconds; that must be 0 or more{end}."
            )
    return tuple(
        Event(float(moment), prompt, transition, over) for moment, prompt in sorted(prompts_at.items())
    )


def read_timeline(path: str | Path) -> Timeline:
    """The timeline in a file.

    Raises:
        UserError: it cannot be read, or is no timeline.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} has {path.stat().st_size} bytes; a timeline has at most {MOST_BYTES}.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8.") from error
    return Timeline.from_json(text, where=str(path))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if any(key == other for other, _ in pairs[:i]))
        raise ValueError(f"the key {twice!r} stands twice in an object")
    return table


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
