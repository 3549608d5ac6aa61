"""A video that goes on for as long as somebody asks for the next chunk.

    session = StreamingSession(bundle, "a red ball on the grass", seed=7)
    frames = session.next_chunk()              # uint8 [t H W 3]
    session.set_prompt("it snows")             # from the next chunk on

The frames of a chunk leave before the chunk is made part of the past: that pass runs
at the start of the next call, so the first frames come early. The noise of a chunk
depends on the seed and the chunk's number alone, so the same seed shows the same video
on every device, in a branch, or after a snapshot. Everything that changes is one
`SessionState`; memory does not grow once the window is full.

Knows latents, text and frames; nothing of files.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.inputs import (
    Picture,
    Transition,
    check_image,
    check_seed,
    check_transition,
    chunk_rng,
    latent_shape,
    parts_of,
    sampler_of,
)
from causvid.generate.rollout import Condition, commit_chunk, denoise_chunk
from causvid.models.bundle import Bundle
from causvid.models.text import check_prompt
from causvid.models.vae import DecoderStream
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens
from causvid.pixels import from_uint8, to_uint8
from causvid.types import Frames, Latents


@dataclass(frozen=True)
class Kept:
    """A finished chunk: its latents, and the number of its first latent frame."""

    start: int
    latents: Latents

    @property
    def stop(self) -> int:
        return self.start + self.latents.shape[1]


@dataclass
class SessionState:
    """Everything about a session that changes. `copy` shares nothing that does."""

    prompt: str
    condition: Condition
    decoder: DecoderStream
    chunks: int = 0
    """Chunks delivered."""
    frames: int = 0
    """Pixel frames delivered."""
    latent_frames: int = 0
    """Latent frames delivered; the last chunk of them may wait for its commit."""
    waiting: Kept | None = None
    """The chunk delivered last, until it is part of the past."""
    window: tuple[Kept, ...] = ()
    """The finished chunks that the next one can see."""
    change: tuple[str, Transition] | None = None
    """A prompt that takes effect with the next chunk."""

    def copy(self) -> "SessionState":
        old = self.condition
        past, negative_past = (None if c is None else c.snapshot() for c in (old.cache, old.negative_cache))
        condition = replace(old, cache=past, negative_cache=negative_past)
        return replace(self, condition=condition, decoder=self.decoder.copy())


class StreamingSession:
    """One stream of video from one model.

    Args:
        bundle: a causal model with all its parts.
        prompt: what the video shows, until `set_prompt`.
        size: height and width in pixels; None takes the size the model was trained at.
        seed: of all noise.
        image: a picture [H W 3] of that size, 0 to 255, to start from.
        layout: chunks, window and sink, where they should differ from the model's own.
        negative, guidance: a prompt to move away from, and how far; the model's own by default.

    Raises:
        UserError: the model cannot stream, or an argument does not fit it.
    """

    def __init__(
        self,
        bundle: Bundle,
        prompt: str,
        *,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        image: Picture | None = None,
        layout: ChunkLayout | None = None,
        negative: str | None = None,
        guidance: float | None = None,
    ) -> None:
        self._set_up(bundle, size=size, seed=seed, layout=layout)
        self.guidance = bundle.spec.guidance if guidance is None else float(guidance)
        guided = self.guidance != 1
        condition = Condition(
            self._encode(check_prompt(prompt)),
            self._empty_cache(),
            self._encode(bundle.spec.negative if negative is None else negative) if guided else None,
            self.guidance,
            self._empty_cache() if guided else None,
        )
        self._state = SessionState(check_prompt(prompt), condition, self.vae.decoder())
        self._image = None if image is None else self._still(check_image(image, self.size))

    def _set_up(
        self, bundle: Bundle, *, size: tuple[int, int] | None, seed: int, layout: ChunkLayout | None
    ) -> None:
        """What stays the same for the life of the session."""
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
        self._latent_shape = latent_shape(bundle, self.size)
        self.seed = check_seed(seed)
        self.device = self.denoiser.transformer.out.weight.device

    # What a caller may want to know.

    @property
    def prompt(self) -> str:
        """The prompt of the next chunk."""
        change = self._state.change
        return self._state.prompt if change is None else change[0]

    @property
    def frames(self) -> int:
        """Pixel frames delivered so far: the number of the next one."""
        return self._state.frames

    @property
    def chunks(self) -> int:
        """Chunks delivered so far."""
        return self._state.chunks

    @property
    def next_frames(self) -> int:
        """Pixel frames that the next chunk will have."""
        state = self._state
        return self.vae.geometry.frames_of(
            self.layout.next_chunk(state.latent_frames), start=state.latent_frames
        )

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that mean nothing to this model."""
        return self.text.unknown_words(prompt)

    # What a caller may do.

    @torch.no_grad()
    def next_chunk(self) -> Frames:
        """The next pixel frames, as soon as they exist."""
        self._finish_waiting()
        self._apply_change()
        state = self._state
        latents = self._make_chunk()
        frames = to_uint8(state.decoder.push(latents))[0].cpu()
        state.waiting = Kept(state.latent_frames, latents)
        state.latent_frames += latents.shape[1]
        state.chunks += 1
        state.frames += frames.shape[0]
        return frames

    def set_prompt(self, prompt: str, *, transition: str = "soft") -> int:
        """Go on with another prompt from the next chunk.

        Args:
            transition: "soft" lets the past be remembered as it was; "recache" reads the
                visible past again under the new prompt, so that it lets go of the old one.

        Returns:
            The number of the first pixel frame made from it.

        Raises:
            UserError: an empty prompt or an unknown transition.
        """
        self._state.change = (check_prompt(prompt), check_transition(transition))
        return self._state.frames

    def snapshot(self) -> SessionState:
        """A copy of where the session stands, to return to with `restore`."""
        return self._state.copy()

    def restore(self, state: SessionState) -> None:
        """Go back (or forth) to a snapshot of this session or of a fork; it can be used again."""
        self._state = state.copy()

    def fork(self) -> "StreamingSession":
        """A second session that goes on from here by itself."""
        other = object.__new__(StreamingSession)
        other.__dict__.update(self.__dict__)
        other._state = self._state.copy()
        return other

    # How a chunk comes about.

    def _make_chunk(self) -> Latents:
        state = self._state
        count = self.layout.next_chunk(state.latent_frames)
        if state.chunks == 0 and self._image is not None:
            return self._image
        rng = chunk_rng(self.seed, state.chunks)
        noise = torch.randn((1, count, *self._latent_shape), generator=rng).to(self.device)
        return denoise_chunk(
            self.denoiser, noise, state.condition, self.sigmas, rng=rng, renoise=self.renoise
        )

    def _finish_waiting(self) -> None:
        """Make the chunk delivered last part of the past, under the prompt it was made from."""
        state = self._state
        if state.waiting is None:
            return
        commit_chunk(self.denoiser, state.waiting.latents, state.condition)
        state.window = self._visible((*state.window, state.waiting))
        state.waiting = None

    def _visible(self, chunks: tuple[Kept, ...]) -> tuple[Kept, ...]:
        """Those with a frame that is not forgotten yet."""
        layout, end = self.layout, chunks[-1].stop
        if layout.window_frames is None:
            return chunks
        oldest = end - (layout.window_frames - layout.sink_frames)
        return tuple(c for c in chunks if c.stop > oldest or c.start < layout.sink_frames)

    def _apply_change(self) -> None:
        state = self._state
        if state.change is None:
            return
        (state.prompt, transition), state.change = state.change, None
        state.condition = replace(state.condition, text=self._encode(state.prompt))
        if transition == "recache":
            self._recache()

    def _recache(self) -> None:
        """Read the visible past again, chunk by chunk and causally, under the present text.

        Every chunk keeps its absolute frame number. Before the first frame has been
        forgotten, the same text gives the same cache; later, what deeper layers
        remembered of forgotten frames is gone.
        """
        state = self._state
        fresh = None if state.condition.negative_cache is None else self._empty_cache()
        state.condition = replace(state.condition, cache=self._empty_cache(), negative_cache=fresh)
        for chunk in state.window:
            for cache in (state.condition.cache, state.condition.negative_cache):
                if cache is not None:
                    cache.skip_to(chunk.start)
            commit_chunk(self.denoiser, chunk.latents, state.condition)

    def _empty_cache(self) -> KVCache:
        return KVCache(self.layout, layers=self.denoiser.transformer.config.layers)

    @torch.no_grad()
    def _encode(self, prompt: str) -> TextTokens:
        return self.text([prompt]).to(device=self.device)

    @torch.no_grad()
    def _still(self, image: UInt8[Tensor, "H W 3"]) -> Latents:
        """A picture as the first chunk: a clip in which nothing moves, encoded."""
        count = self.vae.geometry.frames_of(self.layout.first)
        clip = from_uint8(image[None, None].repeat(1, count, 1, 1, 1))
        return self.vae.encode(clip.to(self.device))
