"""A bidirectional model's clip, made in one piece; and how seconds, frames and latents correspond.

Knows nothing of streams: a causal model's clip is a stream that ends, see `pipeline`.
"""

import torch

from causvid.errors import UserError
from causvid.generate.inputs import check_seed, chunk_rng, latent_shape, parts_of, sampler_of
from causvid.generate.rollout import OnStep, rollout, silent
from causvid.models.bundle import Bundle
from causvid.models.room import check_room
from causvid.models.text import check_prompt
from causvid.models.vae import Geometry
from causvid.nn.text import TextTokens
from causvid.pixels import to_uint8
from causvid.types import Frames

MAX_SECONDS = 86_400
"""A day; whoever wants more streams without an end."""


@torch.no_grad()
def whole_clip(
    bundle: Bundle,
    prompt: str,
    *,
    seconds: float | int | None,
    seed: int,
    size: tuple[int, int] | None,
    on_step: OnStep | None,
) -> Frames:
    """The clip of a prompt, all of it at once.

    Args:
        seconds: how long; None is as long as the clips the model was trained on, and no more can be.
        seed: of all noise.
        size: height and width in pixels; None is the model's own.
        on_step: told after every step how many are done, and of how many.

    Raises:
        UserError: an argument that does not fit the model.
    """
    denoiser, vae, text = parts_of(bundle)
    spec = bundle.spec
    frames = _frames(bundle, seconds)
    rng = chunk_rng(check_seed(seed), 0)
    shape = (1, latents_for(frames, vae.geometry), *latent_shape(bundle, size or spec.size))
    check_room(bundle, size=size or spec.size, frames=shape[1], layout=None)
    sigmas, renoise = sampler_of(bundle)
    device = denoiser.transformer.out.weight.device
    rows = text([check_prompt(prompt), *([] if spec.guidance == 1 else [spec.negative])]).to(device)
    with torch.inference_mode():
        latents = rollout(
            denoiser,
            torch.randn(shape, generator=rng).to(device),
            TextTokens(rows.tokens[:1], rows.lengths[:1]),
            layout=None,
            sigmas=sigmas,
            rng=rng,
            renoise=renoise,
            negative=None if spec.guidance == 1 else TextTokens(rows.tokens[1:], rows.lengths[1:]),
            guidance=spec.guidance,
            on_step=on_step or silent,
        )
        video = vae.decode(latents)
    return to_uint8(video)[0, :frames].cpu()


def _frames(bundle: Bundle, seconds: float | int | None) -> int:
    most, spec = longest(bundle), bundle.spec
    frames = frames_in(most if seconds is None else seconds, spec.fps)
    if seconds is not None and seconds > most:
        raise UserError(
            f"the model {spec.name!r} is bidirectional and makes clips of at most {most:g} "
            f"seconds, not {seconds:g}. A causal model goes on for as long as you like."
        )
    return frames


def longest(bundle: Bundle) -> float:
    """Seconds of the clips a model was trained on.

    Raises:
        UserError: a part of the model is missing.
    """
    return parts_of(bundle)[1].geometry.frames_of(bundle.spec.clip_frames) / bundle.spec.fps


def frames_in(seconds: float | int, fps: float | int) -> int:
    """The number of frames of a clip of this length, at least one.

    Raises:
        UserError: not a length between 0 and a day.
    """
    if not 0 < seconds <= MAX_SECONDS:
        raise UserError(f"seconds is {seconds:g}; it must be above 0 and at most {MAX_SECONDS} (a day).")
    return max(1, round(seconds * fps))


def latents_for(frames: int, geometry: Geometry) -> int:
    """Latent frames that decode to at least this many pixel frames."""
    return 1 + max(0, -(-(frames - geometry.first_frames) // geometry.temporal_stride))
