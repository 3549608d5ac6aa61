"""What is measured chunk by chunk: network and decoder, with their weights or with random ones.

Speed does not depend on what the numbers are, so a network of any known size can be measured
with nothing fetched. Whatever the model, it is run as a causal few-step student: with its own
chunks and noise levels if it is one, else with those of Self-Forcing.

Knows nothing of clocks.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.models.bundle import load_bundle, open_model
from causvid.models.denoiser import Denoiser
from causvid.models.preview import with_preview
from causvid.models.random_weights import fill
from causvid.models.spec import ModelSpec
from causvid.models.vae import DecoderStream, Geometry
from causvid.models.vae_taehv import TAEHVConfig, TAEHVDecoder
from causvid.models.vae_tiny import TinyVAE
from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.models.wan import PRESETS, released
from causvid.nn.transformer import VideoTransformer

Decoding = Literal["full", "wan", "tiny", "none"]
"""Which decoder: the model's own, Wan's, the small one for Wan's latents, or none."""
STUDENT = "self-forcing-wan-1.3b"
"""Whose chunks and noise levels a model gets that has none."""


@dataclass(frozen=True)
class Subject:
    """A network that makes chunks and a decoder that shows them, on one device."""

    spec: ModelSpec
    denoiser: Denoiser
    geometry: Geometry
    decoder: nn.Module | None
    """Has `decoder()`, which begins a stream; None shows nothing."""
    random: bool
    """Whether the weights are."""

    @property
    def device(self) -> torch.device:
        return self.denoiser.transformer.out.weight.device

    def stream(self) -> DecoderStream | None:
        """The beginning of a stream of pictures."""
        return None if self.decoder is None else self.decoder.decoder()  # type: ignore[operator]


def as_student(spec: ModelSpec, *, window: int | None, sink: int, steps: int | None) -> ModelSpec:
    """The same model with chunks, a window and few noise levels, without guidance.

    Args:
        window, sink: in latent frames; None keeps the model's window.
        steps: how many noise levels; None keeps the model's own.

    Raises:
        UserError: sink and chunk do not fit into the window, or there are no steps.
    """
    own = spec.layout or PRESETS[STUDENT].layout
    assert own is not None
    layout = ChunkLayout(
        frames_per_chunk=own.frames_per_chunk,
        first_chunk_frames=own.first_chunk_frames,
        window_frames=window or own.window_frames,
        sink_frames=sink,
        positions="windowed" if sink else "absolute",
    )
    sigmas = spec.sigmas or PRESETS[STUDENT].sigmas
    if steps is not None:
        sigmas = tuple(spec.schedule.grid(steps)[:-1])
    return replace(spec, layout=layout, sigmas=sigmas, sampler="fresh", guidance=1.0)


def random_subject(
    name: str, *, dtype: torch.dtype, device: torch.device, decoding: Decoding, **student: Any
) -> Subject:
    """A model of these sizes, made where it is to run; of a known model no file is needed.

    Args:
        student: as in `as_student`.

    Raises:
        UserError: no such model, no such decoder for it, or a window that does not fit.
    """
    spec = released(name) if name in PRESETS else open_model(name).spec
    if spec.transformer is None:
        raise UserError(f"the model {spec.name!r} has no transformer; there is nothing to measure.")
    with torch.device("meta"):
        network = VideoTransformer(spec.transformer).cast(dtype)
    fill(network.to_empty(device=device), seed=0)
    with device:
        decoder = _random_decoder(spec, decoding)
    if decoder is not None:
        fill(decoder, seed=1)
    if isinstance(decoder, WanVAE | TAEHVDecoder):
        decoder.to(dtype)
    spec = as_student(spec, **student)
    return Subject(spec, Denoiser(network), _geometry(spec), decoder, random=True)


def _random_decoder(spec: ModelSpec, decoding: Decoding) -> nn.Module | None:
    _check_fit(spec, decoding)
    if decoding == "none" or spec.vae is None:
        return None
    if isinstance(spec.vae, WanVAEConfig):
        return TAEHVDecoder(TAEHVConfig()) if decoding == "tiny" else WanVAE(spec.vae)
    return TinyVAE(spec.vae)


def loaded_subject(
    name: str,
    *,
    base: str | None,
    dtype: torch.dtype,
    device: torch.device,
    decoding: Decoding,
    **student: Any,
) -> Subject:
    """A model from its files, its text encoder left asleep.

    Args:
        student: as in `as_student`.

    Raises:
        UserError: no such model, no such decoder for it, or a window that does not fit.
    """
    bundle = load_bundle(name, base=base, device=device, dtype=dtype)
    if bundle.denoiser is None:
        raise UserError(f"the model {bundle.spec.name!r} has no transformer; there is nothing to measure.")
    _check_fit(bundle.spec, decoding)
    decoder = None if decoding == "none" else bundle.vae
    if decoding == "tiny":
        decoder = with_preview(bundle.vae, "tiny", beside=open_model(name, base=base).where, dtype=dtype)
    spec = as_student(bundle.spec, **student)
    return Subject(spec, bundle.denoiser, _geometry(spec), decoder, random=False)  # type: ignore[arg-type]


def _geometry(spec: ModelSpec) -> Geometry:
    config = spec.vae or WanVAEConfig()
    return config.geometry


def _check_fit(spec: ModelSpec, decoding: Decoding) -> None:
    """Wan's decoders show latents of Wan's kind.

    Raises:
        UserError: this model's are of another.
    """
    if decoding in ("wan", "tiny") and not isinstance(spec.vae, WanVAEConfig):
        raise UserError(
            f"vae is {decoding!r}, but the model {spec.name!r} has no latents of Wan's; use full, or none."
        )
