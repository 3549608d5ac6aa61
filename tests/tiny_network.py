"""A network of two layers whose weights are all random: where some start at zero, differences would hide."""

import torch

from causvid.flow.chunks import ChunkLayout
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens
from causvid.nn.transformer import TransformerConfig, VideoTransformer

CONFIG = TransformerConfig(
    width=48, layers=2, heads=4, ffn=64, latent_channels=4, text_width=12, text_rows=6, frequency_width=16
)


def network(*, dtype=torch.float64, config=CONFIG):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VideoTransformer(config)
        for weights in model.parameters():
            torch.nn.init.normal_(weights, std=0.15)
    return model.to(dtype).requires_grad_(False)


def numbers(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def clip(batch=2, frames=9, *, seed=1, dtype=torch.float64):
    """Latents of 2x2 tokens a frame, and a noise level for each."""
    sigma = torch.rand(batch, frames, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return numbers(batch, frames, 4, 4, 4, seed=seed, dtype=dtype), sigma


def prompt(batch=2, rows=4, *, seed=2, dtype=torch.float64):
    return TextTokens(numbers(batch, rows, 12, seed=seed, dtype=dtype), torch.full((batch,), rows))


def roll(model, x, sigma, text, layout, *, cache=None):
    """A clip through the cache: each chunk is first passed noisy and only then as it is, and committed."""
    cache = cache or KVCache(layout, layers=model.config.layers)
    out = []
    for span in layout.spans(x.shape[1]):
        part, level = x[:, span.start : span.stop], sigma[:, span.start : span.stop]
        model(numbers(*part.shape, seed=span.start).to(part), level, text, cache=cache)
        out.append(model(part, level, text, cache=cache))
        cache.commit(len(span))
    return torch.cat(out, 1)


LAYOUTS = {
    "everything": ChunkLayout(),
    "image first": ChunkLayout(frames_per_chunk=4, first_chunk_frames=1),
    "window": ChunkLayout(window_frames=6),
    "window and sink": ChunkLayout(window_frames=7, sink_frames=1),
    "sink of a chunk": ChunkLayout(window_frames=6, sink_frames=3),
    "frame by frame": ChunkLayout(frames_per_chunk=1, window_frames=4, sink_frames=2),
}
"""All absolute: under windowed positions a mask cannot say what a cache does."""
