"""Small networks that watch a clip in pixels and say what they see.

One class, several judges: which numbers are read of every frame and which of a whole clip is
configuration, and so is the architecture, so that a final table can be made by a judge that shares neither
design nor seed with the one a model was tuned with. What is read of a frame is read of that frame
alone: a deformed object cannot hide behind its neighbours.

This module does not know what the numbers mean; the words for them travel in the configuration.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from causvid.errors import UserError
from causvid.types import Video

Pictures = Float[Tensor, "n c H W"]


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """What a judge is made of and what it reads."""

    trunk: Literal["residual", "patches"]
    """How a frame is seen: strided convolutions, or patches mixed by wide depthwise ones."""
    time: Literal["convolution", "recurrent"]
    """How frames become a clip, where one is read."""
    widths: tuple[int, ...]
    """Channels at falling resolution: three for "residual", two for "patches"."""
    features: int = 128
    """Of a frame."""
    embedding: int = 0
    """Of a clip, layer-normalised; what is read of a clip is then read through it. 0: there is none."""
    frame_heads: Mapping[str, int] = field(default_factory=dict)
    """Numbers read of every frame, by name."""
    clip_heads: Mapping[str, int] = field(default_factory=dict)
    """Numbers read of a clip, by name."""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For a head that chooses among words: which, in the order of its numbers."""
    window: int = 24
    """Frames of a clip as it was trained; longer ones are read in windows."""
    size: tuple[int, int] = (64, 64)
    """Height and width it was trained at."""

    @property
    def reads_clips(self) -> bool:
        """Whether it looks at frames together at all."""
        return bool(self.clip_heads or self.embedding)

    def __post_init__(self) -> None:
        wanted = {"residual": 3, "patches": 2}[self.trunk]
        if len(self.widths) != wanted:
            raise UserError(
                f"judge.widths has {len(self.widths)} entries; the trunk {self.trunk!r} has {wanted}."
            )
        for name, words in self.words.items():
            numbers = self.frame_heads.get(name, self.clip_heads.get(name))
            if numbers != len(words):
                raise UserError(f"judge.words.{name} has {len(words)} words for a head of {numbers} numbers.")


@dataclass(frozen=True)
class Readings:
    """Raw outputs: logits where a head chooses among words."""

    frame: Mapping[str, Float[Tensor, "b t _"]]
    clip: Mapping[str, Float[Tensor, "b _"]]
    embedding: Float[Tensor, "b _"] | None


class Judge(nn.Module):
    """Clips in, readings out."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        kinds = {"residual": ResidualTrunk, "patches": PatchTrunk}
        self.trunk = kinds[config.trunk](config.widths, config.features)
        width = config.embedding or config.features
        if config.reads_clips:
            over = {"convolution": ConvolutionInTime, "recurrent": RecurrentInTime}[config.time]
            self.time = over(config.features)
            self.embed = (
                nn.Sequential(
                    nn.Linear(config.features, width), nn.LayerNorm(width, elementwise_affine=False)
                )
                if config.embedding
                else nn.Identity()
            )
        self.frame_heads = nn.ModuleDict(
            {n: nn.Linear(config.features, k) for n, k in config.frame_heads.items()}
        )
        self.clip_heads = nn.ModuleDict({name: nn.Linear(width, k) for name, k in config.clip_heads.items()})
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on CPUs

    def forward(self, video: Video) -> Readings:
        return self.read(self.see(video))

    def see(self, video: Video) -> Float[Tensor, "b t e"]:
        """Every frame by itself."""
        return self.trunk(video.flatten(0, 1)).unflatten(0, video.shape[:2])

    def read(self, seen: Float[Tensor, "b t e"]) -> Readings:
        """What is told of frames that were seen, and of the clip they make."""
        frame = {name: head(seen) for name, head in self.frame_heads.items()}
        if not self.config.reads_clips:
            return Readings(frame, {}, None)
        whole = self.embed(self.time(seen))
        clip = {name: head(whole) for name, head in self.clip_heads.items()}
        return Readings(frame, clip, whole if self.config.embedding else None)


def places(pictures: Pictures) -> Float[Tensor, "2 H W"]:
    """Coordinates of the pictures' pixels, -1 to 1 across and down."""
    sizes, device = pictures.shape[-2:], pictures.device
    down, across = ((torch.arange(n, device=device) + 0.5) * 2 / n - 1 for n in sizes)
    return torch.stack(torch.broadcast_tensors(across[None], down[:, None])).to(pictures)


class ResidualTrunk(nn.Module):
    """Strided convolutions, residual blocks at a quarter and an eighth; soft maxima and a plan of the
    picture tell where, and what."""

    POINTS = 4
    PLAN, CELLS = 16, 8

    def __init__(self, widths: tuple[int, ...], features: int) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.enter = nn.Conv2d(5, half, 4, stride=2, padding=1)
        self.down_1 = nn.Conv2d(half, quarter, 4, stride=2, padding=1)
        self.at_quarter = ResidualBlock(quarter)
        self.down_2 = nn.Conv2d(quarter, eighth, 4, stride=2, padding=1)
        self.at_eighth = ResidualBlock(eighth)
        self.points = nn.Conv2d(eighth, self.POINTS, 1)
        self.plan = nn.Conv2d(eighth, self.PLAN, 1)
        numbers = (2 + self.POINTS) * eighth + 2 * self.POINTS + self.PLAN * self.CELLS**2
        self.out = nn.Linear(numbers, features)

    def forward(self, x: Pictures) -> Float[Tensor, "n e"]:
        place = places(x).expand(len(x), 2, *x.shape[-2:])
        x = torch.cat([x, place], dim=1).contiguous(memory_format=torch.channels_last)
        x = self.at_quarter(self.down_1(F.silu(self.enter(x))))
        x = self.at_eighth(self.down_2(F.silu(x)))
        maps = self.points(x).flatten(2).softmax(dim=-1)
        found = maps @ places(x).flatten(1).T
        there = maps @ x.flatten(2).mT
        plan = F.adaptive_avg_pool2d(self.plan(x), self.CELLS).flatten(1)
        pooled = [plan, x.mean(dim=(2, 3)), x.amax(dim=(2, 3)), there.flatten(1), found.flatten(1)]
        return F.silu(self.out(torch.cat(pooled, dim=1)))


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Pictures) -> Pictures:
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


class PatchTrunk(nn.Module):
    """Patches of 4x4, mixed in ConvNeXt's manner, gathered by learned attention.

    Source: the blocks are those of Liu et al. 2022, arXiv:2201.03545, smaller.
    """

    QUERIES = 6

    def __init__(self, widths: tuple[int, ...], features: int) -> None:
        super().__init__()
        quarter, eighth = widths
        self.enter = nn.Conv2d(3, quarter, 4, stride=4)
        self.at_quarter = nn.Sequential(*(PatchBlock(quarter) for _ in range(2)))
        self.down = nn.Conv2d(quarter, eighth, 2, stride=2)
        self.at_eighth = nn.Sequential(*(PatchBlock(eighth) for _ in range(2)))
        self.attend = nn.Linear(eighth, self.QUERIES)
        self.out = nn.Linear(self.QUERIES * (eighth + 2), features)

    def forward(self, x: Pictures) -> Float[Tensor, "n e"]:
        x = self.enter(x.contiguous(memory_format=torch.channels_last))
        x = self.at_eighth(self.down(self.at_quarter(x)))
        place = places(x).expand(len(x), 2, *x.shape[-2:])
        cells = torch.cat([x, place], dim=1).flatten(2).mT
        weights = self.attend(cells[..., : x.shape[1]]).softmax(dim=1)
        return F.gelu(self.out((weights.mT @ cells).flatten(1)))


class PatchBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, 2 * width)
        self.second = nn.Linear(2 * width, width)

    def forward(self, x: Pictures) -> Pictures:
        inner = self.norm(self.mix(x).permute(0, 2, 3, 1))
        return x + self.second(F.gelu(self.first(inner))).permute(0, 3, 1, 2)


class ConvolutionInTime(nn.Module):
    """Two convolutions over nine frames, and the mean of what they found."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 3, padding=2, dilation=2)

    def forward(self, frames: Float[Tensor, "b t e"]) -> Float[Tensor, "b e"]:
        x = frames.mT
        x = x + self.second(F.silu(self.first(x)))
        return F.silu(x).mean(dim=2)


class RecurrentInTime(nn.Module):
    """A gated recurrent unit, and the mean of its states."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.unit = nn.GRU(width, width, batch_first=True)

    def forward(self, frames: Float[Tensor, "b t e"]) -> Float[Tensor, "b e"]:
        return self.unit(frames)[0].mean(dim=1)
