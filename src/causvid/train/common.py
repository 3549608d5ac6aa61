"""What the stages from the teacher on have in common: frozen parts, previews, scores."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from causvid.data import worlds
from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.rollout import Renoise, rollout
from causvid.models.bundle import Bundle
from causvid.models.denoiser import Denoiser
from causvid.models.spec import ModelSpec
from causvid.models.text import TextEncoder, TinyText
from causvid.models.vae_tiny import TinyVAE
from causvid.models.vae_wan import WanVAE
from causvid.nn.text import TextTokens
from causvid.nn.transformer import TransformerConfig, VideoTransformer
from causvid.pixels import to_uint8
from causvid.train.captions import CaptionFile
from causvid.train.clips import EncodedClips, EncodedPrompts, Prompts, window_prompts
from causvid.train.own_videos import OwnVideos
from causvid.train.stage import Preview
from causvid.types import Latents, Sigma

PREVIEWED = 4
"""Clips of somebody's own videos that a preview shows: theirs may be large."""


@dataclass(frozen=True)
class Parts:
    """The autoencoder and the text encoder a denoiser is trained with; both stay as they are."""

    vae: TinyVAE | WanVAE
    text: TextEncoder | None
    """None where captions are encoded already."""
    spec: ModelSpec
    """Of the model the autoencoder came from, with size and rate of somebody's own videos."""
    history: Mapping[str, Mapping[str, Any]]
    """Provenance of everything the inputs were made of."""
    own: OwnVideos | CaptionFile | None = None
    """Somebody's videos or captions, where they take the place of the rendered domain."""

    @staticmethod
    def of(
        inputs: Mapping[str, Bundle], clips: EncodedClips | OwnVideos | CaptionFile | None = None
    ) -> "Parts":
        """From [inputs] `vae` and `text`, or from `teacher`, which has both.

        Raises:
            UserError: a part is missing, or `clips` were encoded with others.
        """
        vae = inputs.get("vae", inputs.get("teacher"))
        text = inputs.get("text", inputs.get("teacher"))
        eyes, ears = (None if vae is None else vae.vae), (None if text is None else text.text)
        own = None if isinstance(clips, EncodedClips) else clips
        ours = isinstance(eyes, TinyVAE) and isinstance(ears, TinyText)
        if vae is None or not isinstance(eyes, (TinyVAE, WanVAE)) or (own is None and not ours):
            raise UserError(
                "[inputs] must name a model with an autoencoder (vae) and one with a text encoder (text), "
                "both of our own kind; with clips that causvid encode made of videos, any will do."
            )
        history = {
            part: facts for bundle in inputs.values() for part, facts in bundle.spec.provenance.items()
        }
        spec = replace(vae.spec, text=None if text is None else text.spec.text)
        if own is not None:
            own.check(eyes, ears)
        if isinstance(own, OwnVideos):
            spec = replace(spec, size=own.facts.size, fps=own.facts.fps)
        return Parts(eyes, ears, spec, history, own)

    @property
    def device(self) -> torch.device:
        return next(self.vae.parameters()).device

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """The networks among them."""
        named = {"vae": self.vae, "text": self.text}
        return {name: part for name, part in named.items() if isinstance(part, nn.Module)}

    def read(self, prompts: Prompts | EncodedPrompts, *, drop: torch.Tensor | None = None) -> TextTokens:
        """The rows of prompts; where `drop` is set, of the empty one."""
        if isinstance(prompts, EncodedPrompts):
            return prompts.encode(self.text, drop=drop).to(self.device)
        assert isinstance(self.text, TinyText)
        return prompts.encode(self.text, drop=drop)

    def negative(self, count: int) -> TextTokens:
        """The prompt that guidance moves away from; of our own models the empty one."""
        if self.own is not None:
            return self.own.negative(count).to(self.device)
        assert self.text is not None
        return self.text([""] * count)

    def latent_shape(self, count: int, frames: int) -> tuple[int, int, int, int, int]:
        height, width = self.vae.geometry.latent_size(*self.spec.size)
        return count, frames, self.vae.geometry.latent_channels, height, width

    def noise(self, count: int, frames: int, rng: torch.Generator) -> Latents:
        """Drawn on the CPU, so that every device sees the same."""
        return torch.randn(self.latent_shape(count, frames), generator=rng).to(self.device)

    def preview(
        self,
        denoiser: Denoiser,
        rng: torch.Generator,
        *,
        frames: int,
        sigmas: Sequence[float],
        layout: ChunkLayout | None,
        renoise: Renoise,
        guidance: float = 1.0,
        count: int = 12,
    ) -> Preview:
        """Clips of unpicked held-out prompts, or of the first captions of somebody's own videos."""
        if self.own is not None:
            count = min(PREVIEWED, count)
            prompts: Prompts | EncodedPrompts = self.own.ordered_prompts(count, first=0)
        else:
            prompts = heldout_prompts(count, frames, rng)
        latents = rollout(
            denoiser,
            self.noise(count, frames, rng),
            self.read(prompts),
            layout=layout,
            sigmas=sigmas,
            rng=rng,
            renoise=renoise,
            negative=self.negative(count),
            guidance=guidance,
        )
        return Preview(to_uint8(self.vae.decode(latents)).cpu(), prompts.labels)

    def bundle(self, denoiser: Denoiser, *, name: str, provenance: Mapping[str, Any], **spec: Any) -> Bundle:
        """A complete model around `denoiser`; `spec` are further fields of `ModelSpec`."""
        described = ModelSpec(
            name=name,
            fps=worlds.FPS if self.own is None else self.spec.fps,
            size=self.spec.size,
            vae=self.vae.config,
            text=self.spec.text,
            negative=self.spec.negative,
            transformer=denoiser.transformer.config,
            provenance={k: dict(v) for k, v in self.history.items()},
            **spec,
        ).with_provenance(name, provenance)
        return Bundle(spec=described, vae=self.vae, text=self.text, denoiser=denoiser)


def heldout_prompts(count: int, frames: int, rng: torch.Generator) -> Prompts:
    """Prompts of the rendered domain that no training sees."""
    seeds = torch.randint(2**40, (count,), generator=rng).tolist()
    scenes = [worlds.scene(s, split="heldout", change_probability=0.3, frames=4 * frames) for s in seeds]
    return window_prompts(scenes, [0] * count, frames, rng)


def fresh_denoiser(config: TransformerConfig, start: Bundle | None = None) -> Denoiser:
    """A new denoiser, with the weights of another model of the same sizes if one is given.

    Raises:
        UserError: the other model has other sizes.
    """
    denoiser = Denoiser(VideoTransformer(config))
    if start is not None:
        if start.denoiser is None or start.spec.transformer is None:
            raise UserError(f"the model {start.spec.name!r} has no transformer to start from.")
        theirs, ours = asdict(start.spec.transformer), asdict(config)
        if theirs != ours:
            differing = [key for key in ours if theirs[key] != ours[key]]
            has, asked = (", ".join(f"{k} {sizes[k]}" for k in differing) for sizes in (theirs, ours))
            raise UserError(
                f"the model {start.spec.name!r} has other sizes than what is trained here: {has}, "
                f"not {asked}. Start from a model of these sizes, or train a recipe of its size."
            )
        denoiser.load_state_dict(start.denoiser.state_dict())
    return denoiser


def velocity_of(
    denoiser: Denoiser,
    x_t: Latents,
    sigma: Sigma,
    text: TextTokens,
    *,
    clean: Latents | None = None,
    layout: ChunkLayout | None = None,
) -> Latents:
    """The velocity at a whole noisy clip: bidirectional, or teacher-forced where there is a layout.

    Teacher forcing runs a clean and the noisy copy in one sequence; every noisy chunk
    sees the clean chunks before it and itself.

    Args:
        clean: the clip that serves as past; needed with a layout.
        layout: how the clip is cut. None: all frames see all.
    """
    if layout is None:
        return denoiser.transformer(x_t, sigma, text)
    assert clean is not None, "teacher forcing needs the clean clip"
    frames = x_t.shape[1]
    both = torch.cat([clean, x_t], dim=1)
    levels = torch.cat([torch.zeros_like(sigma), sigma], dim=1)
    if text.parts is not None:
        text = text.with_parts(text.parts.repeat(1, 2))
    numbers = torch.arange(frames).repeat(2)
    mask = layout.teacher_forcing_mask(frames)
    return denoiser.transformer(both, levels, text, frames=numbers, mask=mask)[:, frames:]


def guided_velocity(
    denoiser: Denoiser,
    x_t: Latents,
    sigma: Sigma,
    text: TextTokens,
    negative: TextTokens,
    guidance: float,
    **how: Any,
) -> Latents:
    """`velocity_of` with guidance; 1 is none and costs one pass."""
    conditional = velocity_of(denoiser, x_t, sigma, text, **how)
    if guidance == 1:
        return conditional
    unconditional = velocity_of(denoiser, x_t, sigma, negative, **how)
    return unconditional + guidance * (conditional - unconditional)


def per_chunk(values: torch.Tensor, layout: ChunkLayout, frames: int) -> torch.Tensor:
    """One value per chunk [b chunks] spread over the latent frames of a clip [b f]."""
    counts = torch.tensor([len(span) for span in layout.spans(frames)])
    return values.repeat_interleave(counts, dim=1)
