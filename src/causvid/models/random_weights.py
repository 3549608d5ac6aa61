"""Models of any size with random weights: nothing to look at, everything to measure.

Speed, memory and the paths of files do not depend on what the numbers are, so they can be
had without fetching anything. Every tensor has a seed of its own, from its name: on one kind
of device it is the same in memory and written shard by shard, and none is made before it is
needed.

Numbers are scaled as in a trained network, so that nothing overflows or vanishes: matrices
keep the size of what goes through them, norms are near 1, nothing is 0.
"""

import math
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from causvid.models.bundle import LARGE
from causvid.models.source import Source
from causvid.models.spec import ModelSpec
from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.nn.transformer import VideoTransformer
from causvid.weights.files import Stored, Weights

SMALL_STEP = 0.02
"""Deviation of biases, and of norms from 1."""


def draw(name: str, shape: tuple[int, ...], *, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """The numbers of one weight, in float32."""
    rng = torch.Generator(device).manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    numbers = torch.randn(shape, generator=rng, device=device)
    kind = name.rpartition(".")[2]
    if kind == "gamma" or ("norm" in name and kind == "weight"):
        return numbers.mul_(SMALL_STEP).add_(1)
    if kind == "bias":
        return numbers.mul_(SMALL_STEP)
    fan_in = shape[-1] if "modulation" in kind else math.prod(shape[1:])
    return numbers.div_(math.sqrt(fan_in))


@torch.no_grad()
def fill(module: nn.Module, *, seed: int) -> nn.Module:
    """Give a network such weights where it is, and return it ready for use; on the meta device, none."""
    for name, place in module.state_dict().items():
        if place.is_floating_point() and not place.is_meta:
            place.copy_(draw(name, tuple(place.shape), seed=seed, device=place.device))
    return module.eval().requires_grad_(False)


def random_source(spec: ModelSpec, where: Path, *, seed: int, dtype: torch.dtype) -> Source:
    """Transformer and autoencoder of a Wan model as if they had been opened: made when they are read.

    Args:
        spec: a model of Wan's kind, with the sizes of these parts.
        where: how to call it in an error.
        seed: of all numbers.
        dtype: of matrices; what is small is float32, as in the published folders.
    """
    assert spec.transformer is not None and isinstance(spec.vae, WanVAEConfig)
    with torch.device("meta"):
        networks = {"transformer": VideoTransformer(spec.transformer), "vae": WanVAE(spec.vae)}
    weights = {
        part: Weights(
            where, {name: _stored(name, like, seed, dtype) for name, like in net.state_dict().items()}
        )
        for part, net in networks.items()
    }
    return Source(spec=spec.only(weights), where=where, weights=weights)


def _stored(name: str, like: Tensor, seed: int, dtype: torch.dtype) -> Stored:
    shape = tuple(like.shape)
    kept = dtype if like.numel() >= LARGE else torch.float32
    read: Callable[[], Tensor] = lambda: draw(name, shape, seed=seed).to(kept)
    return Stored(shape, kept, read)
