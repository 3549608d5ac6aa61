"""Prompts become rows of numbers.

A text encoder is a callable from prompts to `TextTokens`. The embedded one knows the
words of the captioned domain: an embedding and a small transformer, trained to name
the attributes a prompt mentions. Words it does not know are one shared token, and
`unknown_words` says which they are, so that a user can be told.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from causvid.errors import UserError
from causvid.nn.text import TextTokens


@runtime_checkable
class TextEncoder(Protocol):
    def __call__(self, prompts: Sequence[str]) -> TextTokens: ...

    def unknown_words(self, prompt: str) -> list[str]: ...


def check_prompt(prompt: str) -> str:
    """The prompt without surrounding space.

    Raises:
        UserError: nothing is left.
    """
    stripped = prompt.strip()
    if not stripped:
        raise UserError('the prompt is empty; describe the scene, for example "a red ball on the grass".')
    return stripped


@dataclass(frozen=True, kw_only=True)
class TinyTextConfig:
    words: tuple[str, ...]
    width: int = 128
    layers: int = 2
    heads: int = 4
    rows: int = 24
    """Longest prompt in words; a longer one is cut."""


PADDING, UNKNOWN = 0, 1


class TinyText(nn.Module):
    """Word embedding and a small transformer. Implements `TextEncoder`."""

    def __init__(self, config: TinyTextConfig) -> None:
        super().__init__()
        self.config = config
        self.numbers = {word: i + 2 for i, word in enumerate(config.words)}
        self.embed = nn.Embedding(len(config.words) + 2, config.width, padding_idx=PADDING)
        self.embed_position = nn.Parameter(torch.randn(config.rows, config.width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, 4 * config.width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)

    def words(self, prompt: str) -> list[str]:
        return re.findall(r"[a-z]+", prompt.lower())[: self.config.rows]

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of the prompt that mean nothing to this model."""
        return [word for word in self.words(prompt) if word not in self.numbers]

    def tokenise(self, prompts: Sequence[str]) -> Int[Tensor, "b s"]:
        """Word numbers, padded; the empty prompt is all padding."""
        rows = torch.zeros(len(prompts), self.config.rows, dtype=torch.long)
        for row, prompt in zip(rows, prompts, strict=True):
            numbers = [self.numbers.get(word, UNKNOWN) for word in self.words(prompt)]
            row[: len(numbers)] = torch.tensor(numbers, dtype=torch.long)
        return rows

    def encode(self, ids: Int[Tensor, "b s"]) -> Float[Tensor, "b s e"]:
        """Rows past the end of a prompt are zero."""
        padding = ids == PADDING
        hidden = padding.clone()
        hidden[:, 0] = False  # an empty prompt still needs one key to attend to
        x = self.layers(self.embed(ids) + self.embed_position, src_key_padding_mask=hidden)
        return self.norm(x).float() * ~padding[..., None]

    def forward(self, prompts: Sequence[str]) -> TextTokens:
        ids = self.tokenise(prompts).to(self.embed.weight.device)
        return TextTokens(tokens=self.encode(ids), lengths=(ids != PADDING).sum(dim=1))
