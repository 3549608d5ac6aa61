"""Frames in, frames out: a control loop that looks at the world through the model.

python examples/robot_loop.py 5        # seconds

Each turn takes as many observations as the model asks for and gives as many pictures back. It prints
what a robot's programmer wants to know: how long a turn took, and how long it may take.
"""

import sys
import time

import torch

import causvid


class World:
    """Stands in for a robot and its camera: a box that an arm pushes to the right."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size, self.left = size, 0

    def observe(self, count: int) -> torch.Tensor:
        height, width = self.size
        frames = torch.full((count, height, width, 3), 60, dtype=torch.uint8)
        for frame in frames:
            self.left = (self.left + 1) % (width // 2)
            frame[height // 3 : height * 2 // 3, self.left : self.left + width // 3, 0] = 230
        return frames


session = causvid.load("tiny").session("a red box slides over the grass", seed=0)
world = World(session.size)
while session.frames < float(sys.argv[1]) * session.fps:
    observed, begun = world.observe(session.next_frames), time.perf_counter()
    session.push(observed, strength=0.5)  # 0 gives the observations back, 1 ignores them
    imagined = session.next_chunk()
    spent, allowed = time.perf_counter() - begun, len(imagined) / session.fps
    print(f"{len(imagined)} frames in {spent:.3f} s of {allowed:.3f} s")
