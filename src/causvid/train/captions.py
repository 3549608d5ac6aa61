"""A text file of captions, one a line: enough for a student that learns from its own videos.

They are encoded when a step needs them. A large encoder keeps what it made in its cache on
disk, so a list that was gone through once needs no encoder any more.

Has what the stages ask of `OwnVideos`, except videos.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from causvid.data.collection.reader import shuffled
from causvid.errors import UserError
from causvid.models.text import TextEncoder
from causvid.nn.text import TextTokens
from causvid.train.clips import EncodedPrompts

ORDER = 0
"""Seed of the order of epochs."""


class CaptionFile:
    """Captions by number, and in an order that differs with every epoch."""

    def __init__(self, path: Path, text: TextEncoder, *, negative: str) -> None:
        """Read the file.

        Args:
            text: what encodes them.
            negative: the prompt that guidance moves away from.

        Raises:
            UserError: it cannot be read, or holds nothing.
        """
        self.text, self._negative = text, negative
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path} cannot be read as text ({error}); it needs one caption a line."
            ) from error
        self.captions = [line.strip() for line in lines if line.strip()]
        if not self.captions:
            raise UserError(f"{path} holds no caption; write one a line.")
        empty = self._encode([""])
        self._empty = empty.tokens[0, : int(empty.lengths[0])]

    def __len__(self) -> int:
        return len(self.captions)

    def check(self, vae: nn.Module, text: TextEncoder | None) -> None:
        """Captions go with every autoencoder, and are encoded with the encoder they were given."""

    def prompts(self, numbers: Sequence[int]) -> EncodedPrompts:
        """These captions."""
        labels = [self.captions[n] for n in numbers]
        return EncodedPrompts(self._encode(labels), labels, self._empty)

    def ordered_prompts(self, count: int, *, first: int) -> EncodedPrompts:
        """The captions of the samples number `first` and following."""
        places = [divmod(n, len(self)) for n in range(first, first + count)]
        orders = {epoch: shuffled(ORDER, epoch, count=len(self)) for epoch, _ in places}
        return self.prompts([orders[epoch][index] for epoch, index in places])

    def negative(self, count: int) -> TextTokens:
        """The prompt that guidance moves away from."""
        return self._encode([self._negative] * count)

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str]) -> TextTokens:
        return self.text(prompts)
