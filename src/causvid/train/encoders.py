"""The two networks that clips and captions of a collection go through, without the one they are for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.data.collection.survey import ClipConfig
from causvid.errors import UserError
from causvid.models.bundle import fill_bundle, open_model
from causvid.models.text import TextEncoder, TinyText
from causvid.models.text_umt5 import UMT5Text
from causvid.models.vae_tiny import TinyVAE
from causvid.models.vae_wan import WanVAE


@dataclass(frozen=True)
class Encoders:
    """An autoencoder and a text encoder."""

    vae: TinyVAE | WanVAE
    text: TextEncoder
    negative: str
    """The prompt that the model's guidance moves away from."""

    @property
    def device(self) -> torch.device:
        return next(self.vae.parameters()).device

    @property
    def rows(self) -> int:
        """Of every prompt, padding included."""
        assert isinstance(self.text, (TinyText, UMT5Text))
        return self.text.config.rows if isinstance(self.text, TinyText) else self.text.rows

    def latent_shape(self, clip: ClipConfig) -> tuple[int, int, int, int]:
        """Latent frames, channels, height and width of a clip.

        Raises:
            UserError: clips of this length or size cannot be encoded whole.
        """
        geometry = self.vae.geometry
        frames = geometry.latents_of(clip.frames)
        if geometry.frames_of(frames) != clip.frames:
            fitting = [str(n) for n in map(geometry.frames_of, (frames, frames + 1)) if n]
            raise UserError(
                f"clip.frames is {clip.frames}; this autoencoder takes whole clips of {' or '.join(fitting)}."
            )
        return (frames, geometry.latent_channels, *geometry.latent_size(*clip.size))

    def other_prompts(self) -> Mapping[str, Float[Tensor, "r e"]]:
        """The rows of the prompts that no clip has: the empty one and the negative one."""
        text = self.text(["", self.negative])
        rows = [row[:n] for row, n in zip(text.tokens.cpu(), text.lengths.tolist(), strict=True)]
        return {"empty": rows[0], "negative": rows[1]}


def load_encoders(vae: str | Path, text: str | Path, *, device: torch.device) -> Encoders:
    """Autoencoder and text encoder of two models, or of one, and nothing else of them.

    Raises:
        UserError: a model lacks its part.
    """
    made: dict[str, Any] = {}
    for part, name in (("vae", vae), ("text", text)):
        source = open_model(name).only([part])
        if part not in source.parts:
            what = "autoencoder" if part == "vae" else "text encoder"
            raise UserError(
                f"the model {str(name)!r} has no {what}; let {part} in the recipe name one that has."
            )
        made[part] = getattr(fill_bundle(source, device=device, dtype=torch.float32), part)
    if isinstance(made["text"], UMT5Text):  # rows of a data set belong in its shards
        made["text"] = made["text"].without_cache()
    return Encoders(made["vae"], made["text"], source.spec.negative)
