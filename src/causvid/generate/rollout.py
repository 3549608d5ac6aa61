"""The one chunk loop.

    for each chunk:   x <- noise
        for each sigma:  x0 <- denoiser(x);  x <- x0 noised to the next sigma
        commit x0 at sigma 0: its keys become the past

Command line, server, evaluation and the student's own training all come through
here; training differs in which call runs under grad. Re-noising with *fresh* noise is
the student's sampler; with the noise *predicted* from x it is Euler's method on the
probability flow, whose other solvers (`flow/solvers.py`) are further words in that place;
and a whole clip without a layout is a single chunk without a past.

Sources: CausVid, arXiv:2412.07772, algorithm 2; exit steps: Self-Forcing, arXiv:2506.08009.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from causvid.flow.chunks import ChunkLayout
from causvid.flow.schedule import add_noise, noise_from_x0, velocity_from_x0
from causvid.flow.solvers import SOLVERS
from causvid.models.denoiser import Denoiser
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens
from causvid.nn.transfer import to_device
from causvid.types import FrameMask, Latents, Sigma

Renoise = Literal["fresh", "predicted", "unipc", "dpm++"]
"""How the next level is reached: with fresh noise, with the noise predicted, or by a solver of this name."""
Source: TypeAlias = torch.Generator | Sequence[torch.Generator] | None
"""Of fresh noise: one for all, one for each sample, or torch's own."""
OnStep = Callable[[int, int], None]
"""Told after every step of a chunk how many are done, and of how many."""


def silent(done: int, of: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Condition:
    """What a chunk is generated from: the text, its guidance, and the past as seen under each."""

    text: TextTokens
    cache: KVCache | None = None
    negative: TextTokens | None = None
    guidance: float = 1.0
    negative_cache: KVCache | None = None
    mask: FrameMask | None = None
    """Which frames see which, where a whole clip is denoised at once. None: all see all."""

    def x0(self, denoiser: Denoiser, x_t: Latents, sigma: float) -> Latents:
        sight = {"cache": self.cache, "mask": self.mask}
        past: dict[str, Any] = {name: what for name, what in sight.items() if what is not None}
        level = level_of(x_t, sigma, cache=self.cache)
        if self.negative is None or self.guidance == 1:
            return denoiser(x_t, level, self.text, **past)
        return denoiser.guided(
            x_t, level, self.text, self.negative, self.guidance, negative_cache=self.negative_cache, **past
        )

    def reading(self, span: range) -> "Condition":
        """The same for the latent frames of one chunk, where the prompt has parts."""
        if self.text.parts is None:
            return self
        return replace(self, text=self.text.with_parts(self.text.parts[:, span.start : span.stop]))


def denoise_chunk(
    denoiser: Denoiser,
    noise: Latents,
    condition: Condition,
    sigmas: Sequence[float],
    *,
    rng: Source = None,
    renoise: Renoise = "fresh",
    grad_at: int | None = None,
    on_step: OnStep = silent,
    begun: Latents | None = None,
) -> Latents:
    """Clean latents from noise, through the levels `sigmas`.

    Args:
        noise: the latents at the first level; for sigma 1 pure noise.
        sigmas: falling noise levels, without a final 0.
        rng: a CPU source of the fresh noise between levels, so that every device sees the same;
            or one for each sample, so that no sample depends on its neighbours in the batch.
        renoise: "fresh" for a few-step student, "predicted" for Euler's method, or the word of a solver.
        grad_at: leave at this step: run it under grad, those before it without, and return its x0.
            None runs every step in the caller's grad mode. Not for other solvers.
        on_step: told after every step.
        begun: what the first step predicts, where that is known already. Not for "unipc".
    """
    if renoise in SOLVERS:
        assert grad_at is None, "a solver that remembers its steps has no exit in between"
        return _solve_chunk(denoiser, noise, condition, sigmas, solver=renoise, on_step=on_step)
    x = noise
    last = len(sigmas) - 1 if grad_at is None else grad_at
    for step in range(last):
        with torch.set_grad_enabled(torch.is_grad_enabled() and grad_at is None):
            x0 = begun if begun is not None and step == 0 else condition.x0(denoiser, x, sigmas[step])
            level = torch.full(x.shape[:2], sigmas[step], device=x.device)
            between = fresh_noise(x, rng) if renoise == "fresh" else noise_from_x0(x, x0, level)
            x = add_noise(x0, between, torch.full_like(level, sigmas[step + 1]))
        on_step(step + 1, len(sigmas))
    x0 = begun if begun is not None and last == 0 else condition.x0(denoiser, x, sigmas[last])
    on_step(last + 1, len(sigmas))
    return x0


def _solve_chunk(
    denoiser: Denoiser,
    noise: Latents,
    condition: Condition,
    sigmas: Sequence[float],
    *,
    solver: str,
    on_step: OnStep,
) -> Latents:
    """The same by a solver that remembers earlier steps, down to sigma 0."""

    def velocity(x: Latents, sigma: float) -> Latents:
        level = torch.full(x.shape[:2], sigma, device=x.device)
        return velocity_from_x0(x, condition.x0(denoiser, x, sigma), level)

    states = SOLVERS[solver](velocity, noise, [*sigmas, 0.0])
    end = next(states)
    for done, end in enumerate(states, 1):  # noqa: B007
        on_step(done, len(sigmas))
    return end


def level_of(x: Latents, sigma: float, *, cache: KVCache | None) -> Sigma:
    """The same noise level for every frame of x; with a cache the same tensor whenever it recurs, so that
    what the network makes of a level is made once."""

    def level() -> Sigma:
        return torch.full(x.shape[:2], sigma, device=x.device)

    return level() if cache is None else cache.of_level(("level", sigma, x.shape[:2], x.device), level)


def fresh_noise(like: Tensor, rng: Source) -> Tensor:
    """Standard normal numbers drawn on the CPU, wherever `like` lives."""
    if isinstance(rng, Sequence):
        drawn = torch.stack([torch.randn(like.shape[1:], generator=one) for one in rng])
    else:
        drawn = torch.randn(like.shape, generator=rng)
    return to_device(drawn, like.device).to(like.dtype)


@torch.no_grad()
def commit_chunk(denoiser: Denoiser, x0: Latents, condition: Condition) -> None:
    """Make a finished chunk part of the past: one pass at sigma 0 writes its clean keys."""
    both = ((condition.cache, condition.text), (condition.negative_cache, condition.negative))
    for cache, text in both:
        if cache is not None and text is not None:
            denoiser(x0.detach(), level_of(x0, 0.0, cache=cache), text, cache=cache, until="keys")
            cache.commit(x0.shape[1])


def rollout(
    denoiser: Denoiser,
    noise: Latents,
    text: TextTokens,
    *,
    layout: ChunkLayout | None,
    sigmas: Sequence[float],
    rng: Source = None,
    renoise: Renoise = "fresh",
    negative: TextTokens | None = None,
    guidance: float = 1.0,
    grad_at: int | None = None,
    grad_from: int = 0,
    past: KVCache | None = None,
    on_step: OnStep = silent,
) -> Latents:
    """A clip, chunk by chunk through a cache; or all at once where there is no layout.

    Args:
        noise: standard normal, for the whole clip.
        text: the prompt; its parts, if it has any, are numbered per latent frame of the clip.
        layout: how the clip is cut. None: bidirectional, one chunk of everything.
        sigmas, rng, renoise, grad_at, on_step: as in `denoise_chunk`.
        negative, guidance: move away from this prompt; 1 is off.
        grad_from: latent frames that are only rolled out, every step of them, before `grad_at` applies.
        past: what is there already, and is gone on with; the clip is what comes after it. Not with guidance.

    Raises:
        UserError: the clip does not end with a whole chunk.
    """
    if layout is None:
        whole = Condition(text, negative=negative, guidance=guidance)
        return denoise_chunk(
            denoiser, noise, whole, sigmas, rng=rng, renoise=renoise, grad_at=grad_at, on_step=on_step
        )
    layers = denoiser.transformer.config.layers
    guided = negative is not None and guidance != 1
    assert past is None or not guided, "the past is known under one text only"
    cache = KVCache(layout, layers=layers) if past is None else past
    condition = Condition(
        text,
        cache,
        negative,
        guidance,
        KVCache(layout, layers=layers) if guided else None,
    )
    finished, before = [], cache.frames
    spans = layout.spans(before + noise.shape[1])
    for span in (range(s.start - before, s.stop - before) for s in spans if s.start >= before):
        mine = condition.reading(span)
        part = noise[:, span.start : span.stop]
        judged = span.start >= grad_from
        with torch.set_grad_enabled(torch.is_grad_enabled() and judged):
            leave = grad_at if judged else None
            x0 = denoise_chunk(
                denoiser, part, mine, sigmas, rng=rng, renoise=renoise, grad_at=leave, on_step=on_step
            )
        commit_chunk(denoiser, x0, mine)
        finished.append(x0)
    return torch.cat(finished, dim=1)
