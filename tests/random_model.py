"""Complete models of a few thousand random weights: nothing to look at, everything to compare."""

from dataclasses import replace

import torch

from causvid.flow.chunks import ChunkLayout
from causvid.models.bundle import Bundle
from causvid.models.denoiser import Denoiser
from causvid.models.spec import ModelSpec
from causvid.models.text import TinyText, TinyTextConfig
from causvid.models.vae_tiny import TinyVAE, TinyVAEConfig
from causvid.nn.transformer import TransformerConfig, VideoTransformer

WORDS = ("a", "ball", "blue", "box", "grass", "it", "on", "red", "sand", "snows", "the", "then")
LAYOUT = ChunkLayout(frames_per_chunk=2, window_frames=6, sink_frames=2, positions="windowed")
SIGMAS = (1.0, 0.75, 0.5)

SPEC = ModelSpec(
    name="random",
    fps=8,
    size=(32, 16),
    vae=TinyVAEConfig(
        latent_channels=4, widths=(8, 8, 8), encoder_blocks=(0, 1, 1), decoder_blocks=(1, 1, 1)
    ),
    text=TinyTextConfig(words=WORDS, width=16, layers=1, heads=2, rows=6),
    transformer=TransformerConfig(
        width=48, layers=2, heads=4, ffn=96, latent_channels=4, text_width=16, text_rows=6, frequency_width=32
    ),
    layout=LAYOUT,
    clip_frames=6,
    sigmas=SIGMAS,
    steps=4,
)


def random_student(**changes) -> Bundle:
    """A causal few-step model. One latent frame is 4 pixel frames of 32x16, and 2 tokens."""
    return filled(replace(SPEC, **changes))


def random_teacher(**changes) -> Bundle:
    """A bidirectional many-step model of the same sizes."""
    return filled(replace(SPEC, **{"layout": None, "sigmas": (), "guidance": 2.0, **changes}))


def filled(spec: ModelSpec) -> Bundle:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = TinyVAE(spec.vae), TinyText(spec.text), VideoTransformer(spec.transformer)
        for part in parts:
            for weights in part.parameters():  # some start at zero, which would hide differences
                torch.nn.init.normal_(weights, std=0.15)
            part.eval().requires_grad_(False)
    vae, text, transformer = parts
    return Bundle(spec=spec, vae=vae, text=text, denoiser=Denoiser(transformer))
