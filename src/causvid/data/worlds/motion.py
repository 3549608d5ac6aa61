"""Where the object is at every frame.

Positions are in heights of the picture, so that the same scene fits any size:
across 0 to width / height, down 0 to 1. Every motion is periodic and defined for
every frame, and keeps the whole object in view; nothing moves faster than
`TOP_SPEED`, which the video VAE can follow.

This module knows no pixels and no colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from causvid.data.worlds.scene import Scene

REACH = 1.12
"""No kind reaches further from its centre than this many radii."""
MARGIN = 0.01
TOP_SPEED = 3 / 64
"""Heights a frame, along each axis."""
DROP = 0.36
"""Height of a bounce, if there is room."""


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """The exact path of the object of each scene."""

    x: Float[ndarray, "b t"]
    y: Float[ndarray, "b t"]
    """Down from the top."""
    radius: Float[ndarray, "b t"]


def times(scenes: Sequence[Scene], frames: int, start: int | Sequence[int]) -> Float[ndarray, "b t"]:
    """Frame numbers of each scene's clip."""
    first = np.broadcast_to(np.asarray(start, dtype=np.float64), (len(scenes),))
    return first[:, None] + np.arange(frames)


def trajectories(
    scenes: Sequence[Scene], frames: int, *, start: int | Sequence[int] = 0, aspect: float = 1.0
) -> Trajectory:
    """The paths of several scenes; `aspect` is width over height, at least 1."""
    return paths(scenes, times(scenes, frames, start), aspect=aspect)


def trajectory(scene: Scene, frames: int, *, start: int = 0, aspect: float = 1.0) -> Trajectory:
    """The path of one scene: a batch of one."""
    return trajectories([scene], frames, start=start, aspect=aspect)


def paths(scenes: Sequence[Scene], clock: Float[ndarray, "b t"], *, aspect: float) -> Trajectory:
    """Where every object is at its frames."""

    def column(values: Sequence[float | bool]) -> Float[ndarray, "b 1"]:
        return np.array(values, dtype=np.float64)[:, None]

    radius, period, phase = (
        column([getattr(s, name) for s in scenes]) for name in ("radius", "period", "phase")
    )
    across, down = (column([s.place[axis] for s in scenes]) for axis in (0, 1))
    turn = clock / period + phase
    wave, quarter = np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)
    does = {
        name: column([s.motion == name for s in scenes]) for name in ("sweep", "bounce", "circle", "diagonal")
    }

    margin = REACH * radius + MARGIN
    slow = TOP_SPEED * period / (2 * np.pi)
    swing_x = (does["sweep"] + does["circle"] + does["diagonal"]) * np.minimum(slow, aspect / 2 - margin)
    swing_y = (does["circle"] + does["diagonal"]) * np.minimum(slow, 0.5 - margin)
    drop = does["bounce"] * np.minimum(DROP, 1 - 2 * margin)

    x = _within(margin + swing_x, aspect - margin - swing_x, across) + swing_x * quarter
    y = _within(margin + swing_y + drop, 1 - margin - swing_y, down)
    y = y + swing_y * np.where(does["diagonal"], quarter, wave)
    y = y - drop * np.abs(np.sin(np.pi * turn))
    return Trajectory(x=x, y=y, radius=radius + np.zeros_like(clock))


def _within(low: ndarray, high: ndarray, share: ndarray) -> ndarray:
    return low + share * (high - low)
