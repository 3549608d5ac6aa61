"""A video goes on: the end of a given clip becomes the past of a stream.

As many latents of its end are made as the next chunk can see beside itself, in whole
chunks. Where every latent stands for as many frames, the whole clip is encoded, so that
these latents know what came before them. Where the first latent is a single picture, it
is also where a past begins: the end alone is encoded, beginning with that picture.

Knows an autoencoder, a layout and pictures; nothing of prompts or noise.

Source: CausVid, arXiv:2412.07772, section 4.4 (long videos go on from their last frames).
"""

import torch

from causvid.flow.chunks import ChunkLayout
from causvid.models.vae import DecoderStream, VideoVAE
from causvid.pixels import from_uint8
from causvid.types import Frames, Latents

WARM_UP = 16
"""Latents before those that are kept, for an autoencoder to remember: more than the embedded one can."""


def clip_end(
    frames: Frames, vae: VideoVAE, layout: ChunkLayout, *, most: int, device: torch.device
) -> tuple[list[Latents], DecoderStream]:
    """The chunks that a clip ends with, and a decoder that has just shown it.

    A clip shorter than the first chunk is preceded by its first frame.

    Args:
        most: latent frames.
    """
    geometry, decoder = vae.geometry, vae.decoder()
    there = geometry.latents_of(len(frames))
    keep = whole_chunks(layout, min(most, there))
    warm = 0 if geometry.starts_with_a_picture else min(WARM_UP, max(0, there - keep))
    wanted = geometry.frames_of(warm + keep)
    end = frames[-wanted:]
    if len(end) < wanted:
        end = torch.cat([end[:1].expand(wanted - len(end), -1, -1, -1), end])
    latents = vae.encode(from_uint8(end[None]).to(device))
    decoder.push(latents)
    return [latents[:, warm:][:, span.start : span.stop] for span in layout.spans(keep)], decoder


def whole_chunks(layout: ChunkLayout, most: int) -> int:
    """The most latent frames up to so many that whole chunks fill; one chunk at least."""
    first, later = layout.first, layout.frames_per_chunk
    return first + max(0, most - first) // later * later
