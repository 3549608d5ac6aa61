"""Which clips are taken, in which order: the survey's clips without those seen before.

    clips.jsonl          one line per clip that is taken: video, first frame, caption
    quarantine.jsonl     one line per video that is not used, with the reason
    duplicates.jsonl     one line per clip that looks like an earlier one

Once written it stays, so that shards which are made later fit those made before.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causvid.data.collection.items import Item
from causvid.data.collection.looks import Seen
from causvid.data.files import write_text
from causvid.errors import UserError

CLIPS, QUARANTINE, DUPLICATES = "clips.jsonl", "quarantine.jsonl", "duplicates.jsonl"


@dataclass(frozen=True)
class Clip:
    """One clip that is taken."""

    item: int
    """Number of its video."""
    start: int
    """Its first frame, at the rate of clips."""


def make_plan(
    items: Sequence[Item], survey: Sequence[Mapping[str, Any]], folder: Path, *, twin_bits: int
) -> None:
    """Decide, and write it down; the list of clips last, for it says that the others are whole.

    Raises:
        UserError: nothing is left, or the folder cannot be written.
    """
    seen, taken, twins, bad = Seen(twin_bits), [], [], []
    for number, (item, line) in enumerate(zip(items, survey, strict=True)):
        if "reason" in line:
            bad.append({"video": line["video"], "reason": line["reason"]})
        for start, print_ in line.get("clips", ()):
            twin = seen.twin(print_) if twin_bits >= 0 else None
            if twin is None:
                taken.append({"item": number, "video": item.key, "start": start, "caption": item.caption})
            else:
                first = {"of": taken[twin]["video"], "of_start": taken[twin]["start"]}
                twins.append({"video": item.key, "start": start, **first})
    _write(folder / QUARANTINE, bad)
    _write(folder / DUPLICATES, twins)
    if not taken:
        raise UserError(
            f"none of {len(items)} videos gives a clip; the reasons are in {folder / QUARANTINE}, "
            f"the first: {bad[0]['reason']}"
        )
    _write(folder / CLIPS, taken)


def read_plan(folder: Path) -> list[Clip]:
    """The clips that are taken, in order."""
    return [Clip(line["item"], line["start"]) for line in read_lines(folder / CLIPS)]


def summary(folder: Path) -> dict[str, int]:
    """Clips taken, duplicates, and videos not used."""
    return {name: len(read_lines(folder / f"{name}.jsonl")) for name in ("clips", "duplicates", "quarantine")}


def reasons(folder: Path) -> Counter[str]:
    """How often a video was not used for which kind of reason."""
    return Counter(kind_of(line["reason"]) for line in read_lines(folder / QUARANTINE))


def kind_of(reason: str) -> str:
    """A reason in two words, for counting."""
    kinds = {
        "no caption": "no caption",
        "too short": "too short",
        "cut short": "truncated",
        "longer than": "too long",
        "frames of": "too large",
        "holds no video": "no video",
        "coding": "unknown coding",
    }
    return next((kind for words, kind in kinds.items() if words in reason), "damaged")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of one of these files.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged; encode into another folder.") from error


def _write(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
