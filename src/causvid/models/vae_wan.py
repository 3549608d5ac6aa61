"""The Wan 2.1 video autoencoder: 1 + 4n frames of pixels, 1 + n latent frames at an eighth of the size.

The first latent frame is one picture, every later one four. Encoding takes the mean of
the posterior. A clip of any length is worked through in passes of bounded size, each
leaving what the next must know in the stream's memory; how a clip is cut into passes or
pushes changes nothing but rounding.

Weights in bfloat16 work: statistics, norms, what enters and what leaves stay float32.
Names that others give the weights are in `causvid.weights.layouts_vae`.

Source: Wan 2.1, arXiv:2503.20314, section 4.1; statistics from its release (Apache-2.0).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causvid.errors import UserError
from causvid.flow.schedule import wide
from causvid.models.vae import Geometry
from causvid.models.vae_wan_blocks import (
    Attention,
    CausalConv,
    Downsample,
    Features,
    Norm,
    Residual,
    Upsample,
)
from causvid.nn.streaming import StreamMemory
from causvid.types import Latents, Video

PIXELS_PER_PASS = 4 * 480 * 832
"""A pass takes as many latent frames as fit in, at least one: memory does not grow with the clip."""


# fmt: off
WAN_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)
WAN_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)
# fmt: on


@dataclass(frozen=True, kw_only=True)
class WanVAEConfig:
    """The defaults are the released model."""

    latent_channels: int = 16
    width: int = 96
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    """Channels of each level in units of `width`, from pixels inwards; a level halves the size."""
    blocks: int = 2
    """Residual blocks of a level; the decoder has one more."""
    halves_time: tuple[bool, ...] = (False, True, True)
    """Whether the step from one level to the next halves time too."""
    mean: tuple[float, ...] = WAN_MEAN
    """Of every latent channel, before normalising."""
    std: tuple[float, ...] = WAN_STD

    def __post_init__(self) -> None:
        steps = len(self.multipliers) - 1
        if len(self.halves_time) != steps:
            raise UserError(
                f"vae.halves_time has {len(self.halves_time)} entries; {steps + 1} multipliers need {steps}."
            )
        if not len(self.mean) == len(self.std) == self.latent_channels:
            raise UserError(
                f"vae.mean and vae.std have {len(self.mean)} and {len(self.std)} entries; "
                f"vae.latent_channels = {self.latent_channels} needs as many of each."
            )

    @property
    def geometry(self) -> Geometry:
        return Geometry(
            temporal_stride=2 ** sum(self.halves_time),
            spatial_stride=2 ** len(self.halves_time),
            latent_channels=self.latent_channels,
            first_frames=1,
        )


def middle(width: int) -> nn.ModuleList:
    return nn.ModuleList([Residual(width, width), Attention(width), Residual(width, width)])


class WanEncoder(nn.Module):
    """Pixels to the features that the posterior is read from."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        self.enter = CausalConv(3, config.width, (3, 3, 3))
        self.down = nn.ModuleList()
        width = config.width
        for level, multiplier in enumerate(config.multipliers):
            for _ in range(config.blocks):
                self.down.append(Residual(width, config.width * multiplier))
                width = config.width * multiplier
            if level < len(config.halves_time):
                self.down.append(Downsample(width, time=config.halves_time[level]))
        self.mid = middle(width)
        self.norm = Norm(width)
        self.leave = CausalConv(width, 2 * config.latent_channels, (3, 3, 3))

    def forward(self, x: Features, memory: StreamMemory) -> Features:
        x = self.enter(x, memory)
        for block in [*self.down, *self.mid]:
            x = block(x, memory)
        return self.leave(F.silu(self.norm(x)), memory)


class WanDecoder(nn.Module):
    """The encoder's mirror image: features to pixels."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        width = config.width * config.multipliers[-1]
        self.enter = CausalConv(config.latent_channels, width, (3, 3, 3))
        self.mid = middle(width)
        self.up = nn.ModuleList()
        steps = (*reversed(config.halves_time), None)
        for multiplier, doubles_time in zip(reversed(config.multipliers), steps, strict=True):
            for _ in range(config.blocks + 1):
                self.up.append(Residual(width, config.width * multiplier))
                width = config.width * multiplier
            if doubles_time is not None:
                self.up.append(Upsample(width, time=doubles_time))
                width //= 2
        self.norm = Norm(width)
        self.leave = CausalConv(width, 3, (3, 3, 3))

    def forward(self, x: Features, memory: StreamMemory) -> Features:
        x = self.enter(x, memory)
        for block in [*self.mid, *self.up]:
            x = block(x, memory)
        return self.leave(F.silu(self.norm(x)), memory)


class WanVAE(nn.Module):
    """Wan 2.1's autoencoder. Implements `causvid.models.vae.VideoVAE`."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.geometry = config.geometry
        self.encode_raw = WanEncoder(config)
        self.to_posterior = CausalConv(2 * config.latent_channels, 2 * config.latent_channels, (1, 1, 1))
        self.from_latents = CausalConv(config.latent_channels, config.latent_channels, (1, 1, 1))
        self.decode_raw = WanDecoder(config)

    @property
    def dtype(self) -> torch.dtype:
        return self.from_latents.weight.dtype

    def normalise(self, raw: Features) -> Latents:
        mean, std = self._statistics(raw)
        return (wide(raw) - mean) / std

    def denormalise(self, latents: Latents) -> Features:
        mean, std = self._statistics(latents)
        return wide(latents) * std + mean

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From the configuration, not from buffers, which would be rounded to the weights' type."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        both = torch.tensor([self.config.mean, self.config.std], device=x.device, dtype=dtype)
        mean, std = both[:, :, None, None]
        return mean, std

    def encoder(self) -> "WanEncoderStream":
        return WanEncoderStream(self)

    def decoder(self) -> "WanDecoderStream":
        return WanDecoderStream(self)

    def encode(self, video: Video) -> Latents:
        """Normalised latent means of a clip; a rest that does not fill a group of four is dropped."""
        return self.encoder().push(video)

    def decode(self, latents: Latents) -> Video:
        """The clip of these latents, clamped to [-1, 1]."""
        return self.decoder().push(latents)


def latents_per_pass(geometry: Geometry, height: int, width: int) -> int:
    """How many latent frames one pass takes, for pictures of this many pixels."""
    return max(1, PIXELS_PER_PASS // (geometry.temporal_stride * height * width))


class WanEncoderStream:
    """Frames in any groups; a latent leaves when its frames are complete."""

    def __init__(self, vae: WanVAE) -> None:
        self.vae = vae
        self.memory = StreamMemory()
        self.latents = 0
        """Latent frames so far."""
        self.rest: Tensor | None = None

    def push(self, video: Video) -> Latents:
        """The latents completed by these frames; others wait for the next push.

        Raises:
            UserError: height or width is not a multiple of the spatial stride.
        """
        geometry = self.vae.geometry
        b, _, _, height, width = video.shape
        size = geometry.latent_size(height, width)
        video = video if self.rest is None else torch.cat([self.rest, video], dim=1)
        found = [video.new_zeros(b, 0, geometry.latent_channels, *size, dtype=torch.float32)]
        step = latents_per_pass(geometry, height, width)
        while (complete := self._complete(video.shape[1])) > 0:
            count = min(step, complete)
            frames = geometry.frames_of(count, start=self.latents)
            found.append(self._encode(video[:, :frames]))
            video = video[:, frames:]
            self.latents += count
        self.rest = video.clone()  # a view would keep the whole clip alive
        return torch.cat(found, dim=1)

    def _complete(self, frames: int) -> int:
        """Latent frames that so many waiting frames fill."""
        geometry = self.vae.geometry
        return frames // geometry.temporal_stride if self.latents else geometry.latents_of(frames)

    def _encode(self, video: Video) -> Latents:
        features = self.vae.encode_raw(video.to(self.vae.dtype), self.memory)
        mean, _ = self.vae.to_posterior(features, self.memory).chunk(2, dim=2)
        return self.vae.normalise(mean)

    def copy(self) -> "WanEncoderStream":
        other = WanEncoderStream(self.vae)
        other.memory, other.latents, other.rest = self.memory.copy(), self.latents, self.rest
        return other


class WanDecoderStream:
    """Latents in any groups: one frame for the first, then four each."""

    def __init__(self, vae: WanVAE) -> None:
        self.vae = vae
        self.memory = StreamMemory()

    def push(self, latents: Latents) -> Video:
        """The frames of these latents, in [-1, 1]."""
        return self.push_unclamped(latents).clamp(-1, 1)

    def push_unclamped(self, latents: Latents) -> Video:
        """The same as the network says it, which may go past [-1, 1]."""
        b, _, _, h, w = latents.shape
        stride = self.vae.geometry.spatial_stride
        step = latents_per_pass(self.vae.geometry, h * stride, w * stride)
        found = [latents.new_zeros(b, 0, 3, h * stride, w * stride, dtype=torch.float32)]
        for start in range(0, latents.shape[1], step):
            raw = self.vae.denormalise(latents[:, start : start + step]).to(self.vae.dtype)
            features = self.vae.from_latents(raw, self.memory)
            found.append(wide(self.vae.decode_raw(features, self.memory)))
        return torch.cat(found, dim=1)

    def copy(self) -> "WanDecoderStream":
        other = WanDecoderStream(self.vae)
        other.memory = self.memory.copy()
        return other
