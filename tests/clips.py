"""Small clips the tests write and read."""

import torch

from causvid.data.video import ClipWriter

KINDS = [".mp4", ".gif", ".webp", ".png"]
SETTINGS = {"prompt": 'a red "ball", then snow ☃ ünd {more}', "seed": 7, "model": "tiny", "seconds": 1.5}


def moving_square(frames=24, height=64, width=96):
    """A bright square that crosses a dark ground: every frame differs from the one before."""
    clip = torch.full((frames, height, width, 3), 40, dtype=torch.uint8)
    for i in range(frames):
        clip[i, 8:40, 2 * i : 2 * i + 32] = torch.tensor([220, 180, 60], dtype=torch.uint8)
    return clip


def noise(frames, height=128, width=128):
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, generator=rng)


def write(path, clip, *, fps=12.0, **options):
    with ClipWriter(path, fps=fps, metadata=SETTINGS, **options) as writer:
        for chunk in clip.split(5):
            writer.write(chunk)
    return path
