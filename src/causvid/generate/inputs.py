"""What somebody asks for, checked against what a model can do; and where its noise comes from."""

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from causvid.errors import UserError
from causvid.generate.rollout import Renoise
from causvid.models.bundle import Bundle
from causvid.models.denoiser import Denoiser
from causvid.models.memory import check_size
from causvid.models.text import TextEncoder
from causvid.models.vae import VideoVAE

Transition = Literal["soft", "blend", "recache", "cut"]
"""What a new prompt does: it is read from now on; comes in over several chunks; has the past read
again under it as well; or begins anew, with nothing remembered."""
Picture: TypeAlias = UInt8[Tensor, "H W 3"] | UInt8[np.ndarray, "H W 3"]
"""0 to 255, of the video's size."""


def parts_of(bundle: Bundle) -> tuple[Denoiser, VideoVAE, TextEncoder]:
    """Network, autoencoder and text encoder.

    Raises:
        UserError: one is missing.
    """
    if bundle.denoiser is None or bundle.vae is None or bundle.text is None:
        have = ", ".join(bundle.parts()) or "nothing"
        raise UserError(
            f"the model {bundle.spec.name!r} has {have}; to make video it needs vae, text and transformer. "
            "Train its later stages first, or name a finished model."
        )
    return bundle.denoiser, bundle.vae, bundle.text


def sampler_of(bundle: Bundle) -> tuple[tuple[float, ...], Renoise]:
    """Noise levels, a student's own or those of the schedule, and how one leads to the next."""
    spec = bundle.spec
    sigmas = spec.sigmas or tuple(spec.schedule.grid(spec.steps)[:-1])
    return sigmas, "predicted" if spec.sampler_word == "euler" else spec.sampler_word


def latent_shape(bundle: Bundle, size: tuple[int, int]) -> tuple[int, int, int]:
    """Channels, height and width of the latents of a video of this size.

    Raises:
        UserError: the size is not a multiple of what one token covers.
    """
    _, vae, _ = parts_of(bundle)
    height, width = check_size(bundle.spec, size)
    stride = vae.geometry.spatial_stride
    return (vae.geometry.latent_channels, height // stride, width // stride)


def check_image(image: Any, size: tuple[int, int]) -> UInt8[Tensor, "H W 3"]:
    """The picture, a tensor or anything numpy reads, as a tensor.

    Raises:
        UserError: its shape or its type of numbers is another, or its size is not that of the video.
    """
    pixels = image if isinstance(image, Tensor) else torch.from_numpy(np.array(image))
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        kind = str(pixels.dtype).removeprefix("torch.")
        raise UserError(
            f"the image has the shape {tuple(pixels.shape)} and numbers of type {kind}; "
            "it must be height x width x 3 in uint8, 0 to 255."
        )
    have, want = ("x".join(map(str, size)) for size in (pixels.shape[:2], size))
    if have != want:
        raise UserError(
            f"the image is {have} (height x width) and the video {want}; crop and scale it first."
        )
    return pixels


def check_transition(transition: str) -> Transition:
    """The transition itself.

    Raises:
        UserError: there is no such one.
    """
    for known in get_args(Transition):
        if transition == known:
            return known
    raise UserError(f"transition is {transition!r}; accepted: {', '.join(get_args(Transition))}.")


def check_count(count: Any, name: str, *, least: int, most: int) -> int:
    """The whole number itself.

    Raises:
        UserError: it is another kind of thing, or out of bounds.
    """
    if not isinstance(count, int) or not least <= count <= most:
        raise UserError(f"{name} is {count!r}; it must be a whole number from {least} to {most}.")
    return count


def check_seed(seed: int) -> int:
    """The seed itself.

    Raises:
        UserError: it is negative or needs more than 64 bits.
    """
    if not 0 <= seed < 2**64:
        raise UserError(f"seed is {seed}; it must be a whole number from 0 to 2**64 - 1.")
    return seed


def chunk_rng(seed: int, chunk: int) -> torch.Generator:
    """The CPU source of a chunk's noise, the same wherever and after whatever the chunk is made."""
    words: Any = np.random.SeedSequence([seed, chunk]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))
