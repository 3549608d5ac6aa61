"""Windows of encoded clips with their captions: what teacher and student read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from causvid.config import build, read_toml
from causvid.data import worlds
from causvid.data.latents import ShardReader
from causvid.errors import UserError
from causvid.models.text import TextEncoder, TinyText
from causvid.nn.text import TextTokens
from causvid.train.data import numpy_rng
from causvid.train.encode import EncodeConfig
from causvid.types import Latents


@dataclass(frozen=True)
class Prompts:
    """Two texts per sample, and which of them each latent frame follows."""

    first: Sequence[str]
    second: Sequence[str]
    """The same as the first where nothing changes."""
    parts: Tensor
    """[b f], 0 or 1."""

    def __len__(self) -> int:
        return len(self.first)

    @property
    def labels(self) -> list[str]:
        """For people to read."""
        return [a if a == b else f"{a} / {b}" for a, b in zip(self.first, self.second, strict=True)]

    def encode(self, text: TinyText, *, drop: Tensor | None = None) -> TextTokens:
        """Both texts as one `TextTokens`; where `drop` is set, the empty prompt instead."""
        keep = [True] * len(self) if drop is None else (~drop).tolist()
        pairs = zip(self.first, self.second, keep, strict=True)
        both = text([prompt if kept else "" for a, b, kept in pairs for prompt in (a, b)])
        tokens, lengths = both.tokens.unflatten(0, (len(self), 2)), both.lengths.unflatten(0, (len(self), 2))
        return TextTokens(tokens, lengths, self.parts.to(tokens.device))


@dataclass(frozen=True)
class EncodedPrompts:
    """Captions that were encoded before."""

    tokens: TextTokens
    labels: Sequence[str]
    """The captions, for people to read."""
    empty: Float[Tensor, "r e"]
    """The rows of the empty prompt."""

    def __len__(self) -> int:
        return len(self.labels)

    def encode(self, text: TextEncoder | None, *, drop: Tensor | None = None) -> TextTokens:
        """The rows, whatever encoder there is; where `drop` is set, those of the empty prompt."""
        if drop is None or not drop.any():
            return self.tokens
        tokens, lengths = self.tokens.tokens.clone(), self.tokens.lengths.clone()
        tokens[drop], lengths[drop] = 0, len(self.empty)
        tokens[drop, : len(self.empty)] = self.empty
        return TextTokens(tokens, lengths)


@dataclass(frozen=True)
class ClipBatch:
    latents: Latents
    prompts: Prompts | EncodedPrompts
    near: Bool[Tensor, "b f 1 h w"] | None = None
    """Which places show the object, where the renderer knows."""


class EncodedClips:
    """A folder that `causvid encode` made, read at random."""

    def __init__(self, folder: Path) -> None:
        self.reader = ShardReader(folder)
        self.config = build(EncodeConfig, read_toml(folder / "encode.toml"), "encode.toml")
        self.reader.expect(self.config.clips)

    def batch(self, count: int, frames: int, rng: torch.Generator, *, first: int = 0) -> ClipBatch:
        """`count` windows of `frames` latent frames, at any offset; `first` changes nothing here.

        One in four windows begins with its clip: only those have seen no earlier pixels.
        """
        room = self.config.frames // 4 - frames
        if room < 0:
            raise UserError(
                f"clips of {frames} latent frames are asked for; {self.reader.folder} has clips of "
                f"{self.config.frames // 4}."
            )
        clips = torch.randint(len(self.reader), (count,), generator=rng).tolist()
        offsets = torch.randint(room + 1, (count,), generator=rng)
        offsets = offsets * (torch.rand(count, generator=rng) >= 0.25)
        latents = [
            self.reader.slice("latents", c, slice(o, o + frames))
            for c, o in zip(clips, offsets.tolist(), strict=True)
        ]
        scenes = [self.config.scene(self.reader.seed(c)) for c in clips]
        video = torch.stack(latents)
        near = near_object(scenes, offsets.tolist(), video)
        return ClipBatch(video, window_prompts(scenes, offsets.tolist(), frames, rng), near)


def near_object(
    scenes: Sequence[worlds.Scene], offsets: Sequence[int], latents: Latents
) -> Bool[Tensor, "b f 1 h w"]:
    """Which places of each latent frame the object touches in any of its four pictures."""
    (b, f), (h, w) = latents.shape[:2], latents.shape[-2:]
    path = worlds.trajectories(scenes, 4 * f, start=[4 * o for o in offsets], aspect=w / h)
    across, down = ((np.arange(n) + 0.5) / h for n in (w, h))
    far_x = across[None, :] - path.x[..., None, None]
    far_y = down[:, None] - path.y[..., None, None]
    within = path.radius[..., None, None] + 0.5 * 2**0.5 / h
    touched = far_x**2 + far_y**2 < within**2
    return torch.from_numpy(touched.reshape(b, f, 4, h, w).any(axis=2))[:, :, None]


def window_prompts(
    scenes: Sequence[worlds.Scene], offsets: Sequence[int], frames: int, rng: torch.Generator
) -> Prompts:
    """Captions for windows of scenes; offsets and lengths in latent frames of four pixel frames."""
    wording = numpy_rng(rng)
    first, second, parts = [], [], torch.zeros(len(scenes), frames, dtype=torch.long)
    for i, (scene, offset) in enumerate(zip(scenes, offsets, strict=True)):
        switch = scene.change[0] // 4 - offset if scene.change is not None else frames
        if switch >= frames:
            first.append(worlds.caption(scene, wording).text)
            second.append(first[-1])
        elif switch <= 0:
            labels = scene.at(scene.change[0]) if scene.change is not None else {}
            first.append(worlds.caption(settled(scene, labels), wording).text)
            second.append(first[-1])
        else:
            first.append(worlds.caption(scene, wording).text)
            second.append(worlds.caption(scene, wording, part=1).text)
            parts[i, switch:] = 1
    return Prompts(first, second, parts)


def settled(scene: worlds.Scene, labels: dict[str, str]) -> worlds.Scene:
    """The scene as if it had always been as these labels say."""
    return replace(scene, change=None, **labels)  # type: ignore[arg-type]
