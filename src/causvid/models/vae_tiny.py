"""A small causal video autoencoder: 4 frames of 8x8 pixels become one latent.

Four frames are folded into channels at the door, so everything inside runs once per
latent frame; pixel shuffles replace strided convolutions. Time is mixed by one extra
tap in every block, which looks at the latent frame before. That makes the whole
network causal and its streams exact: the memory of a stream is one frame per block.

The first latent frame covers four pixel frames like every other (no image latent).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from causvid.models.vae import Geometry
from causvid.nn.streaming import StreamMemory
from causvid.types import Latents, Video

Features = Float[Tensor, "b f _ _ _"]
"""Anywhere between pixels and latents: channels, height and width change on the way."""


@dataclass(frozen=True, kw_only=True)
class TinyVAEConfig:
    latent_channels: int = 16
    widths: tuple[int, int, int] = (64, 112, 144)
    """Channels at 1/2, 1/4 and 1/8 of the pixels' resolution."""
    encoder_blocks: tuple[int, int, int] = (0, 1, 1)
    decoder_blocks: tuple[int, int, int] = (1, 2, 2)

    @property
    def geometry(self) -> Geometry:
        return Geometry(
            temporal_stride=4, spatial_stride=8, latent_channels=self.latent_channels, first_frames=4
        )


class FrameConv(nn.Conv2d):
    """A 2-D convolution applied to every latent frame."""

    def forward(self, x: Features) -> Features:
        if self.kernel_size == (1, 1):
            return F.linear(x, self.weight.flatten(1), self.bias)
        pictures = x.flatten(0, 1).permute(0, 3, 1, 2)  # a view in torch's channels-last format
        return super().forward(pictures).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


class Block(nn.Module):
    """A residual block that also looks at the latent frame before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1, 1))
        self.now = FrameConv(width, width, 3, padding=1)
        self.before = FrameConv(width, width, 1, bias=False)
        self.out = FrameConv(width, width, 3, padding=1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Features, memory: StreamMemory) -> Features:
        power = torch.linalg.vector_norm(x.float(), dim=-1, keepdim=True).square() / x.shape[-1]
        normed = x * torch.rsqrt(power + 1e-6) * self.scale.flatten()
        past = memory.extend(self, normed, 1)[:, :-1]
        hidden = self.now(normed)
        # The second convolution is a product, added to the first as it is made.
        rows, matrix = hidden.flatten(0, -2), self.before.weight.flatten(1).t()
        hidden = torch.addmm(rows, past.flatten(0, -2), matrix).view(hidden.shape)
        # Backward needs what goes into the activation; without it, memory that was just used is the fastest.
        return x + self.out(F.silu(hidden, inplace=not torch.is_grad_enabled()))


def space_to_depth(x: Features, factor: int) -> Features:
    return rearrange(x, "b f (h p) (w q) c -> b f h w (c p q)", p=factor, q=factor)


def depth_to_space(x: Features, factor: int) -> Features:
    return rearrange(x, "b f h w (c p q) -> b f (h p) (w q) c", p=factor, q=factor)


class TinyEncoder(nn.Module):
    """Folded frames [b f H/2 W/2 48] to raw latent means and log variances."""

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        half, quarter, eighth = config.widths
        blocks = config.encoder_blocks
        self.enter = FrameConv(48, half, 3, padding=1)
        self.at_half = nn.ModuleList(Block(half) for _ in range(blocks[0]))
        self.down_1 = FrameConv(4 * half, quarter, 1)
        self.at_quarter = nn.ModuleList(Block(quarter) for _ in range(blocks[1]))
        self.down_2 = FrameConv(4 * quarter, eighth, 1)
        self.at_eighth = nn.ModuleList(Block(eighth) for _ in range(blocks[2]))
        self.leave = FrameConv(eighth, 2 * config.latent_channels, 3, padding=1)
        # Start almost certain of the latents, or training begins by decoding noise.
        nn.init.constant_(self.leave.bias[config.latent_channels :], -5.0)  # type: ignore[index]

    def forward(self, x: Features, memory: StreamMemory) -> tuple[Features, Features]:
        x = F.silu(self.enter(x))
        for block in self.at_half:
            x = block(x, memory)
        x = self.down_1(space_to_depth(x, 2))
        for block in self.at_quarter:
            x = block(x, memory)
        x = self.down_2(space_to_depth(x, 2))
        for block in self.at_eighth:
            x = block(x, memory)
        mean, log_variance = self.leave(x).float().chunk(2, dim=-1)
        return mean, log_variance.clamp(-20, 10)


class TinyDecoder(nn.Module):
    """Raw latents to folded frames [b f H/2 W/2 48]."""

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        half, quarter, eighth = config.widths
        blocks = config.decoder_blocks
        self.enter = FrameConv(config.latent_channels, eighth, 3, padding=1)
        self.at_eighth = nn.ModuleList(Block(eighth) for _ in range(blocks[2]))
        self.up_1 = FrameConv(eighth, 4 * quarter, 1)
        self.at_quarter = nn.ModuleList(Block(quarter) for _ in range(blocks[1]))
        self.up_2 = FrameConv(quarter, 4 * half, 1)
        self.at_half = nn.ModuleList(Block(half) for _ in range(blocks[0]))
        self.leave = FrameConv(half, 48, 3, padding=1)

    def forward(self, x: Features, memory: StreamMemory) -> Features:
        x = self.enter(x)
        for block in self.at_eighth:
            x = block(x, memory)
        x = depth_to_space(self.up_1(x), 2)
        for block in self.at_quarter:
            x = block(x, memory)
        x = depth_to_space(self.up_2(x), 2)
        for block in self.at_half:
            x = block(x, memory)
        return self.leave(F.silu(x)).float()


class TinyVAE(nn.Module):
    """The embedded model's autoencoder. Implements `causvid.models.vae.VideoVAE`."""

    def __init__(self, config: TinyVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.geometry = config.geometry
        self.encode_raw = TinyEncoder(config)
        self.decode_raw = TinyDecoder(config)
        self.decoding: torch.dtype | None = None
        """In which type decoding multiplies; None: in that of the weights."""
        self.latent_mean: Tensor
        self.latent_std: Tensor
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on CPUs

    def normalise(self, raw: Features) -> Latents:
        return rearrange((raw - self.latent_mean) / self.latent_std, "b f h w c -> b f c h w")

    def denormalise(self, latents: Latents) -> Features:
        return rearrange(latents, "b f c h w -> b f h w c") * self.latent_std + self.latent_mean

    def encoder(self) -> "TinyEncoderStream":
        return TinyEncoderStream(self)

    def decoder(self) -> "TinyDecoderStream":
        return TinyDecoderStream(self)

    def encode(self, video: Video) -> Latents:
        """Normalised latent means of a clip; a rest that does not fill a group of four is dropped."""
        return self.encoder().push(video)

    def decode(self, latents: Latents) -> Video:
        """The clip of these latents, clamped to [-1, 1]."""
        return self.decoder().push(latents)


def fold(video: Video) -> Features:
    """Four frames into the channels of one, at half resolution."""
    return rearrange(video, "b (f p) c (h q) (w r) -> b f h w (p c q r)", p=4, q=2, r=2)


def unfold(x: Features) -> Video:
    """The inverse of `fold`."""
    return rearrange(x, "b f h w (p c q r) -> b (f p) c (h q) (w r)", p=4, c=3, q=2, r=2)


class TinyEncoderStream:
    def __init__(self, vae: TinyVAE) -> None:
        self.vae = vae
        self.memory = StreamMemory()
        self.rest: Tensor | None = None

    def push(self, video: Video) -> Latents:
        """The latents completed by these frames; up to three frames wait for the next push."""
        self.vae.geometry.latent_size(*video.shape[-2:])
        if self.rest is not None:
            video = torch.cat([self.rest, video], dim=1)
        whole = video.shape[1] // 4 * 4
        self.rest = video[:, whole:] if whole < video.shape[1] else None
        if whole == 0:
            b, _, _, height, width = video.shape
            return video.new_zeros(b, 0, self.vae.config.latent_channels, height // 8, width // 8)
        mean, _ = self.vae.encode_raw(fold(video[:, :whole]), self.memory)
        return self.vae.normalise(mean)

    def copy(self) -> "TinyEncoderStream":
        other = TinyEncoderStream(self.vae)
        other.memory, other.rest = self.memory.copy(), self.rest
        return other


class TinyDecoderStream:
    def __init__(self, vae: TinyVAE) -> None:
        self.vae = vae
        self.memory = StreamMemory()

    def push(self, latents: Latents) -> Video:
        """Four pixel frames for every latent frame, in [-1, 1]."""
        raw, narrow = self.vae.denormalise(latents), self.vae.decoding
        with torch.autocast(latents.device.type, narrow, enabled=narrow is not None):
            folded = self.vae.decode_raw(raw, self.memory)
        return unfold(folded).clamp(-1, 1)

    def copy(self) -> "TinyDecoderStream":
        other = TinyDecoderStream(self.vae)
        other.memory = self.memory.copy()
        return other
