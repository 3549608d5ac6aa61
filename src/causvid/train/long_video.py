"""Long tuning: a student's video goes on from step to step, and its newest stretch is judged.

A student that has only been judged on the first seconds of its videos does not know the
mistakes that add up later. Here every step makes the next latents of a long video behind
the past that the steps before have left in its cache, and teacher and critic, who know
short clips, see them together with the last latents before. Those are given: no gradient
reaches them. At some point the prompt changes, as a viewer's would.

A past outlives the weights that made it; that is what makes long videos affordable. It is
in no checkpoint, so a run pauses only between videos.

Source: LongLive, arXiv:2509.22622, section 3 (streaming long tuning, re-caching).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.rollout import Condition, commit_chunk, rollout
from causvid.models.denoiser import Denoiser
from causvid.models.vae import VideoVAE
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens
from causvid.types import Latents


@dataclass(frozen=True, kw_only=True)
class LongConfig:
    """How long a video goes on, and how its prompt changes."""

    video_frames: int
    """Latent frames; a new video begins before there would be more."""
    overlap_frames: int = 3
    """Of the clip that is judged, so many latent frames were there before."""
    switch: Literal["soft", "recache"] = "recache"
    """What a new prompt does to the past: nothing, or it is read again under the new one. The latter
    changes prompts only where a stretch begins."""

    def check(self, frames: int, layout: ChunkLayout) -> None:
        """Accept the clips that are judged.

        Raises:
            UserError: a stretch is not made of whole chunks, or a video is shorter than a clip.
        """
        new, chunk = frames - self.overlap_frames, layout.frames_per_chunk
        alike = layout.first == chunk and not layout.in_segments
        if self.overlap_frames < 1 or new < chunk or new % chunk or not alike:
            raise UserError(
                f"dmd.long: clips of {frames} latent frames with {self.overlap_frames} of them given leave "
                f"{new} new ones; those must be whole chunks of {chunk}, the first chunk as long as the "
                "others, and positions not 'segment'."
            )
        if self.video_frames < frames:
            raise UserError(
                f"dmd.long.video_frames is {self.video_frames}; it must be at least dmd.frames = {frames}."
            )

    def steps(self, frames: int) -> int:
        """Training steps that a video lasts."""
        return 1 + (self.video_frames - frames) // (frames - self.overlap_frames)

    def starts(self, frames: int) -> list[int]:
        """The numbers of the latent frames with which its stretches begin."""
        return [0, *(frames + n * (frames - self.overlap_frames) for n in range(self.steps(frames) - 1))]

    def length(self, frames: int) -> int:
        """Latent frames of a whole video."""
        return frames + (self.steps(frames) - 1) * (frames - self.overlap_frames)


@dataclass(frozen=True)
class Stretch:
    """A clip to be judged."""

    clip: Latents
    text: TextTokens
    given: int
    """Its first latent frames that were there before."""


class LongVideo:
    """One share's videos while they go on; the batch is one video for each sample."""

    def __init__(
        self, text: TextTokens, layout: ChunkLayout, *, layers: int, config: LongConfig, frames: int
    ) -> None:
        """Nothing yet.

        Args:
            text: for the whole video.
            frames: latent frames of a clip that is judged.
        """
        self.config = config
        self.text = at_starts(text, config.starts(frames)) if config.switch == "recache" else text
        self.cache = KVCache(layout, layers=layers)
        self.latents: Latents | None = None
        self.clip: Latents | None = None

    @property
    def frames(self) -> int:
        """Latent frames so far."""
        return 0 if self.latents is None else self.latents.shape[1]

    def go_on(
        self, student: Denoiser, noise: Latents, vae: VideoVAE, *, lasting: bool, **how: Any
    ) -> Stretch:
        """The next latents, and with the last ones before them the clip to be judged.

        Args:
            noise: for the new latents.
            vae: to begin the clip with a picture, where its first latent is one.
            lasting: whether the video goes on from here; if not, the next call makes this stretch again.
            how: what else `rollout` wants to know.
        """
        start, stop = self.frames, self.frames + noise.shape[1]
        self.cache.refresh()
        if self.config.switch == "recache" and self._changes(start):
            self._read_again(student)
        past = self.cache if lasting else self.cache.snapshot()
        new = rollout(student, noise, self._reading(start, stop), layout=past.layout, past=past, **how)
        before = None if self.clip is None else bridge(vae, self.clip, self.config.overlap_frames)
        clip = new if before is None else torch.cat([before, new], dim=1)
        if lasting:
            so_far = [] if self.latents is None else [self.latents]
            self.latents, self.clip = torch.cat([*so_far, new.detach()], dim=1), clip.detach()
        given = clip.shape[1] - new.shape[1]
        return Stretch(clip, self._reading(start - given, stop), given)

    def _reading(self, start: int, stop: int) -> TextTokens:
        parts = self.text.parts
        return self.text if parts is None else self.text.with_parts(parts[:, start:stop])

    def _changes(self, frame: int) -> bool:
        """Whether a prompt changes before this frame."""
        parts = self.text.parts
        return parts is not None and frame > 0 and bool((parts[:, frame] != parts[:, frame - 1]).any())

    def _read_again(self, student: Denoiser) -> None:
        """The visible past anew, chunk by chunk and causally, under the prompt that now begins."""
        assert self.latents is not None and self.text.parts is not None
        layout, frames = self.cache.layout, self.frames
        oldest = 0 if layout.window_frames is None else frames - (layout.window_frames - layout.sink_frames)
        self.cache = self.cache.empty()
        now = self.text.parts[:, frames : frames + 1]
        for span in layout.spans(frames):
            if span.stop > oldest or span.start < layout.sink_frames:
                self.cache.skip_to(span.start)
                text = self.text.with_parts(now.expand(-1, len(span)))
                commit_chunk(student, self.latents[:, span.start : span.stop], Condition(text, self.cache))


def at_starts(text: TextTokens, starts: list[int]) -> TextTokens:
    """The same prompts, changing only before these frames: not before they would, or never."""
    if text.parts is None:
        return text
    parts, edges = torch.zeros_like(text.parts), [*starts, text.parts.shape[1]]
    for start, stop in pairwise(edges):
        parts[:, start:stop] = text.parts[:, start : start + 1]
    return text.with_parts(parts)


@torch.no_grad()
def bridge(vae: VideoVAE, clip: Latents, overlap: int) -> Float[Tensor, "b overlap c h w"]:
    """The end of a clip as the beginning of another one.

    Where a first latent stands for one picture, the picture that the end begins with is encoded as one:
    the last of the frames that its first latent stands for.
    """
    if not vae.geometry.starts_with_a_picture:
        return clip[:, -overlap:]
    picture = vae.decode(clip[:, : clip.shape[1] - overlap + 1])[:, -1:]
    return torch.cat([vae.encode(picture).to(clip), clip[:, clip.shape[1] - overlap + 1 :]], dim=1)
