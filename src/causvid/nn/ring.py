"""One layer's keys and values: slots in which they lie, and what a call gets to see of them.

Number by number until the window is full, then a frame takes the slot of the oldest one
but the sink's: attention does not depend on the order of keys, so nothing is moved.

Knows frames and tokens; which frames are finished is the cache's to know.
"""

from collections.abc import Callable, Hashable
from itertools import pairwise
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.flow.chunks import ChunkLayout
from causvid.nn.recurring import Recurring

Heads = Float[Tensor, "b l n d"]
T = TypeVar("T")
LEVELS = 16
"""Results that are kept for noise levels: those of a few-step sampler, and what is made of each."""


@runtime_checkable
class Past(Protocol):
    """What one layer remembers, for one call."""

    def join(self, k: Heads, v: Heads, *, unrotated: Heads) -> tuple[Tensor, Tensor]:
        """Keys and values of all visible frames: the past and the chunk itself."""
        ...

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """compute(), or what it gave for this key lately in this layer."""
        ...


class Ring:
    """The slots of one layer."""

    def __init__(self, layout: ChunkLayout) -> None:
        self.layout = layout
        self.reset()

    def reset(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.sink: Tensor | None = None
        self.shift = 0
        self.tokens = 0
        self.recurring = Recurring(LEVELS)
        self.skipped = range(0)
        """Frames of this number were never written."""

    def copy(self) -> "Ring":
        other = Ring(self.layout)
        other.keys, other.values, other.sink = (
            None if x is None else x.clone() for x in (self.keys, self.values, self.sink)
        )
        other.shift, other.tokens, other.skipped = self.shift, self.tokens, self.skipped
        other.recurring = self.recurring.copy()
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

    def seen_by_two(self, first: range, second: range) -> list[int]:
        """The frames before the second of two chunks that either of them sees, the first one's included."""
        seen = {n for chunk in (first, second) for n in self.layout.visible_frames(chunk.start, chunk.stop)}
        return self._written(sorted(n for n in seen if n < second.start))

    def frozen(self, numbers: range, shift: int, rotation: Callable[[Heads], Heads]) -> "Frozen":
        """A copy of the frames the chunk will see before it."""
        seen = self._written(self.layout.visible_frames(numbers.start, numbers.stop))
        before = [number for number in seen if number < numbers.start]
        if not before:
            return Frozen(None, None)
        keys, values = self.gather(before)
        if shift:
            assert self.sink is not None
            keys[:, : self.sink.shape[1]] = rotation(self.sink).to(keys.dtype)
        return Frozen(keys, values)


class Written:
    """The past as the slots themselves: the chunk is written beside it."""

    def __init__(self, ring: Ring, numbers: range, shift: int, rotation: Callable[[Heads], Heads]) -> None:
        self.ring, self.numbers, self.shift, self.rotation = ring, numbers, shift, rotation

    def join(self, k: Heads, v: Heads, *, unrotated: Heads) -> tuple[Tensor, Tensor]:
        self.ring.write(self.numbers, k, v, unrotated)
        self.ring.turn_sink(self.shift, self.rotation)
        return self.ring.visible(self.numbers)

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        return self.ring.recurring.once(key, compute)


class WithNext:
    """The past for two chunks in one call: the first is written, the second is seen by itself alone."""

    def __init__(
        self, ring: Ring, chunks: tuple[range, range], shift: int, rotation: Callable[[Heads], Heads]
    ) -> None:
        self.ring, self.chunks, self.shift, self.rotation = ring, chunks, shift, rotation

    def join(self, k: Heads, v: Heads, *, unrotated: Heads) -> tuple[Tensor, Tensor]:
        ring, (first, second) = self.ring, self.chunks
        cut = k.shape[1] * len(first) // (len(first) + len(second))
        ring.write(first, k[:, :cut], v[:, :cut], unrotated[:, :cut])
        ring.turn_sink(self.shift, self.rotation)
        keys, values = ring.gather(ring.seen_by_two(first, second))
        return torch.cat([keys, k[:, cut:]], 1), torch.cat([values, v[:, cut:]], 1)

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        return self.ring.recurring.once(key, compute)


class Frozen:
    """The past as a copy that nothing can change any more."""

    def __init__(self, keys: Tensor | None, values: Tensor | None) -> None:
        self.keys, self.values = keys, values

    def join(self, k: Heads, v: Heads, *, unrotated: Heads) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            return k, v
        return torch.cat([self.keys, k], 1), torch.cat([self.values, v], 1)

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        return compute()


def _scaled(frames: slice, tokens: int) -> slice:
    return slice(frames.start * tokens, frames.stop * tokens)


def _ranges(numbers: list[int]) -> list[range]:
    """Ascending numbers as stretches without gaps."""
    cuts = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1]
    edges = [0, *cuts, len(numbers)]
    return [range(numbers[a], numbers[b - 1] + 1) for a, b in pairwise(edges)]
