"""One contract for teacher, critic and student: noisy latents in, clean latents out."""

from typing import Any

from torch import nn

from causvid.flow.schedule import x0_from_velocity
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens
from causvid.nn.transformer import VideoTransformer
from causvid.types import Latents, Sigma


class Denoiser(nn.Module):
    """x0 as predicted by a velocity network."""

    def __init__(self, transformer: VideoTransformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, x_t: Latents, sigma: Sigma, text: TextTokens, **how: Any) -> Latents:
        """The clean latents, float32.

        Args:
            x_t: noisy latents.
            sigma: noise level of each latent frame.
            text: the prompt.
            how: `frames`, `mask`, `cache`, `until` and `ahead` of `VideoTransformer.forward`.
        """
        return x0_from_velocity(x_t, self.transformer(x_t, sigma, text, **how), sigma)

    def guided(
        self,
        x_t: Latents,
        sigma: Sigma,
        text: TextTokens,
        negative: TextTokens,
        guidance: float,
        *,
        negative_cache: KVCache | None = None,
        **how: Any,
    ) -> Latents:
        """uncond + guidance * (cond - uncond); guidance 1 is the plain prediction and costs one pass.

        Args:
            negative: the prompt to move away from.
            guidance: 1 for none.
            negative_cache: with `cache`: the past as seen under `negative`.
        """
        conditional = self(x_t, sigma, text, **how)
        if guidance == 1:
            return conditional
        if "cache" in how:
            how["cache"] = negative_cache
        unconditional = self(x_t, sigma, negative, **how)
        return unconditional + guidance * (conditional - unconditional)
