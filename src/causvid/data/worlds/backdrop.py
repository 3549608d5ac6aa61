"""Skies and grounds: still pictures, the same in every scene.

Each of the sixteen pairs is one picture for each size, so a background can never be
what tells two scenes apart except by its two words.

This module knows no object and no weather marks.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from causvid.data.worlds.scene import FACTORS

HORIZON = 0.7

SKIES = {  # top, horizon, light on the ground
    "day": ((0.16, 0.44, 0.88), (0.58, 0.80, 0.97), (1.0, 1.0, 1.0)),
    "sunset": ((0.46, 0.16, 0.42), (1.0, 0.58, 0.24), (0.74, 0.62, 0.64)),
    "night": ((0.02, 0.03, 0.13), (0.11, 0.12, 0.32), (0.46, 0.50, 0.64)),
    "cloudy": ((0.36, 0.39, 0.44), (0.62, 0.64, 0.67), (0.82, 0.83, 0.85)),
}
GROUNDS = {
    "grass": (0.22, 0.60, 0.18),
    "sand": (0.90, 0.73, 0.42),
    "water": (0.07, 0.36, 0.62),
    "snow": (0.94, 0.96, 0.99),
}


@lru_cache(maxsize=8)
def backdrops(size: tuple[int, int]) -> Float[ndarray, "16 3 H W"]:
    """Every sky over every ground, in the order of `backdrop_index`, -1 to 1."""
    height, width = size
    y = ((np.arange(height) + 0.5) / height)[:, None]
    x = ((np.arange(width) + 0.5) / height)[None, :]
    pictures = [_picture(sky, ground, x, y) for sky in FACTORS["sky"] for ground in FACTORS["ground"]]
    return (np.stack(pictures) * 2 - 1).astype(np.float32)


def backdrop_index(sky: str, ground: str) -> int:
    return FACTORS["sky"].index(sky) * len(FACTORS["ground"]) + FACTORS["ground"].index(ground)


def _picture(sky: str, ground: str, x: ndarray, y: ndarray) -> ndarray:
    top, low, light = (np.array(colour)[:, None, None] for colour in SKIES[sky])
    rim, texture = _relief(ground, x, y - HORIZON)
    air = top + (low - top) * np.clip(y / HORIZON, 0, 1)
    earth = np.array(GROUNDS[ground])[:, None, None] * light * texture
    share = np.clip((y - HORIZON - rim) * y.shape[0] + 0.5, 0, 1)
    return np.clip(air + (earth - air) * share, 0, 1)


def _relief(ground: str, x: ndarray, depth: ndarray) -> tuple[ndarray, ndarray]:
    """How far below the horizon the ground begins, and its brightness."""
    turn = 2 * np.pi
    flat = 0 * x
    if ground == "grass":
        tuft = np.abs((8 * x) % 1 - 0.5)
        return 0.09 * tuft - 0.03, 0.92 + 0.25 * (np.abs((8 * x + 3 * depth) % 1 - 0.5) - 0.25) - 0.6 * depth
    if ground == "sand":
        return 0.02 * np.sin(turn * (x + 0.1)), 1 + 0.08 * np.sin(
            turn * (9 * depth + 0.7 * np.sin(turn * x))
        ) - 0.3 * depth
    if ground == "water":
        return flat, 1 + 0.22 * np.sin(turn * (11 * depth + 0.25 * np.sin(turn * 3 * x)))
    return -0.035 * np.abs(np.sin(np.pi * (2 * x + 0.3))), 1 - 0.35 * depth + flat
