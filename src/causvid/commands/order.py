"""What is to be generated: as it was typed, or as it is stored in an earlier clip.

Knows flags and what a clip remembers, nothing of how video is made.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causvid.errors import UserError

if TYPE_CHECKING:
    from causvid.generate.timeline import Timeline

REPEATABLE = ("prompt", "seed", "model", "seconds")
"""What a clip must say about itself to be made again."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """One clip to make. None is what the model does by itself."""

    model: str
    prompt: str
    seconds: float | None = None
    seed: int = 0
    prompts_at: dict[float, str] = field(default_factory=dict)
    transition: str = "soft"
    over: int = 4
    timeline: "Timeline | None" = None
    """In place of prompt, prompts_at and transition."""
    size: tuple[int, int] | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    image: Path | None = None
    scale: int | None = None
    dtype: str | None = None

    @property
    def prompts(self) -> list[str]:
        """All that will be shown."""
        if self.timeline is not None:
            return [event.prompt for event in self.timeline.events]
        return [self.prompt, *self.prompts_at.values()]


def repeated(path: Path) -> Order:
    """The order an earlier clip was made by, from what is stored in it.

    Raises:
        UserError: the clip was not made by `causvid generate`, or is damaged.
    """
    from causvid.data.metadata import read_metadata
    from causvid.generate.sampling import sampling_of

    stored = read_metadata(path)
    missing = [name for name in REPEATABLE if name not in stored]
    if missing or stored.get("verb", "generate") not in ("generate", "stream"):
        verb = stored.get("verb")
        made = f"was made by `causvid {verb}` from another video"
        raise UserError(
            f"{path} {made if verb else f'does not say its {missing[0]}'}; "
            "only a clip of `causvid generate` or `stream` can be made again from itself."
        )
    try:
        return Order(
            model=str(stored["model"]),
            prompt=str(stored["prompt"]),
            seconds=None if stored["seconds"] is None else float(stored["seconds"]),
            seed=int(stored["seed"]),
            prompts_at={float(moment): str(text) for moment, text in stored.get("prompts_at", {}).items()},
            transition=str(stored.get("transition", "soft")),
            over=int(stored.get("over", 4)),
            timeline=_timeline(stored.get("timeline"), path),
            size=tuple(stored["size"]) if "size" in stored else None,
            sampling=sampling_of(stored).changes,
            image=Path(stored["image"]) if "image" in stored else None,
            scale=None if stored.get("scale") is None else int(stored["scale"]),
            dtype=stored.get("dtype"),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} describes itself in a way that is not understood ({type(error).__name__})."
        ) from error


def _timeline(table: Any, path: Path) -> "Timeline | None":
    if table is None:
        return None
    from causvid.generate.timeline import timeline_of

    return timeline_of(table, where=f"the timeline in {path}")


def told(path: Path) -> Order:
    """The order of a timeline file.

    Raises:
        UserError: the file is missing or no timeline.
    """
    from causvid.generate.timeline import read_timeline

    timeline = read_timeline(path)
    return Order(
        model=timeline.model or "",
        prompt=timeline.prompt,
        seconds=timeline.seconds,
        seed=timeline.seed or 0,
        timeline=timeline,
    )


def with_typed(order: Order, **typed: Any) -> Order:
    """The same, but for what was typed: None stands for nothing.

    Raises:
        UserError: something was typed that the order would not heed.
    """
    given = {name: value for name, value in typed.items() if value is not None}
    if order.timeline is not None and given.keys() & {"prompts_at", "transition", "over"}:
        raise UserError("prompts and how they come in are in the timeline; change them there.")
    sampling, kept = given.pop("sampling", {}), order.sampling
    if "sigmas" in sampling or "steps" in sampling:
        kept = {k: v for k, v in order.sampling.items() if k not in ("sigmas", "steps", "shift")}
    made = replace(order, sampling={**kept, **sampling}, **given)
    if given.keys() & {"transition", "over"} and not made.prompts_at:
        raise UserError("transition and over say how another prompt comes in; give --prompt-at with them.")
    if "over" in given and made.transition != "blend":
        raise UserError(f"over is of a blend; the transition is {made.transition}. Give --transition blend.")
    return made
