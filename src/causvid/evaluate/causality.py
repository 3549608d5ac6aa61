"""Can what comes later change what was shown before?

A short clip is made three times from the same seed: as it is, with another prompt from a frame t0 on, and
with other noise from t0 on. Of a causal model everything before t0 is the same, bit for bit, in latents and
in pixels; a bidirectional one must fail, and does, or the test would see nothing.

Says nothing about quality. That cached and recomputed attention agree is a matter of tests (tests/nn).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from causvid.evaluate.protocol import number_of
from causvid.generate.inputs import latent_shape, parts_of, sampler_of
from causvid.generate.pipeline import Pipeline
from causvid.generate.rollout import rollout
from causvid.nn.text import TextTokens
from causvid.types import Latents

CHUNKS = 3
"""Of the clip; t0 is the last one's beginning."""
WITHOUT_CHUNKS = 3
"""Latent frames of a part, for a model that has none."""
PROMPTS = ("a red ball on the grass", "a blue star on the sand at night")


@dataclass(frozen=True)
class Held:
    """Whether the beginning stayed what it was."""

    latents: bool
    pixels: bool
    largest_change: float
    """Of a latent before t0; 0 where all are the same."""


@torch.no_grad()
def causality(pipeline: Pipeline) -> dict[str, Any]:
    """What changing the prompt, and what changing the noise, does to the latents and pixels before.

    Returns:
        {frames_before, prompt: {latents, pixels, largest_change}, noise: the same, holds}.
    """
    layout, spec = pipeline.spec.layout, pipeline.spec
    size = WITHOUT_CHUNKS if layout is None else layout.frames_per_chunk
    start = size if layout is None else layout.first
    before, whole = start + (CHUNKS - 2) * size, start + (CHUNKS - 1) * size
    rng = torch.Generator().manual_seed(number_of("causality"))
    noise = torch.randn(1, whole, *latent_shape(pipeline.bundle, spec.size), generator=rng)
    other = torch.cat([noise[:, :before], torch.randn(noise[:, before:].shape, generator=rng)], dim=1)
    plain = torch.zeros(1, whole, dtype=torch.long)
    later = (torch.arange(whole) >= before).long()[None]
    made = _made(pipeline, noise, plain)
    found = {
        "prompt": _compared(pipeline, made, _made(pipeline, noise, later), before),
        "noise": _compared(pipeline, made, _made(pipeline, other, plain), before),
    }
    frames = parts_of(pipeline.bundle)[1].geometry.frames_of(before)
    holds = all(held.latents and held.pixels for held in found.values())
    return {"frames_before": frames, **{name: vars(held) for name, held in found.items()}, "holds": holds}


def _made(pipeline: Pipeline, noise: Latents, parts: Tensor) -> Latents:
    denoiser, _, text = parts_of(pipeline.bundle)
    spec, device = pipeline.spec, denoiser.transformer.out.weight.device
    sigmas, renoise = sampler_of(pipeline.bundle)
    both = text(PROMPTS)
    prompts = TextTokens(both.tokens[None], both.lengths[None], parts).to(device)
    return rollout(
        denoiser,
        noise.to(device),
        prompts,
        layout=spec.layout,
        sigmas=sigmas,
        rng=torch.Generator().manual_seed(1),
        renoise=renoise,
        negative=text([spec.negative]).to(device),
        guidance=spec.guidance,
    )


def _compared(pipeline: Pipeline, first: Latents, second: Latents, before: int) -> Held:
    vae = parts_of(pipeline.bundle)[1]
    count = vae.geometry.frames_of(before)
    shown = [vae.decode(latents)[:, :count] for latents in (first, second)]
    gap = (first[:, :before] - second[:, :before]).abs().max()
    return Held(
        latents=torch.equal(first[:, :before], second[:, :before]),
        pixels=torch.equal(*shown),
        largest_change=float(gap),
    )
