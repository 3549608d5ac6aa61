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

from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import pairwise
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.flow.chunks import ChunkLayout

Heads = Float[Tensor, "b l n d"]
TextKeys = list[tuple[Tensor, Tensor]]
T = TypeVar("T")
RECURRING = 16
"""How many results are kept because they recur: of a sampler's noise levels, and of a chunk's positions."""


@runtime_checkable
class Past(Protocol):
    """What one layer remembers, for one call."""

    def join(self, k: Heads, v: Heads, *, unrotated: Heads) -> tuple[Tensor, Tensor]:
        """Keys and values of all visible frames: the past and the chunk itself."""
        ...


class KVCache:
    """Keys and values of every layer. Made by the caller, filled by the model, committed by the caller."""

    def __init__(self, layout: ChunkLayout, *, layers: int) -> None:
        self.layout = layout
        self._rings = [_Ring(layout) for _ in range(layers)]
        self.reset()

    def reset(self) -> None:
        """Forget everything, the text too. Also needed after the weights have changed."""
        self.frames = 0
        self._scratch: int | None = None
        self._text: tuple[Tensor, TextKeys] | None = None
        self._once: OrderedDict[Hashable, Any] = OrderedDict()
        for ring in self._rings:
            ring.reset()

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
        self._text, self._once = other._text, other._once.copy()
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

    def past(self, frames: int, *, sink_rotation: Callable[[Heads], Heads], writes: bool) -> list[Past]:
        """The past of every layer, for one forward over the next chunk.

        Args:
            frames: length of the chunk.
            sink_rotation: turns unrotated sink keys to where `sink_shift` puts them.
            writes: False under grad.
        """
        numbers, shift = self.numbers(frames), self.sink_shift(frames)
        if not writes:
            return [ring.frozen(numbers, shift, sink_rotation) for ring in self._rings]
        self._scratch = frames
        return [_Written(ring, numbers, shift, sink_rotation) for ring in self._rings]

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """compute(), or what it gave for this key lately: for what recurs in every step or chunk.

        A tensor is the same key for as long as it is the same object.
        """
        if key not in self._once:
            self._once[key] = compute()
        self._once.move_to_end(key)
        if len(self._once) > RECURRING:
            self._once.popitem(last=False)
        return self._once[key]

    def text(self, tokens: Tensor, compute: Callable[[], TextKeys]) -> TextKeys:
        """Keys and values of a text, computed once while the text stays the same tensor."""
        if self._text is None or self._text[0] is not tokens:
            self._text = (tokens, compute())
        return self._text[1]


class _Ring:
    """One layer's slots: number by number until the window is full, then the oldest but the sink's again."""

    def __init__(self, layout: ChunkLayout) -> None:
        self.layout = layout
        self.reset()

    def reset(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.sink: Tensor | None = None
        self.shift = 0
        self.tokens = 0
        self.skipped = range(0)
        """Frames of this number were never written."""

    def copy(self) -> "_Ring":
        other = _Ring(self.layout)
        other.keys, other.values, other.sink = (
            None if x is None else x.clone() for x in (self.keys, self.values, self.sink)
        )
        other.shift, other.tokens, other.skipped = self.shift, self.tokens, self.skipped
        return other

    def slots(self, numbers: range) -> list[tuple[slice, slice]]:
        """Where frames live: pairs of (place in the call, slots), one pair unless the ring wraps."""
        window, sink = self.layout.window_frames, self.layout.sink_frames
        runs: list[tuple[slice, slice]] = []
        done = 0
        while done < len(numbers):
            number = numbers[done]
            if window is None or number < window:
                slot, room = number, len(numbers) if window is None else window - number
            else:
                slot = sink + (number - sink) % (window - sink)
                room = window - slot
            count = min(room, len(numbers) - done)
            runs.append((slice(done, done + count), slice(slot, slot + count)))
            done += count
        return runs

    def write(self, numbers: range, k: Heads, v: Heads, unrotated: Heads) -> None:
        tokens = self.tokens = k.shape[1] // len(numbers)
        self._reserve(numbers.stop, k, tokens)
        assert self.keys is not None and self.values is not None
        for place, slot in self.slots(numbers):
            here, there = _scaled(place, tokens), _scaled(slot, tokens)
            self.keys[:, there] = k[:, here]
            self.values[:, there] = v[:, here]
        sunk = min(self.layout.sink_frames, numbers.stop) - numbers.start
        if self.sink is not None and sunk > 0:
            there = slice(numbers.start * tokens, (numbers.start + sunk) * tokens)
            self.sink[:, there] = unrotated[:, : sunk * tokens]

    def _reserve(self, end: int, k: Heads, tokens: int) -> None:
        """Room for the frames up to `end`: the window at once, or twice as much as needed without one."""
        if self.keys is not None and (self.keys.shape[::2], self.keys.dtype) != (k.shape[::2], k.dtype):
            raise ValueError("the cache was filled with another batch, model or dtype; reset() it first.")
        layout = self.layout
        if self.keys is not None and (layout.window_frames is not None or end * tokens <= self.keys.shape[1]):
            return
        room = (layout.window_frames or 2 * end) * tokens
        old = (self.keys, self.values)
        self.keys, self.values = (k.new_empty(k.shape[0], room, *k.shape[2:]) for _ in range(2))
        if old[0] is not None and old[1] is not None:
            self.keys[:, : old[0].shape[1]] = old[0]
            self.values[:, : old[1].shape[1]] = old[1]
        if layout.window_frames is not None and layout.positions == "windowed" and layout.sink_frames:
            self.sink = k.new_empty(k.shape[0], layout.sink_frames * tokens, *k.shape[2:])

    def turn_sink(self, shift: int, rotation: Callable[[Heads], Heads]) -> None:
        """Carry the sink's keys along, from the unrotated copy: turning them twice would add up errors."""
        if shift != self.shift:
            assert self.keys is not None and self.sink is not None
            self.keys[:, : self.sink.shape[1]] = rotation(self.sink).to(self.keys.dtype)
            self.shift = shift

    def visible(self, numbers: range) -> tuple[Tensor, Tensor]:
        """All slots in use once the chunk of these frames has been written."""
        assert self.keys is not None and self.values is not None
        seen = self.layout.visible_frames(numbers.start, numbers.stop)
        if any(number in self.skipped for number in seen):
            return self.gather(self._written(seen))
        used = self.tokens * len(seen)
        return self.keys[:, :used], self.values[:, :used]

    def _written(self, numbers: list[int]) -> list[int]:
        return [number for number in numbers if number not in self.skipped]

    def gather(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        """A copy of the keys and values of these frames."""
        assert self.keys is not None and self.values is not None
        kept = [_scaled(slot, self.tokens) for run in _ranges(numbers) for _, slot in self.slots(run)]
        return torch.cat([self.keys[:, s] for s in kept], 1), torch.cat([self.values[:, s] for s in kept], 1)

    def frozen(self, numbers: range, shift: int, rotation: Callable[[Heads], Heads]) -> "_Frozen":
        """A copy of the frames the chunk will see before it."""
        seen = self._written(self.layout.visible_frames(numbers.start, numbers.stop))
        before = [number for number in seen if number < numbers.start]
        if not before:
            return _Frozen(None, None)
        keys, values = self.gather(before)
        if shift:
            assert self.sink is not None
            keys[:, : self.sink.shape[1]] = rotation(self.sink).to(keys.dtype)
        return _Frozen(keys, values)


class _Written:
    """The past as the slots themselves: the chunk is written beside it."""

    def __init__(self, ring: _Ring, numbers: range, shift: int, rotation: Callable[[Heads], Heads]) -> None:
        self.ring, self.numbers, self.shift, self.rotation = ring, numbers, shift, rotation

    def join(self, k: Heads, v: Heads, *, unrotated: Heads) -> tuple[Tensor, Tensor]:
        self.ring.write(self.numbers, k, v, unrotated)
        self.ring.turn_sink(self.shift, self.rotation)
        return self.ring.visible(self.numbers)


class _Frozen:
    """The past as a copy that nothing can change any more."""

    def __init__(self, keys: Tensor | None, values: Tensor | None) -> None:
        self.keys, self.values = keys, values

    def join(self, k: Heads, v: Heads, *, unrotated: Heads) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            return k, v
        return torch.cat([self.keys, k], 1), torch.cat([self.values, v], 1)


def _scaled(frames: slice, tokens: int) -> slice:
    return slice(frames.start * tokens, frames.stop * tokens)


def _ranges(numbers: list[int]) -> list[range]:
    """Ascending numbers as stretches without gaps."""
    cuts = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1]
    edges = [0, *cuts, len(numbers)]
    return [range(numbers[a], numbers[b - 1] + 1) for a, b in pairwise(edges)]
