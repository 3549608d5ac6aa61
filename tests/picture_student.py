"""A causal student of random weights whose first latent frame stands for one picture, as Wan's does."""

from dataclasses import replace

from random_model import SPEC
from tiny_wan import random_weights

from causvid.flow.chunks import ChunkLayout
from causvid.models.bundle import Bundle
from causvid.models.denoiser import Denoiser
from causvid.models.text import TinyText
from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.nn.transformer import VideoTransformer

AUTOENCODER = WanVAEConfig(
    latent_channels=4, width=4, multipliers=(1, 1, 2, 2), blocks=1, mean=(0.0,) * 4, std=(1.0,) * 4
)


def picture_student(**changes) -> Bundle:
    """Chunks of two latent frames: 5 pixel frames of 16x16, then 8 each. One latent frame is one token."""
    layout = ChunkLayout(frames_per_chunk=2, window_frames=6)
    spec = replace(SPEC, **{"vae": AUTOENCODER, "size": (16, 16), "layout": layout, **changes})
    vae, text, transformer = (
        random_weights(make)
        for make in (
            lambda: WanVAE(spec.vae),
            lambda: TinyText(spec.text),
            lambda: VideoTransformer(spec.transformer),
        )
    )
    return Bundle(spec=spec, vae=vae, text=text, denoiser=Denoiser(transformer))
