"""The judge of words, judged: what it reads of the truth through the autoencoder.

Clips are short, of held-out combinations, and none of those that models are asked for. Knows no model
but its autoencoder.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from causvid.data import worlds
from causvid.evaluate.arms import decoded
from causvid.evaluate.attributes import frames_of_kind, words_read
from causvid.evaluate.folder import Lines
from causvid.evaluate.protocol import Suite, frames_of, number_of
from causvid.evaluate.verifiers import Judges, Reading
from causvid.models.vae import VideoVAE
from causvid.pixels import to_uint8

CHECKED_SECONDS = 5
AT_ONCE = 8


def check_record(reading: Reading, labels: dict[str, str]) -> dict[str, Any]:
    """What was read, and what there was."""
    return {
        "read": words_read(reading),
        "labels": labels,
        "kind_by_frame": frames_of_kind(reading, labels["kind"]),
    }


@torch.no_grad()
def check(
    judges: Judges, vae: VideoVAE, suite: Suite, *, size: tuple[int, int], path: Path
) -> Iterator[list[dict[str, Any]]]:
    """Records of all clips so far, after every few; those in the file are not made again."""
    lines = Lines(path)
    frames = min(frames_of(suite), CHECKED_SECONDS * worlds.FPS)
    for first in range(len(lines.records), suite.judge_clips, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, suite.judge_clips))
        scenes = [worlds.scene(number_of("judge", suite.name, k), split="heldout") for k in numbers]
        video, _ = worlds.render(scenes, frames, size=size)
        for number, scene, clip in zip(numbers, scenes, to_uint8(video), strict=True):
            reading = judges.read(decoded(vae, clip))
            lines.add({"id": f"{number:04d}", **check_record(reading, scene.at(0))})
        yield lines.records
    yield lines.records
