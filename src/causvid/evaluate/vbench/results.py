"""What upstream wrote: read, checked, and put into a table.

    {dimension: [score, [{"video_path": ..., "video_results": ...}, ...]]}

One file may hold one dimension or all; the competition's nest theirs under its three aspects. Upstream's own
scores are what is shown; where the mean of its videos is another, that is said, since with several GPUs it
averages otherwise. Knows no video.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causvid.data.files import reading
from causvid.errors import UserError
from causvid.evaluate.vbench.dimensions import DIMENSIONS
from causvid.evaluate.vbench.scores import ASPECTS, Scores, aspect, check_score, normalised, scores_of

NAMES = "*_eval_results.json"
"""How upstream calls its files."""
_PER_HUNDRED = "imaging_quality"
"""The one dimension whose videos are scored from 0 to 100."""
_NOTICEABLE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Found:
    """A dimension's score and those of its videos."""

    score: float
    videos: Mapping[str, float]

    @property
    def mean(self) -> float | None:
        """Of the videos."""
        return statistics.fmean(self.videos.values()) if self.videos else None


def read_results(paths: Sequence[Path]) -> dict[str, Found]:
    """The scores in these files; of a folder, those of every results file below it.

    Raises:
        UserError: no file, a damaged one, or two that disagree.
    """
    files = [file for path in paths for file in (sorted(path.rglob(NAMES)) if path.is_dir() else [path])]
    if not files:
        raise UserError(f"there is no {NAMES} in {', '.join(map(str, paths))}; name upstream's results.")
    found: dict[str, Found] = {}
    for file in files:
        for name, one in _read(file).items():
            if name in found and found[name] != one:
                raise UserError(f"{name} is in two files with different results, lastly {file}; name one.")
            found[name] = one
    return found


def _read(path: Path) -> dict[str, Found]:
    with reading(path, "a results file of VBench"):
        table = json.loads(path.read_text(encoding="utf-8"))
        if table.keys() & ASPECTS.keys():
            table = {name: value for nested in table.values() for name, value in nested[1].items()}
        found = {name: _found(name, value) for name, value in table.items()}
    for name, one in found.items():
        if name != "clip_score":
            check_score(name, one.score)
    return found


def _found(name: str, value: Any) -> Found:
    scale = 100.0 if name == _PER_HUNDRED else 1.0
    videos = {str(one["video_path"]): float(one["video_results"]) / scale for one in value[1]}
    return Found(score=float(value[0]), videos=videos)


def as_text(found: Mapping[str, Found], *, expected: Mapping[str, int] | None = None) -> str:
    """A table in Markdown, in percent.

    Args:
        found: from `read_results`.
        expected: how many videos each dimension should have been scored on, where that is known; a total
            is shown only if all were.
    """
    raw = {name: found[name].score for name in DIMENSIONS if name in found}
    short = _short(found, expected or {})
    lines = ["| dimension | raw % | scaled % | videos | |", "| --- | --- | --- | --- | --- |"]
    for name in DIMENSIONS:
        lines.append(_row(name, found.get(name), (expected or {}).get(name)))
    lines += ["", *_sums(scores_of(raw), short)]
    everything = {name: one.score for name, one in found.items()}
    for name, parts in ASPECTS.items():
        if all(part in everything for part in parts):
            lines.append(f"{name} (competition) {100 * aspect(name, everything):.2f}")
    return "\n".join(lines)


def _row(name: str, one: Found | None, expected: int | None) -> str:
    if one is None:
        return f"| {name} | – | – | – | missing |"
    of = "" if expected is None else f" of {expected}"
    mean = one.mean
    differs = mean is not None and abs(mean - one.score) > _NOTICEABLE
    note = f"the mean of its videos is {100 * mean:.2f}" if differs and mean is not None else ""
    scaled = 100 * normalised(name, one.score)
    return f"| {name} | {100 * one.score:.2f} | {scaled:.2f} | {len(one.videos)}{of} | {note} |"


def _sums(scores: Scores, short: Sequence[str]) -> list[str]:
    there = len(DIMENSIONS) - len(scores.missing)
    if scores.missing:
        lines = [f"{there} of {len(DIMENSIONS)} dimensions: no total. Missing: {', '.join(scores.missing)}."]
    elif short:
        lines = [f"videos are missing, so there is no total: {', '.join(short)}."]
    else:
        lines = []
    shown = {"quality": scores.quality, "semantic": scores.semantic, "total": scores.total}
    return [*lines, *(f"{name} {100 * x:.2f}" for name, x in shown.items() if x is not None and not short)]


def _short(found: Mapping[str, Found], expected: Mapping[str, int]) -> list[str]:
    """Dimensions scored on fewer videos than there should be; color drops those it sees no object in."""
    return [
        f"{name} has {len(found[name].videos)} of {count}"
        for name, count in expected.items()
        if name in found and name != "color" and len(found[name].videos) < count
    ]
