"""Windows of somebody's own videos with their encoded captions: what the stages read instead of worlds.

Which clips a step reads follows from how many samples came before it, see `CollectionReader`.
No text encoder is needed: rows come from the shards.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from causvid.data.collection.fingerprints import text_fingerprint, weights_fingerprint
from causvid.data.collection.reader import CollectionReader
from causvid.data.collection.shards import FILE
from causvid.data.files import straight
from causvid.errors import UserError
from causvid.models.text import TextEncoder
from causvid.nn.text import TextTokens
from causvid.train.clips import ClipBatch, EncodedClips, EncodedPrompts
from causvid.train.stage import Share
from causvid.types import Latents

ORDER = 0
"""Seed of the order of epochs."""
BEGINNING = 0.25
"""Share of windows that begin with their clip: only those have seen no earlier pixels."""


def first_sample(step: int, batch: int, share: Share) -> int:
    """How many samples come before this share of a step, where every step takes as many."""
    return (step * share.of + share.number) * batch


class OwnVideos:
    """A folder that `causvid encode` made of somebody's videos."""

    def __init__(self, folder: Path) -> None:
        self.reader = CollectionReader(folder)
        self.facts = self.reader.collection

    def __len__(self) -> int:
        return len(self.reader)

    def check(self, vae: nn.Module, text: TextEncoder | None) -> None:
        """That these clips were made with this autoencoder, and their rows with this text encoder.

        Raises:
            UserError: they were made with others.
        """
        if any(p.is_meta for p in vae.parameters()):  # a dry run: there are no numbers to compare
            return
        prints = {"autoencoder": (self.facts.vae, weights_fingerprint(vae))}
        if text is not None:
            prints["text encoder"] = (self.facts.text, text_fingerprint(text))
        for what, (theirs, ours) in prints.items():
            if theirs != ours:
                raise UserError(
                    f"the clips in {self.reader.folder} were encoded with another {what} than that of "
                    "[inputs]. Name the model they were encoded with, or encode them again with this one."
                )

    def batch(self, count: int, frames: int, rng: torch.Generator, *, first: int) -> ClipBatch:
        """Windows of `frames` latent frames of the samples number `first` and following.

        Raises:
            UserError: the clips are shorter.
        """
        clips = self.reader.order(first, count, seed=ORDER)
        return ClipBatch(self.windows(clips, frames, rng), self.prompts(clips))

    def windows(self, clips: Sequence[int], frames: int, rng: torch.Generator | None) -> Latents:
        """A window of each of these clips, at any offset; without `rng` its beginning.

        Where a clip's first latent stands for a single picture, a window always begins with it.
        """
        room = self.facts.latent_shape[0] - frames
        if room < 0:
            raise UserError(
                f"clips of {frames} latent frames are asked for; {self.reader.folder} has clips of "
                f"{self.facts.latent_shape[0]}."
            )
        offsets = torch.zeros(len(clips), dtype=torch.long)
        if rng is not None and not self.facts.starts_with_a_picture:
            offsets = torch.randint(room + 1, (len(clips),), generator=rng)
            offsets = offsets * (torch.rand(len(clips), generator=rng) >= BEGINNING)
        pairs = zip(clips, offsets.tolist(), strict=True)
        return torch.stack([self.reader.latents(clip, slice(o, o + frames)) for clip, o in pairs])

    def prompts(self, clips: Sequence[int]) -> EncodedPrompts:
        """The captions of these clips."""
        labels = [str(self.reader.about(clip)["caption"]) for clip in clips]
        return EncodedPrompts(self.reader.text(list(clips)), labels, self.reader.texts["empty"])

    def ordered_prompts(self, count: int, *, first: int) -> EncodedPrompts:
        """The captions of the samples number `first` and following."""
        return self.prompts(self.reader.order(first, count, seed=ORDER))

    def negative(self, count: int) -> TextTokens:
        """The prompt that guidance moves away from."""
        return self.reader.stacked([self.reader.texts["negative"]] * count)


def open_clips(folder: Path) -> EncodedClips | OwnVideos:
    """What `causvid encode` left in a folder, whichever kind it is."""
    folder = straight(folder)
    return OwnVideos(folder) if (folder / FILE).exists() else EncodedClips(folder)
