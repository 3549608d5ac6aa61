"""What a student's own videos follow: prompts of fresh scenes, or captions. Some change mid-clip.

Scenes know what changes and when. Captions of somebody's own are changed for others of the
same list, at the beginning of a chunk: that is where a viewer's new prompt takes effect.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from causvid.data import worlds
from causvid.nn.text import TextTokens
from causvid.train.captions import CaptionFile
from causvid.train.clips import EncodedPrompts, Prompts, window_prompts
from causvid.train.own_videos import OwnVideos


class PromptSource(Protocol):
    def draw(self, count: int, frames: int, rng: torch.Generator, *, first: int) -> Prompts | EncodedPrompts:
        """Prompts for clips of so many latent frames, the samples number `first` and following."""
        ...


@dataclass(frozen=True)
class Scenes:
    """Prompts of the rendered domain."""

    change_probability: float

    def draw(self, count: int, frames: int, rng: torch.Generator, *, first: int) -> Prompts:
        seeds = torch.randint(2**40, (count,), generator=rng).tolist()
        scenes = [
            worlds.scene(s, change_probability=self.change_probability, frames=4 * frames) for s in seeds
        ]
        return window_prompts(scenes, [0] * count, frames, rng)


@dataclass(frozen=True)
class Captions:
    """Captions in the order of training, some with another one from some chunk on."""

    own: OwnVideos | CaptionFile
    change_probability: float
    frames_per_chunk: int

    def draw(self, count: int, frames: int, rng: torch.Generator, *, first: int) -> EncodedPrompts:
        now = self.own.ordered_prompts(count, first=first)
        if not self.change_probability or frames <= self.frames_per_chunk:
            return now
        changes = torch.rand(count, generator=rng) < self.change_probability
        others = self.own.prompts(torch.randint(len(self.own), (count,), generator=rng).tolist())
        chunk = torch.randint(1, frames // self.frames_per_chunk, (count, 1), generator=rng)
        after = torch.arange(frames) >= chunk * self.frames_per_chunk
        return changing(now, others, (after & changes[:, None]).long())


def changing(now: EncodedPrompts, then: EncodedPrompts, parts: Tensor) -> EncodedPrompts:
    """Captions that change into others where `parts` [b f] is 1; the same captions if it is so nowhere."""
    if not parts.any():
        return now
    tokens = torch.stack([now.tokens.tokens, then.tokens.tokens], dim=1)
    lengths = torch.stack([now.tokens.lengths, then.tokens.lengths], dim=1)
    pairs = zip(now.labels, then.labels, parts.any(dim=1).tolist(), strict=True)
    labels = [f"{a} / {b}" if changes else a for a, b, changes in pairs]
    return EncodedPrompts(TextTokens(tokens, lengths, parts.to(tokens.device)), labels, now.empty)
