"""Scenes to pixels: many at once in torch, or one in numpy.

Both turn scenes into the same small arrays of numbers and hand them to the same
arithmetic (`draw`); only the kinds are looped over, never the frames. A change
fades in over the four frames that begin at its switch, one latent frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from causvid.data.worlds import draw
from causvid.data.worlds.backdrop import backdrop_index, backdrops
from causvid.data.worlds.motion import paths, times
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
    "rain": (2, 0.034, 0.11, 8, (0.78, 0.92, 1.0)),
    "snow": (1, 0.052, 0.052, 6, (1.0, 1.0, 1.0)),
}
LATTICE = (0.7548776662, 0.5698402910)
"""The plastic-number lattice: marks spread evenly whatever their number (Roberts 2018)."""


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """Where pictures are computed: a namespace, a device and a size."""

    xp: Any
    """torch or numpy."""
    put: Callable[[ndarray], Any]
    """Moves a numpy array there."""
    size: tuple[int, int]

    def __post_init__(self) -> None:
        height, width = self.size
        if height % 8 or width % 8 or not 0 < height <= width:
            raise UserError(
                f"size is {height}x{width}; height and width must be multiples of 8, height at most width."
            )

    @property
    def aspect(self) -> float:
        return self.size[1] / self.size[0]

    @cached_property
    def backdrops(self) -> Any:
        return self.put(backdrops(self.size))

    @cached_property
    def grid(self) -> tuple[Any, Any]:
        """Centres of the pixels across [1, W] and down [H, 1], in heights."""
        height, width = self.size
        across, down = (((np.arange(n) + 0.5) / height).astype(np.float32) for n in (width, height))
        return self.put(across[None, :]), self.put(down[:, None])


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
    canvas = Canvas(
        xp=torch, put=lambda array: torch.from_numpy(np.ascontiguousarray(array)).to(device), size=size
    )
    pixels = torch.empty(len(scenes), frames, 3, *size, device=device)
    mask = torch.empty(len(scenes), frames, 1, *size, device=device)
    clock = times(scenes, frames, start)
    for kind in FACTORS["kind"]:
        rows = [row for row, scene in enumerate(scenes) if scene.kind == kind]
        if rows:
            pixels[rows], cover, weather = _draw(canvas, [scenes[row] for row in rows], clock=clock[rows])
            mask[rows, :, 0] = cover + (1 - cover) * weather_weight * weather
    return pixels, mask


def render_numpy(
    scene: Scene, frames: int, *, start: int = 0, size: tuple[int, int] = (64, 64)
) -> UInt8[ndarray, "t H W 3"]:
    """One clip as pictures, without torch's help."""
    canvas = Canvas(xp=np, put=np.asarray, size=size)
    pixels, _, _ = _draw(canvas, [scene], clock=times([scene], frames, start))
    return np.clip(np.round(pixels[0] * 127.5 + 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def _draw(canvas: Canvas, scenes: Sequence[Scene], *, clock: Float[ndarray, "b t"]) -> tuple[Any, Any, Any]:
    """Scenes of one kind: pixels, how much of each the object covers, and how much the weather does."""
    ends = [(scene.at(-(10**9)), scene.at(10**9)) for scene in scenes]
    fade = np.stack([_fade(scene, row) for scene, row in zip(scenes, clock, strict=True)])
    back, weather = _backdrop(canvas, ends, fade=fade), 0.0
    for name in SHOWERS:
        amount = _blend(fade, [[float(end["weather"] == name) for end in pair] for pair in ends])
        if amount.any():
            fall = _shower(canvas, name, scenes=scenes, clock=clock) * canvas.put(amount[..., None, None])
            glow = canvas.put(np.array(SHOWERS[name][-1], dtype=np.float32)[:, None, None] * 2 - 1)
            back, weather = back + fall[:, :, None] * (glow - back), weather + fall

    colour = _blend(fade[..., None], [[COLOURS[end["colour"]] for end in pair] for pair in ends])
    path = _path(canvas, scenes, clock=clock)
    cover, fill = draw.paint(canvas.xp, scenes[0].kind, path=path, grid=canvas.grid, pixel=1 / canvas.size[0])
    return draw.composite(back, cover, fill=fill, colour=canvas.put(colour)), cover, weather


def _fade(scene: Scene, clock: Float[ndarray, " t"]) -> Float[ndarray, " t"]:
    """How far the change has come, 0 to 1, at each frame."""
    if scene.change is None:
        return np.zeros_like(clock)
    return np.clip((clock - scene.change[0] + 1) / FADE, 0, 1)


def _blend(fade: ndarray, ends: Sequence[Sequence[Any]]) -> ndarray:
    """From the first to the second value of each scene: [b, t, ...] in float32."""
    first, last = (np.array([pair[end] for pair in ends], dtype=np.float64)[:, None] for end in (0, 1))
    return (first + fade * (last - first)).astype(np.float32)


def _backdrop(canvas: Canvas, ends: Sequence[tuple[dict, dict]], *, fade: ndarray) -> Any:
    first, last = (
        np.array([backdrop_index(pair[end]["sky"], pair[end]["ground"]) for pair in ends]) for end in (0, 1)
    )
    before = canvas.backdrops[canvas.put(first)][:, None]
    if (first == last).all():
        return before
    after = canvas.backdrops[canvas.put(last)][:, None]
    return before + canvas.put(fade.astype(np.float32))[..., None, None, None] * (after - before)


def _shower(canvas: Canvas, name: str, *, scenes: Sequence[Scene], clock: ndarray) -> Any:
    falls, wide, long, number, _ = SHOWERS[name]
    count = np.arange(round(number * canvas.aspect))
    turn = (clock / np.array([s.shower_period for s in scenes])[:, None])[..., None]
    first = np.array([s.shower for s in scenes])[:, None, None]
    across = (first[..., 0] + LATTICE[0] * count) % 1 * canvas.aspect + np.zeros_like(turn)
    down = (first[..., 1] + LATTICE[1] * count + falls * turn) % 1
    if name == "snow":
        across = across + 0.03 * np.sin(2 * np.pi * (2 * turn + LATTICE[0] * count))
    # A mark wraps only once it is wholly out of the picture.
    down = down * (1 + 3 * long) - 1.5 * long
    at = (canvas.put(across.astype(np.float32)), canvas.put(down.astype(np.float32)))
    return draw.marks(canvas.xp, canvas.grid, at=at, width=wide, length=long)


def _path(canvas: Canvas, scenes: Sequence[Scene], *, clock: ndarray) -> dict[str, Any]:
    path = paths(scenes, clock, aspect=canvas.aspect)
    parts = {"x": path.x, "y": path.y, "radius": path.radius}
    return {name: canvas.put(part.astype(np.float32)) for name, part in parts.items()}
