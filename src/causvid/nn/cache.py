"""The past of a causal model: keys and values of the frames it has finished.

While a chunk is being denoised, every pass writes its keys into the slots the chunk
will occupy and attends to the past and itself; only `commit` makes it past. With a
window, sink frames keep their slots and the others share a ring: attention does not
depend on the order of keys, so the newest frame simply takes the oldest one's slot.
Nothing is moved, memory stays constant, and all bookkeeping is Python integers.

Under grad nothing is written: the past is copied before the layers run, so that later
commits cannot change what backward, or a recomputed layer, sees.

A plain class on purpose: wrappers that shard a model rebuild dataclass arguments.
"""

from collections.abc import Callable, Hashable
from typing import TypeVar

import torch
from torch import Tensor

from causvid.flow.chunks import ChunkLayout
from causvid.nn.recurring import Recurring
from causvid.nn.ring import LEVELS, Heads, Past, Ring, WithNext, Written
from causvid.types import FrameMask

TextKeys = list[tuple[Tensor, Tensor]]
T = TypeVar("T")
PLACES = 2
"""Chunks whose positions are kept: this one, and the next where both are one call."""


class KVCache:
    """Keys and values of every layer. Made by the caller, filled by the model, committed by the caller."""

    def __init__(self, layout: ChunkLayout, *, layers: int) -> None:
        self.layout = layout
        self._rings = [Ring(layout) for _ in range(layers)]
        self.reset()

    def reset(self) -> None:
        """Forget everything, the text too. Also needed after the weights have changed."""
        self.frames = 0
        self._scratch: int | None = None
        self._text: tuple[Tensor, TextKeys] | None = None
        self._levels, self._places = Recurring(LEVELS), Recurring(PLACES)
        for ring in self._rings:
            ring.reset()

    def refresh(self) -> None:
        """Forget all but the past: for weights that have changed while the past goes on as it was."""
        self._scratch = self._text = None
        self._levels = Recurring(LEVELS)
        for ring in self._rings:
            ring.recurring = Recurring(LEVELS)

    def commit(self, frames: int) -> None:
        """Make the chunk of the last no-grad forward part of the past.

        Raises:
            ValueError: that forward did not write this many frames, or there was none.
        """
        if self._scratch != frames:
            raise ValueError(
                f"cannot commit {frames} frames: the last forward wrote {self._scratch or 'none'}. "
                "Run the chunk through the model without grad first."
            )
        self.frames += frames
        self._scratch = None

    def skip_to(self, frame: int) -> None:
        """Go on at this frame number, at the start of a chunk; the frames until there count as forgotten.

        Raises:
            ValueError: the cache is past it, or frames have been skipped before.
        """
        if frame < self.frames or (frame > self.frames and any(ring.skipped for ring in self._rings)):
            raise ValueError(f"cannot skip to frame {frame} from {self.frames}: only ahead, and only once.")
        if frame == self.frames:
            return
        for ring in self._rings:
            ring.skipped = range(self.frames, frame)
        self.frames, self._scratch = frame, None

    def snapshot(self) -> "KVCache":
        """A copy that shares nothing that changes."""
        copy = self.empty()
        copy.restore(self)
        return copy

    def empty(self) -> "KVCache":
        """A new cache for the same model and layout."""
        return KVCache(self.layout, layers=len(self._rings))

    def restore(self, other: "KVCache") -> None:
        """Become a copy of another cache of the same model."""
        self.layout, self.frames, self._scratch = other.layout, other.frames, other._scratch
        self._text = other._text
        self._levels, self._places = other._levels.copy(), other._places.copy()
        self._rings = [ring.copy() for ring in other._rings]

    def numbers(self, frames: int) -> range:
        """The absolute numbers of the frames of a call, the next chunk.

        Raises:
            ValueError: a call covers exactly one chunk.
        """
        expected = self.layout.next_chunk(self.frames)
        if frames != expected:
            raise ValueError(f"a cached forward takes one chunk: {expected} frames here, not {frames}.")
        return range(self.frames, self.frames + frames)

    def sink_shift(self, frames: int) -> int:
        """How far windowed positions carry the sink along in a call for the next frames."""
        layout, end = self.layout, self.frames + frames
        if layout.positions == "absolute" or not layout.sink_frames or layout.window_frames is None:
            return 0
        return max(0, end - layout.window_frames)

    def past(
        self, frames: int, *, sink_rotation: Callable[[Heads], Heads], writes: bool, ahead: int = 0
    ) -> list[Past]:
        """The past of every layer, for one forward over the next chunk, or the next two.

        Args:
            frames: length of the call.
            sink_rotation: turns unrotated sink keys to where `sink_shift` puts them.
            writes: False under grad.
            ahead: how many of the frames, at the end, are the chunk after; only the one before is written.
        """
        if ahead:
            return self._past_of_two(frames - ahead, ahead, sink_rotation)
        numbers, shift = self.numbers(frames), self.sink_shift(frames)
        if not writes:
            return [ring.frozen(numbers, shift, sink_rotation) for ring in self._rings]
        self._scratch = frames
        return [Written(ring, numbers, shift, sink_rotation) for ring in self._rings]

    def _past_of_two(self, first: int, second: int, rotation: Callable[[Heads], Heads]) -> list[Past]:
        chunks, shift = self._two_chunks(first, second), self.sink_shift(first)
        self._scratch = first
        return [WithNext(ring, chunks, shift, rotation) for ring in self._rings]

    def _two_chunks(self, first: int, second: int) -> tuple[range, range]:
        if not self.takes_two(first, second):
            raise ValueError(
                f"{first} and {second} frames are not the next two chunks, or their sink differs."
            )
        middle = self.frames + first
        return self.numbers(first), range(middle, middle + second)

    def takes_two(self, first: int, second: int) -> bool:
        """Whether the next two chunks, of these lengths, can be one call: their sink must stand still."""
        layout, middle = self.layout, self.frames + first
        if layout.next_chunk(self.frames) != first or (layout.in_segments and middle == layout.window_frames):
            return False
        same_sink = self.sink_shift(first) == self.sink_shift(first + second)
        return same_sink and layout.next_chunk(middle) == second

    def mask_of_two(self, first: int, second: int) -> FrameMask:
        """What the frames of two chunks see of what `past` gives them: the past, both of them, in order."""
        chunks = self._two_chunks(first, second)
        there = [*self._rings[0].seen_by_two(*chunks), *chunks[1]]
        rows = []
        for chunk in chunks:
            visible = set(self.layout.visible_frames(chunk.start, chunk.stop))
            rows += [[number in visible for number in there]] * len(chunk)
        return torch.tensor(rows)

    def of_level(self, key: Hashable, compute: Callable[[], T]) -> T:
        """compute(), or what it gave for this key lately: for what follows from a noise level."""
        return self._levels.once(key, compute)

    def of_place(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The same for what follows from where a chunk is."""
        return self._places.once(key, compute)

    def text(self, tokens: Tensor, compute: Callable[[], TextKeys]) -> TextKeys:
        """Keys and values of a text, computed once while the text stays the same tensor."""
        if self._text is None or self._text[0] is not tokens:
            self._text = (tokens, compute())
        return self._text[1]
