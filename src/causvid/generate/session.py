"""A video that goes on for as long as somebody asks for the next chunk.

    session = StreamingSession(bundle, "a red ball on the grass", seed=7, history=16)
    frames = session.next_chunk()              # uint8 [t H W 3]
    session.set_prompt("it snows")             # from the next chunk on
    other = session.branch(3)                  # how else it could have gone on

The frames of a chunk leave before the chunk is made part of the past: that pass runs
at the start of the next call, so the first frames come early. The noise of a chunk
depends on the seed and the chunk's number alone, so the same seed shows the same video
on every device, in a branch, or after a snapshot. Everything that changes is one
`SessionState`; memory does not grow once the window is full.

Knows latents, text and frames; nothing of files.
"""

from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.inputs import (
    Picture,
    check_count,
    check_image,
    check_seed,
    check_transition,
    chunk_rng,
    latent_shape,
    parts_of,
    sampler_of,
)
from causvid.generate.past import begin_with, commit_waiting, empty_past, read_again
from causvid.generate.prompts import Blend, Change
from causvid.generate.rollout import Condition, denoise_chunk
from causvid.generate.state import Kept, SessionState
from causvid.generate.stopwatch import Stopwatch
from causvid.models.bundle import Bundle
from causvid.models.text import check_prompt
from causvid.nn.text import TextTokens
from causvid.pixels import from_uint8, to_uint8
from causvid.types import Frames, Latents

MOST_HISTORY = 100_000


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
        history: how many of the last chunks one can go back to; each costs the memory of a window.

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
        history: int = 0,
    ) -> None:
        self._set_up(bundle, size=size, seed=seed, layout=layout)
        self.history = check_count(history, "history", least=0, most=MOST_HISTORY)
        self.guidance = bundle.spec.guidance if guidance is None else float(guidance)
        guided = self.guidance != 1
        condition = Condition(
            self._encode(check_prompt(prompt)),
            empty_past(self.layout, self.denoiser),
            self._encode(bundle.spec.negative if negative is None else negative) if guided else None,
            self.guidance,
            empty_past(self.layout, self.denoiser) if guided else None,
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
        self._clock = Stopwatch(self.device)
        self.timing = self._clock.seconds

    # What a caller may want to know.

    @property
    def fps(self) -> float:
        """Pixel frames of a second."""
        return self.spec.fps

    @property
    def prompt(self) -> str:
        """The prompt of the next chunk."""
        change = self._state.change
        return self._state.prompt if change is None else change.prompt

    @property
    def frames(self) -> int:
        """Pixel frames delivered so far: the number of the next one."""
        return self._state.frames

    @property
    def chunks(self) -> int:
        """Chunks delivered so far: the number of the next one."""
        return self._state.chunks

    @property
    def next_frames(self) -> int:
        """Pixel frames that the next chunk will have."""
        start = self._next_start
        return self.vae.geometry.frames_of(self.layout.next_chunk(start), start=start)

    @property
    def kept(self) -> range:
        """The numbers of the chunks one can `rewind` to or `branch` from."""
        return self._state.kept

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that mean nothing to this model."""
        return self.text.unknown_words(prompt)

    # What a caller may do.

    @torch.no_grad()
    def next_chunk(self) -> Frames:
        """The next pixel frames, as soon as they exist.

        Afterwards `timing` says the seconds they took: "text" (with what was encoded since the
        chunk before), "denoise", "commit" (of the chunk before) and "decode".
        """
        state, clock = self._state, self._clock
        state.remember(most=self.history)
        with clock("commit"):
            self._settle_past()
        with clock("denoise"):
            latents = self._make_chunk()
        with clock("decode"):
            frames = to_uint8(state.decoder.push(latents))[0].cpu()
        state.waiting = Kept(state.latent_frames, latents)
        state.latent_frames += latents.shape[1]
        state.chunks += 1
        state.frames += frames.shape[0]
        self.timing, self._clock = clock.seconds, Stopwatch(self.device)
        return frames

    def set_prompt(self, prompt: str, *, transition: str = "soft", over: int = 4) -> int:
        """Go on with another prompt from the next chunk.

        Args:
            transition: "soft" lets the past be remembered as it was; "blend" does so too, and mixes
                the old text with the new one; "recache" reads the visible past again under the new
                prompt, so that it lets go of the old one; "cut" forgets the past: another shot begins.
            over: chunks that a blend takes; the last of them is made from the new text alone.

        Returns:
            The number of the first pixel frame made from it.

        Raises:
            UserError: an empty prompt, an unknown transition, or a blend over less than one chunk.
        """
        change = check_prompt(prompt), check_transition(transition)
        over = check_count(over, "over", least=1, most=10_000)
        self._state.change = Change(change[0], self._encode(change[0]), change[1], over)
        return self._state.frames

    def rewind(self, chunk: int) -> None:
        """Go back to where this chunk was about to be made, from the prompt it was made from.

        Going on then shows the same again, bit for bit. The chunks from there on are no longer kept.

        Raises:
            UserError: the chunk is not kept.
        """
        self._state = self._state.back_at(chunk)

    def branch(self, chunk: int) -> "StreamingSession":
        """A second session that stands where `rewind` would go; this one stays where it is.

        Raises:
            UserError: the chunk is not kept.
        """
        return self._at(self._state.back_at(chunk))

    def snapshot(self) -> SessionState:
        """A copy of where the session stands, to return to with `restore`."""
        return self._state.copy()

    def restore(self, state: SessionState) -> None:
        """Go back (or forth) to a snapshot of this session or of a fork; it can be used again."""
        self._state = state.copy()

    def fork(self) -> "StreamingSession":
        """A second session that goes on from here by itself."""
        return self._at(self._state.copy())

    def _at(self, state: SessionState) -> "StreamingSession":
        other = object.__new__(StreamingSession)
        other.__dict__.update(self.__dict__)
        other._state, other._clock = state, Stopwatch(self.device)
        return other

    # How a chunk comes about.

    @property
    def _next_start(self) -> int:
        """The number of the next chunk's first latent frame."""
        change = self._state.change
        return 0 if change is not None and change.transition == "cut" else self._state.latent_frames

    def _settle_past(self) -> None:
        """What the next chunk sees: the chunk before it, and what a change of prompt does to it."""
        state, change = self._state, self._state.change
        transition = None if change is None else change.transition
        if transition not in ("recache", "cut"):
            commit_waiting(state, self.denoiser)
        self._settle_text()
        if transition == "recache":
            read_again(state, self.denoiser)
        elif transition == "cut":
            begin_with(state, self.denoiser, ())
            state.decoder = self.vae.decoder()
        state.change = None

    def _settle_text(self) -> None:
        """What the next chunk reads."""
        state, change, text = self._state, self._state.change, self._state.condition.text
        if change is not None:
            state.prompt = change.prompt
            blended = change.transition == "blend"
            text, state.blend = (
                (text, Blend(text, change.text, change.over)) if blended else (change.text, None)
            )
        if state.blend is not None:
            text, state.blend = state.blend.step()
        state.condition = replace(state.condition, text=text)

    def _make_chunk(self) -> Latents:
        state = self._state
        if state.chunks == 0 and self._image is not None:
            return self._image
        count = self.layout.next_chunk(state.latent_frames)
        rng = chunk_rng(self.seed, state.chunks)
        noise = torch.randn((1, count, *self._latent_shape), generator=rng).to(self.device)
        return denoise_chunk(
            self.denoiser, noise, state.condition, self.sigmas, rng=rng, renoise=self.renoise
        )

    @torch.no_grad()
    def _encode(self, prompt: str) -> TextTokens:
        with self._clock("text"):
            return self.text([prompt]).to(device=self.device)

    @torch.no_grad()
    def _still(self, image: UInt8[Tensor, "H W 3"]) -> Latents:
        """A picture as the first chunk: a clip in which nothing moves, encoded."""
        count = self.vae.geometry.frames_of(self.layout.first)
        clip = from_uint8(image[None, None].repeat(1, count, 1, 1, 1))
        return self.vae.encode(clip.to(self.device))
