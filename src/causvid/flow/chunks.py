"""Which latent frames are denoised together, and which ones they can see.

A clip is cut into chunks. A chunk that covers latent frames [a, e) sees

    [0, e)                              without a window, or while e <= window
    [0, sink) and [e - (window - sink), e)        afterwards

The mask used in training and the cache used in generation obey this one rule. The
module works with frame numbers only: it knows nothing about tokens or keys.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from causvid.errors import UserError
from causvid.types import FrameMask


@dataclass(frozen=True, kw_only=True)
class ChunkLayout:
    """How a clip is cut into chunks and how far back a chunk sees; all numbers are latent frames."""

    frames_per_chunk: int = 3
    first_chunk_frames: int | None = None
    """Length of the first chunk where it differs: 1 for image-first models."""
    window_frames: int | None = None
    """Frames visible at once, counting the sink and the chunk itself. None: everything."""
    sink_frames: int = 0
    """First frames that are never forgotten."""
    positions: Literal["absolute", "windowed", "segment"] = "absolute"
    """Once the window is full: the sink stays where it was, or moves along next to the window; or frames
    are counted from 0 again, in another segment as long as the window."""
    overlap_frames: int | None = None
    """Frames of a segment that the next one begins with. None: a chunk."""

    def __post_init__(self) -> None:
        first, window, sink = self.first, self.window_frames, self.sink_frames
        if self.frames_per_chunk < 1 or first < 1:
            raise UserError(
                f"layout: chunks of {self.frames_per_chunk} frames, the first of {first}; use 1 or more."
            )
        if sink < 0:
            raise UserError(f"layout.sink_frames is {sink}; it must be 0 or more.")
        if self.positions not in ("absolute", "windowed", "segment"):
            raise UserError(
                f"layout.positions is {self.positions!r}; accepted: 'absolute', 'windowed', 'segment'."
            )
        if window is not None and max(first, sink + self.frames_per_chunk) > window:
            raise UserError(
                f"layout.window_frames is {window}, but a sink of {sink} and a chunk of "
                f"{max(first, self.frames_per_chunk)} frames must fit inside it. "
                "Widen the window or shrink the sink."
            )
        self._check_segments()

    def _check_segments(self) -> None:
        if not self.in_segments:
            if self.overlap_frames is not None:
                raise UserError("layout.overlap_frames is for positions = 'segment'; leave it out.")
            return
        if self.window_frames is None or self.sink_frames:
            raise UserError(
                "a past of segments needs a window, which is their length, and no sink; "
                f"window_frames is {self.window_frames} and sink_frames {self.sink_frames}."
            )
        if not 1 <= self.overlap < self.window_frames:
            raise UserError(
                f"layout.overlap_frames is {self.overlap}; segments of {self.window_frames} frames can "
                f"overlap by 1 to {self.window_frames - 1}."
            )
        for frames in (self.window_frames, self.overlap):
            self.spans(frames)

    @property
    def in_segments(self) -> bool:
        """Whether frames are counted from 0 again when the window is full."""
        return self.positions == "segment"

    @property
    def overlap(self) -> int:
        """Frames that two segments share."""
        return self.first if self.overlap_frames is None else self.overlap_frames

    @property
    def first(self) -> int:
        """Length of the first chunk."""
        return self.frames_per_chunk if self.first_chunk_frames is None else self.first_chunk_frames

    def next_chunk(self, committed: int) -> int:
        """Length of the chunk that follows this many finished frames.

        Raises:
            UserError: the finished frames do not end with a chunk.
        """
        if committed and (committed < self.first or (committed - self.first) % self.frames_per_chunk):
            raise UserError(self._left_over(committed))
        if self.in_segments and committed == self.window_frames:
            raise UserError(f"a segment of {committed} frames is full; another one must begin.")
        return self.frames_per_chunk if committed else self.first

    def spans(self, frames: int) -> list[range]:
        """The chunks of a clip, in order.

        Raises:
            UserError: the clip does not end with a whole chunk.
        """
        if frames < self.first or (frames - self.first) % self.frames_per_chunk:
            raise UserError(self._left_over(frames))
        starts = [0, *range(self.first, frames, self.frames_per_chunk)]
        return [range(a, e) for a, e in zip(starts, [*starts[1:], frames], strict=True)]

    def _left_over(self, frames: int) -> str:
        k, first = self.frames_per_chunk, self.first
        below = max(first, first + (frames - first) // k * k)
        fit = f"{below} or {below + k}" if frames > first else f"{first}"
        return f"{frames} latent frames do not fill chunks of {k} (the first has {first}); {fit} would."

    def _chunk(self, frame: Int[Tensor, "*any"]) -> Int[Tensor, "*any"]:
        after = torch.div(frame - self.first, self.frames_per_chunk, rounding_mode="floor") + 1
        return torch.where(frame < self.first, torch.zeros_like(after), after)

    def _end(self, frame: Int[Tensor, "*any"]) -> Int[Tensor, "*any"]:
        return self.first + self._chunk(frame) * self.frames_per_chunk

    def visible(self, query: Int[Tensor, "*any"], key: Int[Tensor, "*any"]) -> Bool[Tensor, "*any"]:
        """Whether a query frame sees a key frame, element by element; broadcast as you need."""
        end = self._end(query)
        seen = key < end
        if self.window_frames is None:
            return seen
        recent = key >= end - (self.window_frames - self.sink_frames)
        return seen & (recent | (key < self.sink_frames) | (end <= self.window_frames))

    def mask(self, frames: int) -> FrameMask:
        """Rows see columns, for a whole clip."""
        number = torch.arange(self.spans(frames)[-1].stop)
        return self.visible(*torch.broadcast_tensors(number[:, None], number[None]))

    def visible_frames(self, start: int, end: int) -> list[int]:
        """The frames that the chunk [start, end) sees, itself included, in order."""
        if self.window_frames is None or end <= self.window_frames:
            return list(range(end))
        recent = end - (self.window_frames - self.sink_frames)
        assert recent <= start, "a chunk must fit beside the sink"
        return [*range(self.sink_frames), *range(recent, end)]

    def teacher_forcing_mask(self, frames: int) -> FrameMask:
        """The mask of a clean copy followed by a noisy copy of the same clip.

        Clean chunks see clean chunks up to their own; a noisy chunk sees the clean chunks
        before it, as far as the window reaches, and itself.
        """
        clean = self.mask(frames)
        chunk = self._chunk(torch.arange(frames))
        own = chunk[:, None] == chunk[None]
        blind = torch.zeros_like(clean)
        return torch.cat([torch.cat([clean, blind], 1), torch.cat([clean & ~own, own], 1)])
