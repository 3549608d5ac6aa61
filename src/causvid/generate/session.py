"""A video that goes on for as long as somebody asks for the next chunk.

    session = StreamingSession(bundle, "a red ball on the grass", seed=7, history=16)
    frames = session.next_chunk()              # uint8 [t H W 3]
    session.set_prompt("it snows")             # from the next chunk on
    other = session.branch(0)                  # how else it could have gone on

The frames of a chunk leave before the chunk is made part of the past: that pass runs
at the start of the next call, so the first frames come early. The noise of a chunk
depends on the seed and the chunk's number alone, so the same seed shows the same video
on every device, in a branch, or after a snapshot. Everything that changes is one
`SessionState`; memory does not grow once the window is full.

Knows latents, text and frames; nothing of files. How a chunk is made is in `chunk`.
"""

from collections.abc import Callable
from functools import partial

import torch

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.chunk import decode_chunk, make_latents, settle_past
from causvid.generate.edit import VideoInput, check_adapt, check_strength
from causvid.generate.extend import clip_end
from causvid.generate.inputs import Picture, check_count, check_image, check_transition
from causvid.generate.past import begin_with
from causvid.generate.pictures import Clip, check_clip
from causvid.generate.prompts import MOST_OVER, Change
from causvid.generate.segments import Outlook, outlook
from causvid.generate.setting import Setting
from causvid.generate.state import SessionState
from causvid.generate.stopwatch import Stopwatch
from causvid.models.bundle import Bundle
from causvid.models.text import check_prompt
from causvid.nn.transfer import to_host
from causvid.pixels import to_uint8
from causvid.types import Frames, Latents

MOST_HISTORY = 100_000


class StreamingSession:
    """One stream of video from one model.

    Args:
        bundle: a causal model with all its parts.
        prompt: what the video shows, until `set_prompt`.
        size: height and width in pixels; None takes the size the model was trained at.
        seed: of all noise.
        image: a picture [H W 3] of that size, 0 to 255, to start from: the first chunk shows it.
        video: a clip [t H W 3] of that size, 0 to 255, to go on from; its frames are not shown again.
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
        video: Clip | None = None,
        layout: ChunkLayout | None = None,
        negative: str | None = None,
        guidance: float | None = None,
        history: int = 0,
    ) -> None:
        if image is not None and video is not None:
            raise UserError("a video starts from an image or goes on from a video; give one of them.")
        setting = self.setting = Setting(bundle, size=size, seed=seed, layout=layout)
        self.history = check_count(history, "history", least=0, most=MOST_HISTORY)
        self.spec, self.layout, self.size, self.seed = bundle.spec, setting.layout, setting.size, setting.seed
        self._clock = Stopwatch(setting.device)
        self.timing = self._clock.read()
        with self._clock("text"):
            condition = setting.condition(prompt, negative=negative, guidance=guidance)
        self._state = SessionState(check_prompt(prompt), condition, setting.vae.decoder())
        with self._clock("commit"):
            self._image = None if image is None else setting.still(check_image(image, self.size))
            if video is not None:
                self._go_on_from(check_clip(video, self.size, least=1))

    @torch.no_grad()
    def _go_on_from(self, clip: Frames) -> None:
        setting, state = self.setting, self._state
        chunks, state.decoder = clip_end(
            clip, setting.vae, self.layout, most=setting.most_past, device=setting.device
        )
        begin_with(state, setting.denoiser, chunks)

    # What a caller may want to know.

    @property
    def fps(self) -> float | int:
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
        ahead = self._ahead
        return ahead.ready + ahead.shown

    @property
    def input_frames(self) -> int:
        """Pushed frames that the next chunk will use; with segments this may differ from `next_frames`."""
        return 0 if self._state.input is None or self._shows_image else self._ahead.made

    @property
    def queued(self) -> int:
        """Pushed frames that wait."""
        return 0 if self._state.input is None else self._state.input.queued

    @property
    def held(self) -> int:
        """Frames made and held back, until the next segment shows them again or `finish` is called."""
        state = self._state
        return 0 if state.held is None else state.held.shape[1] - state.told

    @property
    def kept(self) -> range:
        """The numbers of the chunks one can `rewind` to or `branch` from."""
        return self._state.kept

    @property
    def _ahead(self) -> Outlook:
        return outlook(self._state, self.layout, self.setting.vae.geometry)

    @property
    def _shows_image(self) -> bool:
        return self._image is not None and self._state.chunks == 0

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that mean nothing to this model."""
        return self.setting.text.unknown_words(prompt)

    # What a caller may do.

    @torch.no_grad()
    def next_chunk(self) -> Frames:
        """The next pixel frames, as soon as they exist.

        Afterwards `timing` says the seconds they took: "text" (with what was encoded since the
        chunk before), "denoise", "commit" (of the chunk before) and "decode".

        Raises:
            UserError: frames have been pushed, and fewer wait than the chunk uses.
        """
        clock, ahead = self._clock, self._ahead
        latents = self._make(ahead)
        with clock("decode"):
            frames = decode_chunk(self._state, latents, ahead)
        self._state.advance(latents, start=ahead.start, frames=len(frames))
        self.timing, self._clock = clock.read(), Stopwatch(self.setting.device)
        return frames

    @torch.no_grad()
    def make_ahead(self) -> Callable[[], Frames]:
        """`next_chunk` in two halves: makes the chunk's latents, and returns what decodes them.

        The second half may run in another thread while the next chunk is made, but the halves of all
        chunks in their order, and before the prompt changes. Not for layouts in segments.
        """
        ahead = self._ahead
        latents = self._make(ahead)
        self._state.advance(latents, start=ahead.start, frames=ahead.ready + ahead.shown)
        return partial(decode_chunk, self._state, latents, ahead)

    def _make(self, ahead: Outlook) -> Latents:
        setting, state, clock = self.setting, self._state, self._clock
        if self.queued < self.input_frames:
            raise UserError(
                f"{self.queued} frames wait and the next chunk uses {self.input_frames}; push more first."
            )
        state.remember(most=self.history)
        with clock("commit"):
            settle_past(setting, state)
        with clock("denoise"):
            if self._image is not None and self._shows_image:
                return self._image
            return make_latents(setting, state, count=ahead.count, input_frames=ahead.made)

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
        prompt, how = check_prompt(prompt), check_transition(transition)
        over = check_count(over, "over", least=1, most=MOST_OVER)
        state = self._state
        if prompt == state.prompt and state.blend is None and how in ("soft", "blend"):
            state.change = None  # what is shown anyhow
        else:
            with self._clock("text"):
                state.change = Change(prompt, self.setting.encode(prompt), how, over)
        return self.frames + self._ahead.ready

    def push(self, frames: Clip, *, strength: float | int, adapt: str = "none") -> None:
        """Video to video: from now on every chunk is made from `input_frames` of the frames pushed.

        Args:
            frames: [t H W 3] of the video's size, 0 to 255; they join those that wait. None at all
                changes the strength alone.
            strength: from the next chunk on; 0 shows the input as the autoencoder sees it, 1 ignores it.
            adapt: "motion" lowers the strength by up to 0.1 where the input moves much, smoothly.

        Raises:
            UserError: frames of another kind or size, or a strength that is not from 0 to 1.
        """
        clip = check_clip(frames, self.size, least=0)
        level, how = check_strength(strength), check_adapt(adapt)
        known = self._state.input or VideoInput()
        self._state.input = known.with_frames(clip, strength=level, adapt=how)

    def end_input(self) -> None:
        """From the next chunk on make the video from the prompt alone; frames that wait are dropped."""
        self._state.input = None

    def finish(self) -> Frames:
        """The frames held back at the end of a segment; none for other layouts. One may still go on."""
        state = self._state
        if state.held is None:
            return torch.zeros(0, *self.size, 3, dtype=torch.uint8)
        frames = to_host(to_uint8(state.held[:, state.told :])[0])
        state.told = state.held.shape[1]
        state.frames += frames.shape[0]
        return frames

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
        other._state, other._clock = state, Stopwatch(self.setting.device)
        return other
