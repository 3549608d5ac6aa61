"""Everything about a stream that changes from chunk to chunk, in one object.

A state can be copied at any time and continued twice. It knows no model: what stays
the same for the life of a session is in the session.
"""

from dataclasses import dataclass, replace

from causvid.errors import UserError
from causvid.generate.edit import VideoInput
from causvid.generate.prompts import Blend, Change
from causvid.generate.rollout import Condition
from causvid.models.vae import DecoderStream
from causvid.types import Latents, Video


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
    """Latent frames since the past begins; the last chunk of them may wait for its commit."""
    waiting: Kept | None = None
    """The chunk delivered last, until it is part of the past."""
    begun: Latents | None = None
    """What the next chunk's first step predicts, if the pass that made the past has taken it."""
    window: tuple[Kept, ...] = ()
    """The finished chunks that the next one can see."""
    change: Change | None = None
    """A prompt that takes effect with the next chunk."""
    blend: Blend | None = None
    """A change of prompt that is under way."""
    input: VideoInput | None = None
    """Frames to make chunks from; None makes them from the prompt alone."""
    held: Video | None = None
    """The last frames of a segment, while it is open whether another follows."""
    told: int = 0
    """How many of those have been delivered all the same."""
    ready: Video | None = None
    """Frames that are delivered with the next chunk."""
    history: "tuple[SessionState, ...]" = ()
    """Where the last chunks began, oldest first; these states have no history of their own."""

    def copy(self) -> "SessionState":
        old = self.condition
        past, negative_past = (None if c is None else c.snapshot() for c in (old.cache, old.negative_cache))
        condition = replace(old, cache=past, negative_cache=negative_past)
        given = None if self.input is None else self.input.copy()
        return replace(self, condition=condition, decoder=self.decoder.copy(), input=given)

    def advance(self, latents: Latents, *, start: int, frames: int) -> None:
        """Another chunk is made: its latents, the number of the first, and the pixel frames it delivers."""
        self.waiting = Kept(start, latents)
        self.latent_frames = self.waiting.stop
        self.chunks += 1
        self.frames += frames

    @property
    def is_shaped(self) -> bool:
        """Whether frames that come in shape the next chunk."""
        return self.input is not None and not self.input.is_ignored

    # The chunks one may go back to.

    @property
    def kept(self) -> range:
        """Their numbers."""
        return range(self.history[0].chunks if self.history else self.chunks, self.chunks)

    def remember(self, *, most: int) -> None:
        """Keep where the next chunk begins, and forget the oldest beyond so many."""
        if most:
            here = replace(self, history=()).copy()
            # A chunk that failed has left its beginning here.
            before = (state for state in self.history if state.chunks < self.chunks)
            self.history = (*before, here)[-most:]

    def back_at(self, chunk: int) -> "SessionState":
        """A copy of the state from which this chunk was made.

        Raises:
            UserError: it is not kept.
        """
        if chunk == self.chunks:
            return self.copy()
        if chunk not in self.kept:
            kept = (
                f"{self.kept.start} to {self.chunks}" if self.history else f"only {self.chunks}, the next one"
            )
            raise UserError(
                f"chunk {chunk} is not kept; one can go back to {kept}. "
                "A session keeps as many chunks as its `history` says."
            )
        place = chunk - self.kept.start
        return replace(self.history[place].copy(), history=self.history[:place])
