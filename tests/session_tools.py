"""Sessions over random models, for every kind of window."""

from dataclasses import replace

import pytest
import torch
from random_model import LAYOUT, random_student

from causvid.flow.chunks import ChunkLayout
from causvid.generate.session import StreamingSession

GROWING = ChunkLayout(frames_per_chunk=2)
BARE_WINDOW = ChunkLayout(frames_per_chunk=2, window_frames=4)
STAYING_SINK = replace(LAYOUT, positions="absolute")
LAYOUTS = pytest.mark.parametrize("layout", [GROWING, BARE_WINDOW, STAYING_SINK, LAYOUT])


def start(prompt="a red ball", bundle=None, **how):
    return StreamingSession(bundle or random_student(), prompt, **how)


def chunks(session, count):
    return torch.stack([session.next_chunk() for _ in range(count)])
