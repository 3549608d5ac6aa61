"""Stage one: the video autoencoder, on endless renders.

Small moving things decide whether a model can draw them later, so the object's
pixels weigh more than the rest from the first step, edges have a term of their own,
and the decoder sees slightly noisy latents: what the generator will give it is never
exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from causvid.data import worlds
from causvid.models.bundle import Bundle
from causvid.models.spec import ModelSpec
from causvid.models.vae_tiny import TinyVAE, TinyVAEConfig, fold, unfold
from causvid.nn.streaming import StreamMemory
from causvid.pixels import to_uint8
from causvid.train.data import WorldsConfig, random_scenes
from causvid.train.stage import WHOLE, Loss, Preview, Share
from causvid.types import Video


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    vae: TinyVAEConfig = field(default_factory=TinyVAEConfig)
    worlds: WorldsConfig = field(default_factory=WorldsConfig)
    batch: int = 12
    """Clips per step and rank."""
    frames: int = 8
    """Pixel frames per clip."""
    object_weight: float = 4.0
    """Added to the loss weight of pixels that belong to the object."""
    edge_weight: float = 0.5
    kl_weight: float = 1e-4
    latent_noise: float = 0.1
    """Standard deviation of noise on normalised latents before decoding."""
    statistics_clips: int = 256
    """Clips over which the latents' mean and spread are measured for the export."""


class Autoencoder:
    """Implements `causvid.train.stage.Stage` with the single role "vae"."""

    def __init__(self, config: AutoencoderConfig) -> None:
        self.config = config
        self.vae = TinyVAE(config.vae)
        self.trainable: Mapping[str, nn.Module] = {"vae": self.vae}
        self.frozen: Mapping[str, nn.Module] = {}

    def roles(self, step: int) -> Sequence[str]:
        return ("vae",)

    def batch(self, step: int, rng: torch.Generator, share: Share = WHOLE) -> tuple[Video, Tensor]:
        config = self.config
        scenes, starts = random_scenes(config.worlds, config.batch, config.frames, rng)
        device = next(self.vae.parameters()).device
        return worlds.render(scenes, config.frames, start=starts, size=config.worlds.size, device=device)

    def loss(self, role: str, batch: tuple[Video, Tensor], rng: torch.Generator) -> Loss:
        video, mask = batch
        mean, log_variance = self.vae.encode_raw(fold(video), StreamMemory())
        spread = mean.detach().std(dim=(0, 1, 2, 3), keepdim=True)
        noise = torch.randn(mean.shape, generator=rng).to(mean)
        sampled = mean + noise * ((0.5 * log_variance).exp() + self.config.latent_noise * spread)
        output = unfold(self.vae.decode_raw(sampled, StreamMemory()))

        weight = 1 + self.config.object_weight * mask
        error = output - video
        pixels = (weight * (error.abs() + 2 * error.square())).mean() / weight.mean()
        steps = (
            (weight.narrow(axis, 1, error.shape[axis] - 1) * error.diff(dim=axis).abs()).mean()
            for axis in (3, 4)
        )
        edges = torch.stack([*steps]).sum() / weight.mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        value = pixels + self.config.edge_weight * edges + self.config.kl_weight * kl
        with torch.no_grad():
            metrics = {
                "psnr": _psnr(error.square().mean()),
                "psnr_object": _psnr((error.square() * mask).sum() / (3 * mask.sum() + 1e-6)),
                "kl": kl,
            }
        return Loss(value, {"loss": value, **metrics})

    def preview(self, rng: torch.Generator) -> Preview:
        """Truth above reconstruction."""
        scenes, starts = random_scenes(self.config.worlds, 6, 32, rng)
        device = next(self.vae.parameters()).device
        video, _ = worlds.render(scenes, 32, start=starts, size=self.config.worlds.size, device=device)
        again = self.vae.decode(self.vae.encode(video))
        clips = to_uint8(torch.stack([video, again], dim=1).flatten(0, 1))
        return Preview(clips.cpu(), ["truth", "decoded"] * len(scenes))

    @torch.no_grad()
    def measure_statistics(self) -> None:
        """Set the latents' mean and standard deviation per channel from fresh clips."""
        rng = torch.Generator().manual_seed(0)
        means = []
        for _ in range(max(1, self.config.statistics_clips // 16)):
            scenes, starts = random_scenes(self.config.worlds, 16, 16, rng)
            device = next(self.vae.parameters()).device
            video, _ = worlds.render(scenes, 16, start=starts, size=self.config.worlds.size, device=device)
            means.append(self.vae.encode_raw(fold(video), StreamMemory())[0])
        raw = torch.cat(means)
        self.vae.latent_mean.copy_(raw.mean(dim=(0, 1, 2, 3)))
        self.vae.latent_std.copy_(raw.std(dim=(0, 1, 2, 3)))

    def export(self, provenance: Mapping[str, Any]) -> Bundle:
        self.measure_statistics()
        worlds_config = self.config.worlds
        spec = ModelSpec(name="autoencoder", fps=worlds.FPS, size=worlds_config.size, vae=self.config.vae)
        return Bundle(spec=spec.with_provenance("vae", provenance), vae=self.vae)


def _psnr(mean_square: Tensor) -> Tensor:
    """In decibels, for pixels between -1 and 1."""
    return -10 * torch.log10(mean_square / 4)
