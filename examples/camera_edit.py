"""Live video to video: above what a camera sees, below the same in the words of a prompt.

python examples/camera_edit.py "a red ball on the grass at night" edited.mp4
python examples/camera_edit.py "a red ball on the grass at night" edited.mp4 /dev/video0
"""

import sys
from collections.abc import Iterator
from itertools import count, islice

import av
import numpy as np
import torch
from PIL import Image, ImageOps

import causvid
from causvid.data import worlds
from causvid.data.video import ClipWriter, viewing_scale


def pictures(device: str | None, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """From the camera; where there is none, a scene of the embedded model's domain."""
    if device is None:
        yield from (worlds.render_numpy(worlds.scene(5), 1, start=i, size=size)[0] for i in count())
    with av.open(device, format="v4l2") as container:
        for frame in container.decode(video=0):
            yield np.array(ImageOps.fit(Image.fromarray(frame.to_ndarray(format="rgb24")), size[::-1]))


def edit(prompt: str, out: str, device: str | None = None, *, seconds: float = 5.0) -> None:
    session = causvid.load("tiny").session(prompt)
    camera, scale = pictures(device, session.size), viewing_scale(session.size[0])
    with ClipWriter(out, fps=session.fps, metadata={"prompt": prompt}, scale=scale) as clip:
        while session.frames < seconds * session.fps:
            seen = torch.from_numpy(np.stack(list(islice(camera, session.next_frames))))
            session.push(seen, strength=0.6)
            clip.write(torch.cat([seen, session.next_chunk()], dim=1))


edit(*sys.argv[1:4])
