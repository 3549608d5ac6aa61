"""Table 3: how long one waits for the first frames, and how many come in a second.

The arms take turns, so that whatever else the machine does meets all of them. What was timed is kept in
OUT/speed.json by the hash of the model and is not timed again.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from causvid.data.files import write_text
from causvid.evaluate.machines import machine_name
from causvid.evaluate.speed import PROMPT, timed
from causvid.evaluate.tables.makers import Maker
from causvid.generate.pipeline import Pipeline
from causvid.progress import Progress
from causvid.types import Frames

MANY_PASSES = 20
"""A model of more than so many passes at once is timed less often, and that is said."""


def measure_speed(
    makers: Sequence[Maker],
    hashes: Sequence[str],
    *,
    seconds: float | int,
    repeats: int,
    slow_repeats: int,
    out: Path,
) -> dict[str, list[dict[str, Any]]]:
    """One record for each timing of each arm: frames a second, seconds to the first and to the last frames.

    Args:
        makers: the arms, each by its first training seed.
        seconds: of the clip.
    """
    path = out / "speed.json"
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    asked = {
        maker.name: repeats if maker.passes <= MANY_PASSES else min(repeats, slow_repeats) for maker in makers
    }
    found = {
        maker.name: list(known.get(maker.name, {}).get(sha256, []))
        for maker, sha256 in zip(makers, hashes, strict=True)
    }
    for maker in makers:
        if len(found[maker.name]) < asked[maker.name]:
            next(_run(maker.pipeline, seconds))  # the first run of all also loads and compiles
    total = sum(max(0, asked[name] - len(records)) for name, records in found.items())
    with Progress(total, label="speed", unit="clip") as bar:
        for turn in range(repeats):
            for maker, sha256 in zip(makers, hashes, strict=True):
                records = found[maker.name]
                if not len(records) <= turn < asked[maker.name]:
                    continue
                one = timed(lambda maker=maker: _run(maker.pipeline, seconds))  # type: ignore[misc]
                records.append({"id": f"{turn:04d}", "prompt": turn, "sample": 0, **one})
                known.setdefault(maker.name, {})[sha256] = records
                write_text(path, json.dumps(known, indent=1))
                bar.update(1, note=maker.name)
    return {name: records[: asked[name]] for name, records in found.items()}


def _run(pipeline: Pipeline, seconds: float | int) -> Iterator[Frames]:
    if pipeline.spec.layout is None:
        return iter([pipeline.generate(PROMPT, seconds=seconds)])
    return pipeline.stream(PROMPT, seconds=seconds)


def conditions(pipeline: Pipeline) -> str:
    """What speed depends on besides the model."""
    device = pipeline.bundle.denoiser.transformer.out.weight.device if pipeline.bundle.denoiser else "cpu"
    height, width = pipeline.spec.size
    return (
        f"{machine_name(torch.device(device))}, {torch.get_num_threads()} torch threads on {os.cpu_count()} "
        f"cores, torch {torch.__version__}, {width}x{height}, batch 1; text, all passes with commits and "
        "decoding to uint8, not loading; the arms by turns after one warm-up each"
    )
