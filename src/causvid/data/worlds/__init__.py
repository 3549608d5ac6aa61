"""The captioned domain the embedded model lives in: endless, labelled, exact.

One object on one ground under one sky: `scene(seed)` says what is there, `render` and
`render_numpy` show it, `caption` describes it, `trajectory` tells where the object is.
"""

from causvid.data.worlds.caption import Caption, caption, vocabulary
from causvid.data.worlds.motion import Trajectory, trajectories, trajectory
from causvid.data.worlds.render import render, render_numpy
from causvid.data.worlds.scene import FACTORS, FPS, Scene, is_held_out, scene

__all__ = [
    "FACTORS",
    "FPS",
    "Caption",
    "Scene",
    "Trajectory",
    "caption",
    "is_held_out",
    "render",
    "render_numpy",
    "scene",
    "trajectories",
    "trajectory",
    "vocabulary",
]
