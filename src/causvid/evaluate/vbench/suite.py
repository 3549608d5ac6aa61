"""Which prompts are asked, for which dimensions, and how often.

Upstream's suite is a file of its own, VBench_full_info.json, which a user passes:

    [{"prompt_en": "...", "dimension": ["...", ...], "auxiliary_info": {...}}, ...]

A prompt it has twice is one prompt here, asked once. A text file with a prompt a line is a suite of one's
own. Without a file the embedded model's domain has a small suite in the same form. Two texts are kept of a
prompt: the original, which names the videos and is scored against, and the one a video is generated from.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from causvid.data import worlds
from causvid.data.files import reading
from causvid.errors import UserError
from causvid.evaluate.protocol import number_of
from causvid.evaluate.vbench.dimensions import DIMENSIONS, check_dimensions

SAMPLES = 5
FLICKER_SAMPLES = 25
"""Of prompts for temporal_flickering: upstream's static filter keeps the first five that do not move."""
_FLICKER = "temporal_flickering"

OWN_NAME = "tiny-worlds"
OWN_PROMPTS = 24
OWN_STILL_PROMPTS = 8


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A row of a suite."""

    original: str
    """Names the videos and is what they are scored against."""
    dimensions: tuple[str, ...]
    auxiliary: Mapping[str, Any] = field(default_factory=dict)
    """Labels some dimensions are scored with."""
    extended: str | None = None

    @property
    def text(self) -> str:
        """What its videos are generated from."""
        return self.extended or self.original

    def row(self) -> dict[str, Any]:
        """As upstream writes it."""
        labels = {"auxiliary_info": dict(self.auxiliary)} if self.auxiliary else {}
        return {"prompt_en": self.original, "dimension": list(self.dimensions), **labels}


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """A suite."""

    name: str
    """Part of every seed."""
    rows: tuple[Prompt, ...]

    @property
    def sha256(self) -> str:
        """Over all texts."""
        told = [[row.original, row.extended, row.dimensions, row.auxiliary] for row in self.rows]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def selected(self, names: Sequence[str]) -> "Prompts":
        """The prompts of these dimensions, and of each no other dimension; all if none is named.

        Raises:
            UserError: an unknown dimension, or one without a prompt.
        """
        if not names:
            return self
        wanted = check_dimensions(names)
        there = {name for row in self.rows for name in row.dimensions}
        if lacking := [name for name in wanted if name not in there]:
            raise UserError(f"the suite {self.name!r} has no prompt for {', '.join(lacking)}.")
        kept = [
            replace(row, dimensions=tuple(name for name in row.dimensions if name in wanted))
            for row in self.rows
            if set(row.dimensions) & set(wanted)
        ]
        return replace(self, rows=tuple(kept))

    def extended(self, path: Path) -> "Prompts":
        """With the texts that videos are generated from.

        Args:
            path: a line for every row of the suite in its order, or a JSON object {prompt: text}.

        Raises:
            UserError: a prompt has no text.
        """
        texts = _read_extended(path, [row.original for row in self.rows])
        if lacking := [row.original for row in self.rows if not texts.get(row.original)]:
            raise UserError(f"{path} has no text for {lacking[0]!r} and {len(lacking) - 1} other prompts.")
        return replace(self, rows=tuple(replace(row, extended=texts[row.original]) for row in self.rows))


def samples_of(prompt: Prompt, samples: int | None) -> int:
    """How many videos of a prompt are made."""
    if samples is not None:
        return samples
    return FLICKER_SAMPLES if _FLICKER in prompt.dimensions else SAMPLES


def read_suite(path: Path) -> Prompts:
    """Upstream's file, or a text file with a prompt a line, which are scored on what custom input allows.

    Raises:
        UserError: the file is missing, of another shape, or names unknown dimensions.
    """
    with reading(path, "VBench_full_info.json or a text file with a prompt a line"):
        text = path.read_text(encoding="utf-8-sig")
        rows = _rows(json.loads(text)) if path.suffix.lower() == ".json" else _lines(text)
    if not rows:
        raise UserError(f"{path} holds no prompt.")
    for row in rows:
        check_dimensions(row.dimensions)
    return Prompts(name=path.stem, rows=tuple(rows))


def _rows(table: Any) -> list[Prompt]:
    merged: dict[str, Prompt] = {}
    for row in table:
        prompt = row["prompt_en"]
        before = merged.get(prompt, Prompt(original=prompt, dimensions=()))
        merged[prompt] = replace(
            before,
            dimensions=tuple(dict.fromkeys((*before.dimensions, *map(str, row["dimension"])))),
            auxiliary={**before.auxiliary, **row.get("auxiliary_info", {})},
        )
    return list(merged.values())


def _lines(text: str) -> list[Prompt]:
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    free = tuple(name for name, row in DIMENSIONS.items() if row.custom)
    return [Prompt(original=prompt, dimensions=free) for prompt in prompts]


def _read_extended(path: Path, originals: Sequence[str]) -> dict[str, str]:
    with reading(path, "a text file with a line for every prompt, or a JSON object {prompt: text}"):
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return {str(prompt): str(one) for prompt, one in json.loads(text).items()}
    lines = text.splitlines()
    if len(lines) != len(originals):
        raise UserError(
            f"{path} has {len(lines)} lines and the suite {len(originals)} prompts; where the suite has a "
            "prompt twice, give a JSON object {prompt: text}."
        )
    return dict(zip(originals, map(str.strip, lines), strict=True))


def own_suite() -> Prompts:
    """The embedded model's: held-out combinations, described in full; still and dry ones for flicker."""
    moving = ("subject_consistency", "background_consistency", "motion_smoothness", "dynamic_degree")
    looks = ("aesthetic_quality", "imaging_quality", "overall_consistency", "object_class", "color")
    rows = [_own_prompt(number, (*moving, *looks), still=False) for number in range(OWN_PROMPTS)]
    rows += [_own_prompt(OWN_PROMPTS + n, (_FLICKER,), still=True) for n in range(OWN_STILL_PROMPTS)]
    return Prompts(name=OWN_NAME, rows=tuple(rows))


def _own_prompt(number: int, dimensions: tuple[str, ...], *, still: bool) -> Prompt:
    scene = worlds.scene(number_of(OWN_NAME, number), split="heldout")
    if still:
        scene = replace(scene, motion="still", weather="clear")
    wording = random.Random(number_of(OWN_NAME, number, "wording"))
    told = worlds.caption(scene, wording, mention=worlds.FACTORS)
    labels = {"object_class": {"object": scene.kind}, "color": {"color": scene.colour}}
    return Prompt(
        original=told.text,
        dimensions=dimensions,
        auxiliary={name: label for name, label in labels.items() if name in dimensions},
    )
