"""A long video as segments, each as long as the clips a model knows, that overlap.

A segment begins with the end of the one before it as its past, its frames counted from
0 again; nothing else carries over. Where the first latent of an autoencoder stands for a
single picture, as in Wan's, that past cannot be the last o latents themselves: the
picture that the overlap begins with is encoded again, and the last o - 1 latents follow
it. The segment then shows the overlap anew, so the one before holds its last frames
back until it is known whether another segment follows:

    segment of 21 latents, overlap of 3:    72 frames each, and 9 at the very end

Where every latent stands for as many frames, the last o latents are the past as they
are, the decoder goes on, and nothing is held back.

Source: CausVid, arXiv:2412.07772, section 4.4.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.flow.chunks import ChunkLayout
from causvid.generate.past import begin_with
from causvid.generate.setting import Setting
from causvid.generate.state import SessionState
from causvid.models.vae import Geometry
from causvid.types import Video


@dataclass(frozen=True)
class Outlook:
    """What the next chunk will be."""

    start: int
    """The number of its first latent frame."""
    count: int
    """Its latent frames."""
    ready: int
    """Pixel frames that come before its own."""
    made: int
    """Its own pixel frames."""
    shown: int
    """Those of them that are not held back."""


def outlook(state: SessionState, layout: ChunkLayout, geometry: Geometry) -> Outlook:
    """What the next chunk will be, should nothing change until then."""
    start, ready = state.latent_frames, _length(state.ready)
    if state.change is not None and state.change.transition == "cut":
        start, ready = 0, ready + _length(state.held) - state.told
    elif is_full(state, layout):
        start, ready = layout.overlap, ready + _overlap_frames(layout, geometry) - state.told
    count = layout.next_chunk(start)
    made = geometry.frames_of(count, start=start)
    return Outlook(start, count, ready, made, _shown(layout, geometry, start=start, made=made))


def is_full(state: SessionState, layout: ChunkLayout) -> bool:
    """Whether the next chunk needs another segment."""
    return layout.in_segments and state.latent_frames == layout.window_frames


def begin_segment(setting: Setting, state: SessionState) -> None:
    """Begin another segment with the end of the one that is full."""
    layout, geometry = setting.layout, setting.vae.geometry
    chunks = [*state.window, *([] if state.waiting is None else [state.waiting])]
    overlap = torch.cat([chunk.latents for chunk in chunks], dim=1)[:, -layout.overlap :]
    if geometry.starts_with_a_picture:
        assert state.held is not None
        picture = setting.vae.encode(state.held[:, :1])
        overlap = torch.cat([picture, overlap[:, 1:]], dim=1)
        decoder = setting.vae.decoder()
        ready = decoder.push(overlap)[:, state.told :]
    else:
        decoder, ready = state.decoder, None
    begin_with(state, setting.denoiser, [overlap[:, s.start : s.stop] for s in layout.spans(layout.overlap)])
    state.decoder, state.ready, state.held, state.told = decoder, ready, None, 0


def release(state: SessionState) -> None:
    """Let go of what is held back: no segment will show it again."""
    if state.held is not None:
        state.ready, state.held, state.told = state.held[:, state.told :], None, 0


def show(state: SessionState, video: Video, ahead: Outlook) -> Float[Tensor, "b shown 3 H W"]:
    """What of a chunk's frames is delivered now, after what was ready; the rest is held back."""
    shown, held = video[:, : ahead.shown], video[:, ahead.shown :]
    if held.shape[1]:
        state.held = held if state.held is None else torch.cat([state.held, held], dim=1)
    if state.ready is not None:
        shown, state.ready = torch.cat([state.ready, shown], dim=1), None
    return shown


def _overlap_frames(layout: ChunkLayout, geometry: Geometry) -> int:
    """Frames of a segment that the next one shows again."""
    return geometry.frames_of(layout.overlap) if geometry.starts_with_a_picture else 0


def _shown(layout: ChunkLayout, geometry: Geometry, *, start: int, made: int) -> int:
    if not layout.in_segments or layout.window_frames is None:
        return made
    limit = geometry.frames_of(layout.window_frames) - _overlap_frames(layout, geometry)
    return min(made, max(0, limit - geometry.frames_of(start)))


def _length(video: Video | None) -> int:
    return 0 if video is None else video.shape[1]
