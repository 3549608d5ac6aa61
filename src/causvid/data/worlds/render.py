"""Scenes to pixels: many at once in torch, or one in numpy.

Both turn scenes into the same small arrays of numbers and hand them to the same
arithmetic (`draw`); only the kinds are looped over, never the frames. A change
fades in over the four frames that begin at its switch, one latent frame.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from causvid.data.worlds import draw
from causvid.data.worlds.backdrop import backdrop_index, backdrops
from causvid.data.worlds.motion import times, trajectories
from causvid.data.worlds.scene import FACTORS, Scene
from causvid.errors import UserError

FADE = 4
"""Frames a change takes."""

COLOURS = {
    "red": (0.90, 0.10, 0.12),
    "green": (0.08, 0.72, 0.22),
    "blue": (0.12, 0.28, 0.95),
    "yellow": (1.0, 0.86, 0.08),
    "purple": (0.62, 0.16, 0.82),
    "white": (0.98, 0.98, 0.98),
}
# Falls in a shower's period, width and length in heights, how many in a square picture, colour.
SHOWERS = {
    "rain": (3, 0.021, 0.10, 9, (0.78, 0.92, 1.0)),
    "snow": (1, 0.036, 0.036, 10, (1.0, 1.0, 1.0)),
}
LATTICE = (0.7548776662, 0.5698402910)
"""The plastic-number lattice: marks spread evenly whatever their number (Roberts 2018)."""


def render(
    scenes: Sequence[Scene],
    frames: int,
    *,
    start: int | Sequence[int] = 0,
    size: tuple[int, int] = (64, 64),
    device: torch.device | str = "cpu",
    weather_weight: float = 0.5,
) -> tuple[Float[Tensor, "b t 3 H W"], Float[Tensor, "b t 1 H W"]]:
    """Clips of several scenes, and where in them it is hard and matters.

    Args:
        scenes: one for each clip.
        frames: length of every clip.
        start: first frame of each clip, or of all; any integer.
        size: height and width in pixels.
        device: where to compute.
        weather_weight: how much the mask counts raindrops and flakes; 0 gives the object alone.

    Returns:
        Pixels from -1 to 1, and a mask from 0 to 1: 1 on the object, its outline included.
    """
    check_size(size)
    pixels = torch.empty(len(scenes), frames, 3, *size, device=device)
    mask = torch.empty(len(scenes), frames, 1, *size, device=device)

    def put(array: ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    table = put(backdrops(size))
    starts = np.broadcast_to(start, (len(scenes),))
    for kind in FACTORS["kind"]:
        rows = [row for row, scene in enumerate(scenes) if scene.kind == kind]
        if rows:
            group = [scenes[row] for row in rows]
            pixels[rows], mask[rows, :, 0] = _draw(
                torch, put, group, frames, starts[rows].tolist(), size, table, weather_weight
            )
    return pixels, mask


def render_numpy(
    scene: Scene, frames: int, *, start: int = 0, size: tuple[int, int] = (64, 64)
) -> UInt8[ndarray, "t H W 3"]:
    """One clip as pictures, without torch's help."""
    check_size(size)
    pixels, _ = _draw(np, np.asarray, [scene], frames, [start], size, backdrops(size), 0.0)
    return np.uint8(np.clip(np.round(pixels[0] * 127.5 + 127.5), 0, 255)).transpose(0, 2, 3, 1)


def check_size(size: tuple[int, int]) -> None:
    """Refuse what the video VAE could not take or the motions do not fit into."""
    height, width = size
    if height % 8 or width % 8 or not 0 < height <= width:
        raise UserError(
            f"size is {height}x{width}; height and width must be multiples of 8, height at most width."
        )


def _draw(
    xp: Any,
    put: Callable[[ndarray], Any],
    scenes: Sequence[Scene],
    frames: int,
    start: Sequence[int],
    size: tuple[int, int],
    table: Any,
    weather_weight: float,
) -> tuple[Any, Any]:
    """Clips of scenes of one kind, in the namespace `xp`."""
    height, width = size
    y = put((np.arange(height, dtype=np.float32)[:, None] + 0.5) / height)
    x = put((np.arange(width, dtype=np.float32)[None, :] + 0.5) / height)
    clock = times(scenes, frames, start)
    ends = [(scene.at(-(10**9)), scene.at(10**9)) for scene in scenes]
    fade = np.stack([_fade(scene, row) for scene, row in zip(scenes, clock, strict=True)])

    back = _backdrop(put, table, ends, fade)
    weather = 0.0
    for name in SHOWERS:
        amount = _blend(fade, [[float(end["weather"] == name) for end in pair] for pair in ends])
        if amount.any():
            fall = _shower(xp, put, name, scenes, clock, x, y, width / height) * put(amount[..., None, None])
            glow = put(np.float32(SHOWERS[name][-1])[:, None, None] * 2 - 1)
            back = back + fall[:, :, None] * (glow - back)
            weather = weather + fall

    path = _path(put, scenes, frames, start, width / height)
    cover, fill = draw.paint(xp, scenes[0].kind, path, x, y, pixel=1 / height)
    colour = _blend(fade[..., None], [[COLOURS[end["colour"]] for end in pair] for pair in ends])
    mask = cover + (1 - cover) * weather_weight * weather
    return draw.composite(xp, back, cover, fill, put(colour)), mask


def _fade(scene: Scene, clock: Float[ndarray, " t"]) -> Float[ndarray, " t"]:
    """How far the change has come, 0 to 1, at each frame."""
    if scene.change is None:
        return np.zeros_like(clock)
    return np.clip((clock - scene.change[0] + 1) / FADE, 0, 1)


def _blend(fade: ndarray, ends: Sequence[Sequence[Any]]) -> ndarray:
    """From the first to the second value of each scene: [b, t, ...] in float32."""
    first, last = (np.array([pair[end] for pair in ends], dtype=np.float64)[:, None] for end in (0, 1))
    return np.float32(first + fade * (last - first))


def _backdrop(put: Any, table: Any, ends: Sequence[tuple[dict, dict]], fade: ndarray) -> Any:
    first, last = (
        np.array([backdrop_index(pair[end]["sky"], pair[end]["ground"]) for pair in ends]) for end in (0, 1)
    )
    before = table[put(first)][:, None]
    if (first == last).all():
        return before
    return before + put(np.float32(fade))[..., None, None, None] * (table[put(last)][:, None] - before)


def _shower(
    xp: Any, put: Any, name: str, scenes: Sequence[Scene], clock: ndarray, x: Any, y: Any, aspect: float
) -> Any:
    falls, wide, long, number, _ = SHOWERS[name]
    count = np.arange(round(number * aspect))
    turn = (clock / np.array([s.shower_period for s in scenes])[:, None])[..., None]
    first = np.array([s.shower for s in scenes])[:, None, None]
    across = (first[..., 0] + LATTICE[0] * count) % 1 * aspect + np.zeros_like(turn)
    down = (first[..., 1] + LATTICE[1] * count + falls * turn) % 1
    if name == "snow":
        across = across + 0.03 * np.sin(2 * np.pi * (2 * turn + LATTICE[0] * count))
    # A mark wraps only once it is wholly out of the picture.
    at = (put(np.float32(across)), put(np.float32(down * (1 + 3 * long) - 1.5 * long)))
    return draw.marks(xp, x, y, at, width=wide, length=long)


def _path(
    put: Any, scenes: Sequence[Scene], frames: int, start: Sequence[int], aspect: float
) -> dict[str, Any]:
    path = trajectories(scenes, frames, start=start, aspect=aspect)
    parts = {
        "x": path.x,
        "y": path.y,
        "radius": path.radius,
        "cos": np.cos(path.rotation),
        "sin": np.sin(path.rotation),
    }
    return {name: put(np.float32(part)) for name, part in parts.items()}
