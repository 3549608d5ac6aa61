"""Video to video: frames that come in shape the chunk that goes out.

A chunk's input is encoded as a stream, noised to a level, the strength, and denoised
from there: at 0 the input comes back as the autoencoder sees it, at 1 nothing of it is
left. Where the input moves much, a lower strength follows it better: so the strength
can be lowered by up to a tenth with motion, and smoothed over chunks.

Knows an autoencoder and latents; nothing of prompts or the past.

Sources: SDEdit, arXiv:2108.01073; strength that follows motion: StreamDiffusionV2,
arXiv:2511.07399.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import UInt8
from torch import Tensor

from causvid.errors import UserError
from causvid.flow.schedule import add_noise
from causvid.models.vae import EncoderStream, VideoVAE
from causvid.pixels import from_uint8
from causvid.types import Latents

Pictures: TypeAlias = UInt8[Tensor, "_ H W 3"]
"""Frames of 0 to 255; however many."""
Adapt = Literal["none", "motion"]
"""What the strength follows: nothing, or how much the input moves."""
LOWERED = 0.1
"""At most, by motion."""
MUCH_MOTION = 0.2
"""Root mean square between neighbouring frames, in values of -1 to 1, that lowers the strength most."""
NEW_SHARE = 0.9
"""Of the strength a chunk asks for; the rest is that of the chunk before."""


@dataclass
class VideoInput:
    """Frames that wait to be used, and how."""

    queue: tuple[Pictures, ...] = ()
    strength: float = 1.0
    adapt: Adapt = "none"
    level: float | None = None
    """The strength as the chunk before was made with it."""
    last: Pictures | None = None
    """The frame used last."""
    encoder: EncoderStream | None = None
    """None before the first chunk, and after a cut."""

    def copy(self) -> "VideoInput":
        return replace(self, encoder=None if self.encoder is None else self.encoder.copy())

    def with_frames(self, frames: Pictures, *, strength: float, adapt: Adapt) -> "VideoInput":
        """The same with further frames, to be used so from the next chunk on."""
        queue = (*self.queue, frames) if len(frames) else self.queue
        return replace(self, queue=queue, strength=strength, adapt=adapt)

    @property
    def is_ignored(self) -> bool:
        """Whether nothing of the frames is left in what is made from them."""
        return self.strength == 1 and self.adapt == "none"

    @property
    def queued(self) -> int:
        """Frames that wait."""
        return sum(len(frames) for frames in self.queue)

    def read(
        self, vae: VideoVAE, count: int, *, start: int, device: torch.device
    ) -> "tuple[Latents, VideoInput]":
        """The latents of the next `count` frames, and the input without those; itself it does not change.

        Args:
            start: the number of their first latent frame. An autoencoder whose first latent is one
                frame counts on it: a stream that begins later begins with its first frame held still.
        """
        frames, rest = _taken(self.queue, count)
        encoder = vae.encoder() if self.encoder is None else self.encoder.copy()
        video = from_uint8(frames[None]).to(device)
        if self.encoder is None and start and vae.geometry.starts_with_a_picture:
            encoder.push(video[:, :1])
        latents = encoder.push(video)
        level = self._level(frames)
        return latents, replace(self, queue=rest, encoder=encoder, level=level, last=frames[-1:].clone())

    def _level(self, frames: Pictures) -> float:
        if self.adapt == "none":
            return self.strength
        wanted = max(0.0, self.strength - LOWERED * min(1.0, motion(frames, self.last) / MUCH_MOTION))
        before = self.strength if self.level is None else self.level
        return NEW_SHARE * wanted + (1 - NEW_SHARE) * before


def check_strength(strength: float | int) -> float:
    """The strength itself.

    Raises:
        UserError: it is not a number from 0 to 1.
    """
    if not 0 <= strength <= 1:
        raise UserError(
            f"strength is {strength:g}; it must be from 0 (the input as it is) to 1 (none of it)."
        )
    return float(strength)


def check_adapt(adapt: str) -> Adapt:
    """The word itself.

    Raises:
        UserError: there is no such one.
    """
    for known in get_args(Adapt):
        if adapt == known:
            return known
    raise UserError(f"adapt is {adapt!r}; accepted: {', '.join(get_args(Adapt))}.")


def motion(frames: Pictures, before: Pictures | None) -> float:
    """The largest root mean square between neighbouring frames, in values of -1 to 1."""
    joined = frames if before is None else torch.cat([before, frames])
    if len(joined) < 2:
        return 0.0
    values = joined.float() / 127.5
    return (values[1:] - values[:-1]).square().mean(dim=(1, 2, 3)).sqrt().max().item()


def noised(
    latents: Latents, noise: Latents, sigmas: Sequence[float], *, level: float
) -> tuple[Latents, tuple[float, ...]]:
    """Where denoising begins at this level, and the levels from there: it, and the sampler's smaller ones."""
    start = add_noise(latents, noise, torch.full(latents.shape[:2], level, device=latents.device))
    return start, (level, *(sigma for sigma in sigmas if sigma < level))


def _taken(queue: tuple[Pictures, ...], count: int) -> tuple[Pictures, tuple[Pictures, ...]]:
    """The first `count` frames, and the others."""
    used, rest = [], list(queue)
    while count:
        first = rest.pop(0)
        used.append(first[:count])
        if len(first) > count:
            rest.insert(0, first[count:])
        count -= len(used[-1])
    return torch.cat(used), tuple(rest)
