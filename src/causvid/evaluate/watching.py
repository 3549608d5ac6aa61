"""Ten minutes of a stream, watched without ever being held: one row of numbers a chunk.

Latents and pictures are measured as they pass; what judges read is read of short windows, far apart. Knows
one stream; what several say together is in `endless`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from causvid.data import worlds
from causvid.evaluate.attributes import verified
from causvid.evaluate.clips import as_clip
from causvid.evaluate.looks import LOOKS
from causvid.evaluate.machines import held_bytes
from causvid.evaluate.protocol import Item
from causvid.evaluate.verifiers import Judges
from causvid.generate.pipeline import Pipeline
from causvid.types import Frames

READ_EVERY_SECONDS = 10
"""From one window that judges read to the next."""
KEPT_EVERY_SECONDS = 60
"""From one frame of the contact sheet to the next."""


@dataclass
class Watched:
    """What passed, with the seconds of video at which it did."""

    time: list[float] = field(default_factory=list)
    """At the end of every chunk."""
    spread: list[float] = field(default_factory=list)
    """Standard deviation of the chunk's latents."""
    memory: list[int] = field(default_factory=list)
    """Bytes held after the chunk, by the process, or on a GPU by torch; 0 where nobody knows."""
    looks: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in LOOKS})
    """Sharpness, saturation and contrast of the chunk."""
    read_time: list[float] = field(default_factory=list)
    """At the end of every window that was read."""
    quality: list[float] = field(default_factory=list)
    text: list[float | None] = field(default_factory=list)
    """The share of the prompt that a window shows."""
    frames: list[Frames] = field(default_factory=list)
    """One picture a minute."""


def watch(
    pipeline: Pipeline,
    item: Item,
    judges: Judges,
    *,
    seconds: float | int,
    without: list[str],
    told: Callable[[float], None],
) -> Watched:
    """A stream of one prompt, from its first chunk on.

    Args:
        item: its text and noise.
        seconds: how long.
        without: factors the judge cannot read.
        told: of the seconds of video made by every chunk.

    Raises:
        UserError: the model cannot stream.
    """
    session = pipeline.session(item.text, seed=item.seed)
    seen, recent = Watched(), torch.zeros(0, *session.size, 3, dtype=torch.uint8)
    window = max(judge.spec.judge.window for judge in (judges.verifier, judges.quality, judges.feature))
    while session.frames < seconds * worlds.FPS:
        frames = session.next_chunk()
        recent = torch.cat([recent, frames])[-window:]
        now = session.frames / worlds.FPS
        _measure(seen, frames, now)
        waiting = session.snapshot().waiting
        seen.spread.append(math.nan if waiting is None else float(waiting.latents.std()))
        seen.memory.append(held_bytes(session.setting.device))
        if len(recent) == window and now >= len(seen.read_time) * READ_EVERY_SECONDS + READ_EVERY_SECONDS:
            _read(seen, recent, item, judges, without=without, now=now)
        if now >= len(seen.frames) * KEPT_EVERY_SECONDS:
            seen.frames.append(frames[-1:].clone())
        told(len(frames) / worlds.FPS)
    return seen


def _measure(seen: Watched, frames: Frames, now: float | int) -> None:
    clip = as_clip(frames)
    seen.time.append(now)
    for name, look in LOOKS.items():
        seen.looks[name].append(float(look(clip).mean()))


def _read(
    seen: Watched, frames: Frames, item: Item, judges: Judges, *, without: list[str], now: float | int
) -> None:
    reading = judges.read(frames)
    right = [shown for name, shown in verified(reading, item).items() if name not in without]
    seen.read_time.append(now)
    seen.quality.append(float(reading.quality.mean()))
    seen.text.append(sum(right) / len(right) if right else None)
