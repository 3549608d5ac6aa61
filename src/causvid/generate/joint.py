"""A finished chunk becomes past in the same pass that takes the first step of the next one.

Each sees what it would see alone: the finished chunk its past and itself, at sigma 0; the
next one that chunk's clean keys too, at its own level. The numbers are those of two passes
up to rounding. Where a chunk is a few tokens a pass costs mostly what does not depend on
their number, and this saves one of five.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.generate.rollout import Condition
from causvid.models.denoiser import Denoiser
from causvid.types import Latents

Following = Float[Tensor, "b next c h w"]
"""Latents of a chunk that may have another length."""

MOST_TOKENS = 512
"""Of both chunks. With more, products are efficient anyway, and gathering the past outweighs the gain."""


def can_join(denoiser: Denoiser, finished: Latents, following: int, condition: Condition) -> bool:
    """Whether the chunk after a finished one can begin in the pass that commits it.

    Args:
        finished: the chunk that is not yet part of the past.
        following: latent frames of the next one.
    """
    _, rows, columns = denoiser.transformer.config.patch
    tokens = finished.shape[-2] * finished.shape[-1] // (rows * columns)
    small = (finished.shape[1] + following) * tokens <= MOST_TOKENS
    cache = condition.cache
    return small and cache is not None and cache.takes_two(finished.shape[1], following)


@torch.no_grad()
def commit_and_begin(
    denoiser: Denoiser, finished: Latents, noise: Following, condition: Condition, *, sigma: float
) -> Following:
    """Make a finished chunk part of the past, and predict the next one's clean latents.

    Args:
        finished: the clean latents of a chunk made under the same condition.
        noise: the next chunk at its first level.
        sigma: that level.
    """
    cache, negative_cache = condition.cache, condition.negative_cache
    assert cache is not None
    count, ahead = finished.shape[1], noise.shape[1]

    def levels() -> Tensor:
        level = noise.new_zeros(noise.shape[0], count + ahead)
        level[:, count:] = sigma
        return level

    both, level = torch.cat([finished, noise], 1), cache.of_level(("levels", sigma, count, ahead), levels)
    text, negative = condition.text, condition.negative
    if negative is None or negative_cache is None:
        x0 = denoiser(both, level, text, cache=cache, ahead=ahead)
    else:
        x0 = denoiser.guided(
            both,
            level,
            text,
            negative,
            condition.guidance,
            cache=cache,
            negative_cache=negative_cache,
            ahead=ahead,
        )
        negative_cache.commit(count)
    cache.commit(count)
    return x0[:, count:]
