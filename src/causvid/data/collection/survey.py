"""The first pass over a collection: every video decoded once, small.

    survey-00000.jsonl     one line per video: facts and clips, or the reason why it is not used

Groups of videos are surveyed independently; a group's file appears whole, so a survey that
was interrupted goes on with the groups that are missing. Knows no models.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causvid.data.collection.decoder import Patience, Where, frames_of
from causvid.data.collection.items import Item
from causvid.data.collection.looks import CutConfig, Glance, cuts, windows
from causvid.data.collection.pictures import Errand
from causvid.data.decoding import Fit
from causvid.data.files import finish_part, open_part, writing
from causvid.errors import UserError

GROUP = 16
"""Videos per file of the survey."""
SMALL_SIDE = 48
"""Of the pictures that are looked at."""


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """What a clip is, and which videos it may come from."""

    frames: int
    """Pixel frames of a clip."""
    size: tuple[int, int]
    """Height and width."""
    fps: int
    """At each of its moments the frame then on show is taken, whatever rate the video has."""
    fit: Fit = "cover"
    """How frames get that size: "cover" cuts to the centre, "contain" adds black bars."""
    cut: CutConfig = field(default_factory=CutConfig)
    clips_per_video: int | None = None
    """At most; evenly chosen. None for all."""
    twin_bits: int = 24
    """Clips whose prints differ in no more of 256 bits are the same; -1 keeps duplicates."""
    most_pixels: int = 4096 * 2304
    """In one frame of a video."""
    most_seconds: float = 3600.0
    decode: Where = "apart"
    """Each file in a process of its own, or "here" for files one made oneself."""
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        if self.frames < 1 or min(self.size) < 1 or not 0 < self.fps <= 240:
            raise UserError(
                f"clips of {self.frames} frames of {self.size[0]}x{self.size[1]} at {self.fps:g} a second "
                "cannot be cut; give at least one frame, one pixel and a rate up to 240."
            )
        if not -1 <= self.twin_bits <= 64:
            raise UserError(
                f"twin_bits is {self.twin_bits}; it must be from 0 to 15, or -1 to keep duplicates."
            )

    def errand(self, name: str, *, size: tuple[int, int], spans: Sequence[int] | None = None) -> Errand:
        """To read a video, or the clips of it that begin at these frames."""
        return Errand(
            name=name,
            size=size,
            fit=self.fit,
            fps=self.fps,
            spans=None if spans is None else tuple((s, s + self.frames) for s in spans),
            most_pixels=self.most_pixels,
            most_seconds=self.most_seconds,
        )

    @property
    def small(self) -> tuple[int, int]:
        """The size that the survey looks at, of about the same shape."""
        height, width = self.size
        scale = SMALL_SIDE / min(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))


def survey_path(folder: Path, group: int) -> Path:
    return folder / f"survey-{group:05d}.jsonl"


def survey(items: Sequence[Item], folder: Path, group: int, *, config: ClipConfig) -> None:
    """Look at the videos of one group and write down what was seen.

    Raises:
        UserError: the folder cannot be written; what is wrong with a video is written down instead.
    """
    chosen = items[group * GROUP : (group + 1) * GROUP]
    lines = [json.dumps(look_at(item, config), ensure_ascii=False) for item in chosen]
    target = survey_path(folder, group)
    part = open_part(target)
    with writing(target):
        part.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    finish_part(part, target)


def look_at(item: Item, config: ClipConfig) -> dict[str, Any]:
    """The line about one video."""
    about: dict[str, Any] = {"video": item.key}
    if item.caption is None:
        return {**about, "reason": f"{item.key} has no caption."}
    glance = Glance()
    pictures = frames_of(
        item, config.errand(item.key, size=config.small), where=config.decode, patience=config.patience
    )
    try:
        while True:
            glance.add(next(pictures))
    except StopIteration as end:
        facts = end.value
    except UserError as error:
        return {**about, "reason": str(error)}
    found = cuts(glance, config.cut)
    starts = windows(glance.frames, found, config.frames, most=config.clips_per_video)
    if not starts:
        return {**about, "facts": facts, "cuts": found, "reason": _too_short(item, glance, found, config)}
    clips = [[start, glance.print_of(start, config.frames)] for start in starts]
    return {**about, "facts": facts, "cuts": found, "clips": clips}


def _too_short(item: Item, glance: Glance, found: list[int], config: ClipConfig) -> str:
    has = f"{glance.frames} frames at {config.fps:g} a second"
    scenes = f" in {len(found) + 1} scenes" if found else ""
    return f"{item.key} is too short: it has {has}{scenes}, none of {config.frames}."


def read_survey(folder: Path, groups: int) -> list[dict[str, Any]]:
    """All lines, in the order of the videos.

    Raises:
        UserError: a group is missing or damaged.
    """
    lines: list[dict[str, Any]] = []
    for group in range(groups):
        path = survey_path(folder, group)
        try:
            lines += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is missing or damaged; remove it and run the recipe again.") from error
    return lines
