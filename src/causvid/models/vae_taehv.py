"""A tiny decoder for Wan 2.1 latents: previews in a fraction of the time, a little less sharp.

It has the published layout of TAEHV, so its weights (`taew2_1`) fit as they are: a row of
numbered layers, picture convolutions throughout, and blocks that also see the frame
before. Time doubles by making several frames of the channels of one. A stream's first
latent gives four frames like every other, of which the first three are a run-up and are
dropped: what remains is the geometry of Wan's own autoencoder.

It takes normalised latents. There is no encoder here.

Source: TAEHV by Ollin Boer Bohan (MIT), https://github.com/madebyollin/taehv; the layout only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from causvid.errors import UserError
from causvid.models.vae import Geometry
from causvid.models.vae_wan import latents_per_pass
from causvid.models.vae_wan_blocks import Features, per_frame
from causvid.nn.streaming import StreamMemory
from causvid.types import Latents, Video

BLOCKS = 3
"""Blocks of a level."""
LEVEL = BLOCKS + 3
"""Layers of a level: its blocks, Enlarge, Grow and a convolution."""
PUBLISHED = "decoder."
"""What stands before a layer's number in the published file, which also holds an encoder."""


@dataclass(frozen=True, kw_only=True)
class TAEHVConfig:
    """The defaults are the published decoder for Wan 2.1."""

    latent_channels: int = 16
    widths: tuple[int, int, int, int] = (256, 128, 64, 64)
    """Channels of the three levels, from latents outwards, and before the last convolution."""
    doubles_time: tuple[bool, bool, bool] = (False, True, True)

    @property
    def geometry(self) -> Geometry:
        return Geometry(
            temporal_stride=2 ** sum(self.doubles_time),
            spatial_stride=2 ** len(self.doubles_time),
            latent_channels=self.latent_channels,
            first_frames=1,
        )


class SoftClamp(nn.Module):
    """Latents far from zero are drawn in, to within 3."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


class Enlarge(nn.Module):
    """Twice the height and width."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2)


class MemoryBlock(nn.Module):
    """A residual block that also sees its own input one frame before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            picture_conv(2 * width, width),
            nn.ReLU(),
            picture_conv(width, width),
            nn.ReLU(),
            picture_conv(width, width),
        )

    def forward(self, x: Features, memory: StreamMemory) -> Features:
        past = memory.extend(self, x, 1)[:, :-1]
        return F.relu(per_frame(self.conv, torch.cat([x, past], dim=2)) + x)


class Grow(nn.Module):
    """One frame, or two, of the channels of each."""

    def __init__(self, width: int, *, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(width, factor * width, 1, bias=False)

    def forward(self, x: Features, memory: StreamMemory) -> Features:
        return rearrange(per_frame(self.conv, x), "b t (s c) h w -> b (t s) c h w", s=self.factor)


def picture_conv(c_in: int, c_out: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1, bias=bias)


class TAEHVDecoder(nn.Module):
    """The decoding half of `causvid.models.vae.VideoVAE`; layers are numbered as they are published."""

    def __init__(self, config: TAEHVConfig) -> None:
        super().__init__()
        self.config = config
        self.geometry = config.geometry
        widths = config.widths
        self.layers = nn.ModuleList([SoftClamp(), picture_conv(config.latent_channels, widths[0]), nn.ReLU()])
        for level, doubles in enumerate(config.doubles_time):
            width = widths[level]
            self.layers.extend(MemoryBlock(width) for _ in range(BLOCKS))
            self.layers.extend([Enlarge(), Grow(width, factor=2 if doubles else 1)])
            self.layers.append(picture_conv(width, widths[level + 1], bias=False))
        self.layers.extend([nn.ReLU(), picture_conv(widths[-1], 3)])

    @classmethod
    def from_published(cls, tensors: Mapping[str, Tensor]) -> "TAEHVDecoder":
        """The decoder with the weights of a published file, of which it takes what is its own.

        Raises:
            UserError: the file holds something else.
        """
        own = {
            f"layers.{key.removeprefix(PUBLISHED)}": value
            for key, value in tensors.items()
            if key.startswith(PUBLISHED)
        }
        decoder = cls(_read_off(own))
        expected = decoder.state_dict()
        for key in sorted({*own, *expected}):
            if key not in own or key not in expected or own[key].shape != expected[key].shape:
                raise _unfit(key)
        decoder.load_state_dict(own)
        return decoder

    def forward(self, x: Features, memory: StreamMemory) -> Features:
        for layer in self.layers:
            knows_time = isinstance(layer, MemoryBlock | Grow)
            x = layer(x, memory) if knows_time else per_frame(layer, x)
        return x

    def decoder(self) -> "TAEHVStream":
        return TAEHVStream(self)

    def decode(self, latents: Latents) -> Video:
        """The clip of these latents, in [-1, 1]."""
        return TAEHVStream(self).push(latents)


def _read_off(own: Mapping[str, Tensor]) -> TAEHVConfig:
    """The sizes, from the shapes of the weights."""
    convs = [f"layers.{index}.weight" for index in (1, *(2 + LEVEL * level for level in (1, 2, 3)))]
    grows = [f"layers.{1 + LEVEL * level}.conv.weight" for level in (1, 2, 3)]
    for key in (*convs, *grows):
        if key not in own or own[key].ndim != 4:
            raise _unfit(key)
    first, second, third, last = (own[key].shape[0] for key in convs)
    one, two, three = (own[key].shape[0] == 2 * own[key].shape[1] for key in grows)
    return TAEHVConfig(
        latent_channels=own[convs[0]].shape[1],
        widths=(first, second, third, last),
        doubles_time=(one, two, three),
    )


def _unfit(key: str) -> UserError:
    published = key.replace("layers.", PUBLISHED, 1)
    return UserError(
        f"{published!r} is missing, unknown or of another shape than in TAEHV for Wan 2.1; "
        "the file with its weights is called taew2_1."
    )


class TAEHVStream:
    """Latents in any groups: one frame for the first, then four each."""

    def __init__(self, vae: TAEHVDecoder) -> None:
        self.vae = vae
        self.memory = StreamMemory()
        self.started = False

    def push(self, latents: Latents) -> Video:
        """The frames of these latents, in [-1, 1]."""
        geometry = self.vae.geometry
        b, _, _, h, w = latents.shape
        height, width = h * geometry.spatial_stride, w * geometry.spatial_stride
        dtype = self.vae.layers[1].weight.dtype
        found = [latents.new_zeros(b, 0, 3, height, width, dtype=torch.float32)]
        for part in latents.split(latents_per_pass(geometry, height, width), dim=1):
            if part.shape[1]:
                found.append(self._decode(part.to(dtype)))
        return torch.cat(found, dim=1)

    def _decode(self, latents: Latents) -> Video:
        video = (2 * self.vae(latents, self.memory).float() - 1).clamp(-1, 1)
        run_up = 0 if self.started else self.vae.geometry.temporal_stride - 1
        self.started = True
        return video[:, run_up:]

    def copy(self) -> "TAEHVStream":
        other = TAEHVStream(self.vae)
        other.memory, other.started = self.memory.copy(), self.started
        return other
