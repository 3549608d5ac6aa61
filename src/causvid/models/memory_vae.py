"""What a decoder remembers between pushes, and what it holds while it works.

The formulas follow the layers of `vae_wan`, `vae_tiny` and `vae_taehv`; a test compares
them with the decoders themselves.
"""

from collections.abc import Iterator
from typing import TypeAlias

from causvid.models.vae_taehv import BLOCKS, TAEHVConfig
from causvid.models.vae_tiny import TinyVAEConfig
from causvid.models.vae_wan import WanVAEConfig, latents_per_pass

FLOAT32 = 4
PAST = 2
"""Frames that a convolution over three of them remembers."""
DecoderConfig: TypeAlias = WanVAEConfig | TinyVAEConfig | TAEHVConfig


def decoder_state(config: DecoderConfig, height: int, width: int) -> int:
    """Bytes that stay between pushes, exactly.

    Args:
        height, width: of the latents.
    """
    if isinstance(config, WanVAEConfig):
        numbers = PAST * sum(channels * scale**2 for scale, channels in _wan_memories(config))
    elif isinstance(config, TinyVAEConfig):  # one frame for each block
        numbers = sum(blocks * channels * scale**2 for scale, channels, blocks in _tiny_levels(config))
    else:
        numbers = sum(BLOCKS * channels * scale**2 for scale, channels, _ in _taehv_levels(config, 1))
    return FLOAT32 * numbers * height * width


def decoder_activations(config: DecoderConfig, frames: int, height: int, width: int, *, device: str) -> int:
    """Bytes held at once in one pass, at most.

    Args:
        frames: latent frames of a push.
        height, width: of the latents.
        device: its kind.
    """
    if isinstance(config, TinyVAEConfig):
        # In a block: its input, the normalised one, that with the frame before, two products, their sum.
        levels = (channels * scale**2 for scale, channels, blocks in _tiny_levels(config) if blocks)
        return FLOAT32 * 6 * frames * height * width * max(levels)
    stride = config.geometry.spatial_stride
    frames = min(frames, latents_per_pass(config.geometry, stride * height, stride * width))
    if isinstance(config, WanVAEConfig):
        return max(_wan_levels(config, frames, device=device)) * FLOAT32 * height * width
    # Enlarged; then one frame or two of the channels of each, before and after they are sorted.
    steps = (
        (1 + 2 * (1 + doubles)) * 4 * scale**2 * channels * here
        for (scale, channels, here), doubles in zip(
            _taehv_levels(config, frames), config.doubles_time, strict=True
        )
    )
    return max(steps) * FLOAT32 * height * width


def _taehv_levels(config: TAEHVConfig, frames: int) -> Iterator[tuple[int, int, int]]:
    """Scale, channels and frames of each level."""
    scale = 1
    for channels, doubles in zip(config.widths, config.doubles_time, strict=False):
        yield scale, channels, frames
        scale, frames = 2 * scale, 2 * frames if doubles else frames


def _tiny_levels(config: TinyVAEConfig) -> list[tuple[int, int, int]]:
    """Scale, channels and blocks of each level of the decoder."""
    return list(zip((4, 2, 1), config.widths, config.decoder_blocks, strict=True))


def _wan_memories(config: WanVAEConfig) -> Iterator[tuple[int, int]]:
    """Scale and channels of every input that is remembered, in the order of the layers."""
    scale, width = 1, config.width * config.multipliers[-1]
    yield scale, config.latent_channels
    yield from [(scale, width)] * 4  # two residual blocks of two convolutions
    steps = (*reversed(config.halves_time), None)
    for multiplier, doubles_time in zip(reversed(config.multipliers), steps, strict=True):
        for _ in range(config.blocks + 1):
            yield scale, width
            width = config.width * multiplier
            yield scale, width
        if doubles_time:
            yield scale, width
        if doubles_time is not None:
            scale, width = 2 * scale, width // 2
    yield scale, width


def _wan_levels(config: WanVAEConfig, frames: int, *, device: str) -> Iterator[int]:
    """Numbers held in each level and in each step to the next, for every pixel of a latent frame."""
    scale, width = 1, config.width * config.multipliers[-1]
    steps = (*reversed(config.halves_time), None)
    for multiplier, doubles_time in zip(reversed(config.multipliers), steps, strict=True):
        after = config.width * multiplier
        here = frames * scale**2
        # In a block: its input, that activated, that with the past in front, and the convolution:
        # on a CPU one tap at a time (the sum so far, another tap, their sum), else all at once.
        joined = (frames + PAST) * scale**2
        taps = 3 if device == "cpu" else 1
        yield here * (width + after) + joined * after + taps * here * after
        width = after
        if doubles_time is not None:
            frames = 2 * frames if doubles_time else frames
            # Enlarged, and then with half the channels.
            yield 4 * frames * scale**2 * (width + width // 2)
            scale, width = 2 * scale, width // 2
