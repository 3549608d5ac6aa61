"""A prompt that changes while a video goes on: at once, or little by little.

Knows texts as the network reads them; nothing of the past that they are read with.
"""

from dataclasses import dataclass, replace

import torch
from torch.nn.functional import pad

from causvid.generate.inputs import Transition
from causvid.nn.text import TextTokens

MOST_OVER = 10_000
"""Chunks of a blend."""


@dataclass(frozen=True)
class Change:
    """A prompt that takes effect with the next chunk."""

    prompt: str
    text: TextTokens
    transition: Transition
    over: int
    """Chunks of a blend."""


@dataclass(frozen=True)
class Blend:
    """On the way from one text to another: chunk i of n reads them mixed in the ratio n - i to i."""

    old: TextTokens
    new: TextTokens
    over: int
    done: int = 0

    def step(self) -> "tuple[TextTokens, Blend | None]":
        """The text of the next chunk, and what then remains. The last text is the new one itself."""
        done = self.done + 1
        if done >= self.over:
            return self.new, None
        return between(self.old, self.new, done / self.over), replace(self, done=done)


def between(old: TextTokens, new: TextTokens, share: float) -> TextTokens:
    """Row by row, `share` of the way from one text to the other; rows that one lacks are zeros."""
    rows = max(old.tokens.shape[1], new.tokens.shape[1])
    first, second = (pad(text.tokens, (0, 0, 0, rows - text.tokens.shape[1])) for text in (old, new))
    return TextTokens(torch.lerp(first, second, share), torch.maximum(old.lengths, new.lengths))
