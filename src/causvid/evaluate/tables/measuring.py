"""Clips of all arms to records, at one length: two of each first, so that it is known how long all will take.

    OUT/<length>/scores/<arm>-<hash>.jsonl    one record per clip; a model that changed begins anew
    OUT/<length>/seconds.json                 what a clip of each arm took
    OUT/<length>/sheets/<arm>.png

Knows arms and judges, not what they will be compared for.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from causvid.data.files import write_text
from causvid.data.sheets import evenly_spaced
from causvid.evaluate.arms import Arm, asked_of, batches
from causvid.evaluate.folder import Lines
from causvid.evaluate.pictures import save_sheet
from causvid.evaluate.protocol import Item, Suite, items_of
from causvid.evaluate.scoring import Periods, score
from causvid.evaluate.tables.composite import consistency
from causvid.evaluate.verifiers import Judges
from causvid.progress import Progress

TIMED_CLIPS = 2
SHOWN_CLIPS = 6
SHOWN_FRAMES = 8


@dataclass(frozen=True)
class Contender:
    """An arm at one length, and the hash of what makes its clips."""

    arm: Arm
    periods: Periods
    sha256: str


@dataclass(frozen=True)
class Length:
    """All arms at one length of clips."""

    suite: Suite
    judges: Judges
    folder: Path
    contenders: tuple[Contender, ...]

    def lines(self, contender: Contender) -> Lines:
        name = f"{contender.arm.name}-{contender.sha256[:12]}.jsonl"
        return Lines(self.folder / "scores" / name)

    @property
    def clips(self) -> int:
        """Of every arm."""
        return self.suite.prompts * self.suite.samples

    def with_prompts(self, prompts: int) -> "Length":
        return replace(self, suite=replace(self.suite, prompts=prompts))


def time_some(length: Length, *, bar: Progress) -> dict[str, float]:
    """Seconds that a clip of each arm takes, made and scored; the clips timed are the first of all.

    What was timed before is not timed again.
    """
    path = length.folder / "seconds.json"
    known: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for contender in length.contenders:
        name = contender.arm.name
        if name in known and length.lines(contender).records:
            continue
        began, before = time.monotonic(), len(length.lines(contender).records)
        made = fill(length, contender, upto=min(TIMED_CLIPS, length.clips), bar=bar)
        if len(made) > before:
            known[name] = (time.monotonic() - began) / (len(made) - before)
            write_text(path, json.dumps(known, indent=1))
    return {contender.arm.name: known.get(contender.arm.name, 0.0) for contender in length.contenders}


def forecast(lengths: Sequence[Length], seconds: Sequence[Mapping[str, float]]) -> float:
    """Seconds that all clips of all arms take."""
    return sum(length.clips * sum(each.values()) for length, each in zip(lengths, seconds, strict=True))


def fit(
    lengths: Sequence[Length], seconds: Sequence[Mapping[str, float]], *, minutes: float | int | None
) -> list[Length]:
    """The lengths with prompts halved, for all arms alike, until the forecast fits; never below two prompts.

    Arms and passes are never dropped.
    """
    chosen = list(lengths)
    while minutes is not None and forecast(chosen, seconds) > 60 * minutes:
        halved = [length.with_prompts(max(2, length.suite.prompts // 2)) for length in chosen]
        if halved == chosen:
            break
        chosen = halved
    return chosen


def fill(length: Length, contender: Contender, *, upto: int, bar: Progress) -> list[dict[str, Any]]:
    """The records of an arm's first `upto` clips, in order; those in its file are kept."""
    items = items_of(length.suite)
    lines, asked = length.lines(contender), asked_of(contender.arm, items)
    length.folder.mkdir(parents=True, exist_ok=True)
    for batch in batches(upto, length.suite.batch):
        wanted = [i for i in batch if items[i].identity not in lines.done]
        if not wanted:
            continue
        clips = contender.arm.make([asked[i] for i in wanted])
        for i, clip in zip(wanted, clips, strict=True):
            lines.add(_record(length, contender, items[i], clip))
            if i < SHOWN_CLIPS:
                _keep_shown(length, contender.arm, i, clip)
            bar.update(1, note=contender.arm.name)
    order = {item.identity: place for place, item in enumerate(items)}
    kept = [record for record in lines.records if order.get(record["id"], upto) < upto]
    return sorted(kept, key=lambda record: order[record["id"]])


def _record(length: Length, contender: Contender, item: Item, clip: torch.Tensor) -> dict[str, Any]:
    reading = length.judges.read(clip)
    found = score(
        clip,
        item,
        judges=length.judges,
        suite=length.suite,
        periods=contender.periods,
        reading=reading,
    )
    return found | consistency(clip, reading, length.judges)


def _keep_shown(length: Length, arm: Arm, number: int, clip: torch.Tensor) -> None:
    path = length.folder / "sheets" / "frames" / f"{arm.name}-{number}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"frames": clip[evenly_spaced(len(clip), SHOWN_FRAMES)].contiguous()}, path)


def draw_sheet(length: Length, contender: Contender) -> Path | None:
    """The first clips of an arm, unpicked, each with its prompt; None where none was made."""
    items, name = items_of(length.suite)[:SHOWN_CLIPS], contender.arm.name
    paths = [length.folder / "sheets" / "frames" / f"{name}-{i}.safetensors" for i in range(len(items))]
    there = [(path, item.text) for path, item in zip(paths, items, strict=True) if path.exists()]
    if not there:
        return None
    target = length.folder / "sheets" / f"{name}.png"
    save_sheet([load_file(path)["frames"] for path, _ in there], [text for _, text in there], target)
    return target
