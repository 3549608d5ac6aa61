"""A prompt that changes while a video goes on: at once, or little by little.

Knows texts as the network reads them; nothing of the past that they are read with.
"""

from dataclasses import dataclass

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
    first: int
    """The number of its first chunk."""

    def at(self, chunk: int) -> TextTokens:
        """What this chunk reads; the last one, and those after it, the new text itself."""
        done = chunk - self.first + 1
        return self.new if done >= self.over else between(self.old, self.new, done / self.over)


def between(old: TextTokens, new: TextTokens, share: float) -> TextTokens:
    """Row by row, `share` of the way from one text to the other; rows that one lacks are zeros."""
    rows = max(old.tokens.shape[1], new.tokens.shape[1])
    first, second = (pad(text.tokens, (0, 0, 0, rows - text.tokens.shape[1])) for text in (old, new))
    return TextTokens(torch.lerp(first, second, share), torch.maximum(old.lengths, new.lengths))
