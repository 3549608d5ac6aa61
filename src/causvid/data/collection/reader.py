"""Clips of an encoded collection, by number and in the order of training.

The order is a function of (seed, epoch): shards are shuffled, taken a few at a time, and
the clips of those few are shuffled among each other, so that few files are open at once
and every clip comes once an epoch. Where training stands is a number of samples; the
reader has no state, so a resumed run reads what it would have read, on any number of ranks.
"""

import json
from collections import OrderedDict
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from causvid.data.collection.shards import Collection, read_texts
from causvid.data.latents import open_shard, read_index
from causvid.errors import UserError
from causvid.models.prompt_cache import padded
from causvid.nn.text import TextTokens

TOGETHER = 16
"""Shards whose clips are mixed."""
OPEN = 2 * TOGETHER
"""Files kept open."""


def shuffled(*seed: int, count: int) -> list[int]:
    return np.random.default_rng(np.random.SeedSequence(seed)).permutation(count).tolist()


@lru_cache(maxsize=4)
def epoch_order(clips: int, per_shard: int, *, seed: int, epoch: int) -> np.ndarray:
    """Numbers of all clips, in the order of one epoch."""
    shards = shuffled(seed, epoch, count=-(-clips // per_shard))
    order: list[int] = []
    for first in range(0, len(shards), TOGETHER):
        group = shards[first : first + TOGETHER]
        members = [c for s in group for c in range(s * per_shard, min(clips, (s + 1) * per_shard))]
        order += [members[i] for i in shuffled(seed, epoch, 1 + first, count=len(members))]
    return np.array(order)


class CollectionReader:
    """A folder that `causvid encode` made of somebody's videos.

    Raises:
        UserError: the folder is no such folder, or not complete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.collection = Collection.read(folder)
        self.shards = read_index(folder)
        self.texts = read_texts(folder)
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()
        have = sum(shard.clips for shard in self.shards)
        if have != len(self):
            raise UserError(
                f"{folder} holds {have} of {len(self)} clips; run its encode recipe again to make the others."
            )

    def __len__(self) -> int:
        return self.collection.clips

    def order(self, first: int, count: int, *, seed: int) -> list[int]:
        """Clips number `first` and following of an endless row of epochs, each in an order of its own."""
        found = []
        for position in range(first, first + count):
            epoch, index = divmod(position, len(self))
            order = epoch_order(len(self), self.collection.clips_per_shard, seed=seed, epoch=epoch)
            found.append(int(order[index]))
        return found

    def latents(self, clip: int, span: slice = slice(None)) -> Float[Tensor, "f c h w"]:
        """Latent frames of a clip."""
        shard, row = self._shard(clip)
        return shard.file.get_slice("latents")[row, span].float()

    def rows(self, clip: int) -> Float[Tensor, "r e"]:
        """The encoded caption of a clip."""
        shard, row = self._shard(clip)
        return shard.file.get_slice("rows")[shard.rows[shard.caption_of[row]]].float()

    def about(self, clip: int) -> dict[str, Any]:
        """Video, second and caption of a clip."""
        shard, row = self._shard(clip)
        return shard.about[row]

    def thumbnail(self, clip: int) -> bytes:
        """A few frames of a clip, as JPEG."""
        shard, row = self._shard(clip)
        ends = [0, *shard.file.get_tensor("thumbnail_ends").tolist()]
        return bytes(shard.file.get_slice("thumbnails")[ends[row] : ends[row + 1]].numpy())

    def text(self, clips: list[int]) -> TextTokens:
        """The encoded captions of several clips."""
        return self.stacked([self.rows(clip) for clip in clips])

    def stacked(self, rows: list[Tensor]) -> TextTokens:
        """Prompts of any lengths as one `TextTokens`, each followed by zeros."""
        tokens = torch.stack([padded(r, to=self.collection.rows) for r in rows])
        return TextTokens(tokens, torch.tensor([len(r) for r in rows]))

    def _shard(self, clip: int) -> "tuple[_OpenShard, int]":
        number, row = divmod(clip, self.collection.clips_per_shard)
        if number not in self._open:
            self._open[number] = _OpenShard(self.folder / self.shards[number].file)
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number], row


class _OpenShard:
    """A shard's file, and what is small in it."""

    def __init__(self, path: Path) -> None:
        self.file = open_shard(path)
        self.caption_of: list[int] = self.file.get_tensor("caption_of").tolist()
        ends = self.file.get_tensor("row_ends").tolist()
        self.rows = [slice(a, b) for a, b in pairwise([0, *ends])]
        self.about: list[dict[str, Any]] = json.loads(bytes(self.file.get_tensor("about").numpy()))
