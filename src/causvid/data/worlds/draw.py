"""The arithmetic of a picture, once, for torch and for numpy.

Every function here takes the namespace it computes in, `xp` (torch or numpy), and
uses only names that both have. Shapes are signed distances, so edges are smooth
at any size; distances are in heights of the picture. Colours are 0 to 1 until
`composite`, whose pixels are -1 to 1.

This module does not know scenes: it gets numbers.
"""

from typing import Any

Array = Any
"""A torch tensor or a numpy array; which one, `xp` says."""

OUTLINE = 0.03
"""Width of the dark line round every object."""
INK = 0.05
"""How bright that line is."""
SHADE = 0.3
"""Brightness of the ball's stripe and the ring's notch, relative to the rest."""


def local(x: Array, y: Array, *, path: dict[str, Array]) -> tuple[Array, Array]:
    """Pixel positions as the object sees them: about its centre, in its radii, y down."""
    radius = path["radius"][..., None, None]
    return (x - path["x"][..., None, None]) / radius, (y - path["y"][..., None, None]) / radius


def _length(xp: Any, x: Array, y: Array) -> Array:
    return xp.sqrt(x * x + y * y)


def ball(xp: Any, x: Array, y: Array) -> Array:
    return _length(xp, x, y) - 1.0


def box(xp: Any, x: Array, y: Array) -> Array:
    return xp.maximum(xp.abs(x), xp.abs(y)) - 0.8


def triangle(xp: Any, x: Array, y: Array) -> Array:
    return xp.maximum(y, 0.8660 * xp.abs(x) - 0.5 * y) - 0.56


def star(xp: Any, x: Array, y: Array) -> Array:
    """Five points, by folding the plane onto one edge (after Inigo Quilez, sdStar5)."""
    x, y = xp.abs(x), -y
    over = 2 * xp.clip(0.80902 * x - 0.58779 * y, 0, None)
    x, y = x - 0.80902 * over, y + 0.58779 * over
    over = 2 * xp.clip(-0.80902 * x - 0.58779 * y, 0, None)
    x, y = xp.abs(x + 0.80902 * over), y + 0.58779 * over - 1.12
    edge_x, edge_y = 0.58779 * 0.5 * 1.12, 0.80902 * 0.5 * 1.12 - 1.12
    return (y * edge_x - x * edge_y) / (edge_x**2 + edge_y**2) ** 0.5


def ring(xp: Any, x: Array, y: Array) -> Array:
    return xp.abs(_length(xp, x, y) - 0.73) - 0.32


def heart(xp: Any, x: Array, y: Array) -> Array:
    """Two quarter discs on a diamond (after Inigo Quilez, sdHeart)."""
    x, y = xp.abs(x) / 1.65, 0.55 - y / 1.65
    lobe = _length(xp, x - 0.25, y - 0.75) - 0.353553
    fold = 0.5 * xp.clip(x + y, 0, None)
    edge = xp.sqrt(xp.minimum(x * x + (y - 1) ** 2, (x - fold) ** 2 + (y - fold) ** 2))
    return 1.65 * xp.where(x + y > 1, lobe, edge * xp.sign(x - y))


SHAPES = {"ball": ball, "box": box, "triangle": triangle, "star": star, "ring": ring, "heart": heart}


def paint(
    xp: Any, kind: str, *, path: dict[str, Array], grid: tuple[Array, Array], pixel: float
) -> tuple[Array, Array]:
    """How much of each pixel the object covers, and how much of it is its colour rather than its outline."""
    x, y = local(*grid, path=path)
    scale = path["radius"][..., None, None] / pixel
    inside = SHAPES[kind](xp, x, y) * -scale + 0.5
    cover = xp.clip(inside, 0, 1)
    fill = xp.clip(inside - OUTLINE / pixel, 0, 1)
    if kind == "ball":
        fill = fill * (1 - (1 - SHADE) * xp.clip((0.22 - xp.abs(y)) * scale + 0.5, 0, 1))
    if kind == "ring":
        notch = xp.clip((0.26 - xp.maximum(xp.abs(x), y + 0.26)) * scale + 0.5, 0, 1)
        fill = fill * (1 - (1 - SHADE) * notch)
    return cover, fill


def marks(
    xp: Any, grid: tuple[Array, Array], *, at: tuple[Array, Array], width: float, length: float
) -> Array:
    """Raindrops or flakes: the crisp heart of a sum of separable bumps at ([b, t, m], [b, t, m])."""
    across = xp.exp(-(((grid[0][0] - at[0][..., None]) / width) ** 2))
    down = xp.exp(-(((grid[1][:, 0] - at[1][..., None]) / length) ** 2))
    bumps = xp.einsum("btmh,btmw->bthw", down, across)
    return xp.clip(3 * bumps - 1, 0, 1)


def composite(back: Array, cover: Array, *, fill: Array, colour: Array) -> Array:
    """The object over the background: [b, t, 3, H, W] in -1 to 1.

    Args:
        back: the background, -1 to 1.
        cover, fill: from `paint`, [b, t, H, W].
        colour: of the object, [b, t, 3], 0 to 1.
    """
    line = 2 * INK * (cover - fill) - cover
    return (
        back * (1 - cover)[:, :, None] + line[:, :, None] + (2 * colour)[..., None, None] * fill[:, :, None]
    )
