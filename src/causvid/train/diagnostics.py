"""Numbers that tell early whether distillation goes wrong.

A reverse-KL loss says nothing about convergence. What does: whether clips still move,
whether they still differ from one another, how far latents spread, and at which noise
levels the critic falls behind.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

LEVELS = (0.25, 0.5, 0.75)
"""Borders between buckets of noise levels."""
SIDE = 32
"""Pictures are compared at most this large."""


def by_level(error: Float[Tensor, " b"], sigma: Float[Tensor, " b"]) -> dict[str, Tensor]:
    """The mean error in each bucket of noise levels that has samples: "level_0.25" and so on."""
    if error.is_meta:
        return {}
    bucket = torch.bucketize(sigma.detach(), torch.tensor(LEVELS, device=sigma.device)).tolist()
    places = {
        top: [i for i, n in enumerate(bucket) if n == number] for number, top in enumerate((*LEVELS, 1.0))
    }
    error = error.detach().float()
    return {f"level_{top:g}": error[chosen].mean() for top, chosen in places.items() if chosen}


def of_clips(clips: UInt8[Tensor, "n t H W 3"]) -> Mapping[str, float]:
    """Of what a preview shows, 0 to 255: how much pictures change, how much clips differ, how they spread.

    motion: mean step from a picture to the next. diversity: mean distance of two clips, picture by
    picture; 0 where all are the same. spread: standard deviation of all pixels.
    """
    small = clips[:, :, :: max(1, clips.shape[2] // SIDE), :: max(1, clips.shape[3] // SIDE)].float()
    flat = small.flatten(1)
    n = len(flat)
    apart = torch.cdist(flat, flat, p=1).sum() / (flat.shape[1] * n * (n - 1)) if n > 1 else torch.zeros(())
    motion = small.diff(dim=1).abs().mean() if small.shape[1] > 1 else torch.zeros(())
    return {"motion": float(motion), "diversity": float(apart), "spread": float(small.std())}
