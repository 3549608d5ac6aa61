"""What stays the same for the life of a stream: the model, and how it is asked to stream.

Knows nothing of what happens in the stream; that is a `SessionState`.
"""

import torch
from jaxtyping import UInt8
from torch import Tensor

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.inputs import check_seed, chunk_rng, latent_shape, parts_of, sampler_of
from causvid.generate.rollout import Condition
from causvid.models.bundle import Bundle
from causvid.models.room import check_room
from causvid.models.text import check_prompt
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens
from causvid.nn.transfer import to_device
from causvid.pixels import from_uint8
from causvid.types import Latents


class Setting:
    """A model with its layout, sampler, picture size and seed, all checked.

    Raises:
        UserError: the model cannot stream, or something does not fit it.
    """

    def __init__(
        self, bundle: Bundle, *, size: tuple[int, int] | None, seed: int, layout: ChunkLayout | None
    ) -> None:
        self.bundle, self.spec = bundle, bundle.spec
        self.denoiser, self.vae, self.text = parts_of(bundle)
        chosen = layout or self.spec.layout
        if chosen is None:
            raise UserError(
                f"the model {self.spec.name!r} is bidirectional: it makes whole clips and cannot stream. "
                "Use a causal model, make one clip with `generate`, or say a layout."
            )
        self.layout = chosen
        self.sigmas, self.renoise = sampler_of(bundle)
        self.size = self.spec.size if size is None else size
        self.latent_shape = latent_shape(bundle, self.size)
        check_room(bundle, size=self.size, layout=chosen)
        self.seed = check_seed(seed)
        self.device = self.denoiser.transformer.out.weight.device

    @property
    def most_past(self) -> int:
        """Latent frames that a chunk can see before it, or of a model that sees all: that it is used to."""
        layout = self.layout
        if layout.in_segments:
            return layout.overlap
        return (layout.window_frames or self.spec.clip_frames) - layout.frames_per_chunk

    def condition(self, prompt: str, *, negative: str | None, guidance: float | None) -> Condition:
        """What the first chunk is generated from; negative prompt and guidance are the model's by default."""
        guidance = self.spec.guidance if guidance is None else float(guidance)
        text = self.encode(check_prompt(prompt))
        if guidance == 1:
            return Condition(text, self._past())
        other = self.encode(self.spec.negative if negative is None else negative)
        return Condition(text, self._past(), other, guidance, self._past())

    def _past(self) -> KVCache:
        return KVCache(self.layout, layers=self.denoiser.transformer.config.layers)

    @torch.no_grad()
    def encode(self, prompt: str) -> TextTokens:
        """A prompt as the network reads it."""
        return self.text([prompt]).to(device=self.device)

    @torch.no_grad()
    def still(self, image: UInt8[Tensor, "H W 3"]) -> Latents:
        """A picture as the first chunk: a clip in which nothing moves, encoded."""
        count = self.vae.geometry.frames_of(self.layout.first)
        clip = from_uint8(image[None, None].repeat(1, count, 1, 1, 1))
        return self.vae.encode(clip.to(self.device))

    def noise(self, chunk: int, frames: int) -> tuple[Latents, torch.Generator]:
        """What a chunk of so many latent frames is made from, and where its further noise comes from."""
        rng = chunk_rng(self.seed, chunk)
        return to_device(torch.randn((1, frames, *self.latent_shape), generator=rng), self.device), rng
