"""What the network reads: the rows a text encoder made of a prompt.

Knows nothing about encoders or vocabularies. Rows after the end of a prompt are
zeros and *are attended to*: Wan 2.1 was trained so, and hiding them changes the output.
"""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class TextTokens:
    """Encoded prompts. The tensor `tokens` is the key under which a cache keeps their keys and values."""

    tokens: Float[Tensor, "b s e"] | Float[Tensor, "b p s e"]
    """One row per text token; with p, the parts of a prompt that changes mid-clip."""
    lengths: Int[Tensor, " b"] | Int[Tensor, "b p"]
    """Rows that come from the prompt; the others are zeros."""
    parts: Int[Tensor, "b f"] | None = None
    """Which part each latent frame of a call reads. None: there is one part."""

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "TextTokens":
        """The same text elsewhere; itself when nothing changes."""
        tokens = self.tokens.to(device=device, dtype=dtype)
        if tokens is self.tokens:
            return self
        parts = None if self.parts is None else self.parts.to(device=device)
        return TextTokens(tokens, self.lengths.to(device=device), parts)

    def select(self, part: int) -> "TextTokens":
        """One part of a prompt that changes, as a text of its own."""
        if self.tokens.ndim == 3:
            return self
        return TextTokens(self.tokens[:, part], self.lengths[:, part])

    def with_parts(self, parts: Int[Tensor, "b f"]) -> "TextTokens":
        """The same text, read in this order by the frames of the next call."""
        return dataclasses.replace(self, parts=parts)


def rows_read(
    text: TextTokens, frames: int, tokens: int, *, rows: int, device: torch.device
) -> Bool[Tensor, "b l s"] | None:
    """Which row each token reads, where a prompt has several parts; None: all rows.

    Args:
        tokens: of a frame.
        rows: of each part, padding included.
    """
    if text.tokens.ndim == 3 or text.tokens.shape[1] == 1:
        return None
    if text.parts is None or text.parts.shape[1] != frames:
        raise ValueError("a prompt with parts needs `parts`, one number for each frame of this call.")
    parts = text.parts.to(device).repeat_interleave(tokens, 1)
    numbers = torch.arange(text.tokens.shape[1], device=device)
    return parts[..., None] == numbers.repeat_interleave(rows)
