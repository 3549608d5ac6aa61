"""What a stream remembers of its finished chunks: made, read again, forgotten, or taken over.

The past exists twice: as keys and values, which is what the next chunk sees, and as the
clean latents of the chunks in the window, from which the keys can be made again under
another prompt.

Knows a state and the network; nothing of noise, prompts or pictures.
"""

from collections.abc import Iterable
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from causvid.flow.chunks import ChunkLayout
from causvid.generate.rollout import Condition, commit_chunk
from causvid.generate.state import Kept, SessionState
from causvid.models.denoiser import Denoiser

Chunk = Float[Tensor, "b _ c h w"]
"""Latents of a chunk; one of several that may differ in length."""


def commit_waiting(state: SessionState, denoiser: Denoiser) -> None:
    """Make the chunk delivered last part of the past, under the prompt it was made from."""
    if state.waiting is not None:
        commit_chunk(denoiser, state.waiting.latents, state.condition)
        keep_waiting(state)


def read_again(state: SessionState, denoiser: Denoiser) -> None:
    """Read the visible past again, chunk by chunk and causally, under the present text.

    Every chunk keeps its frame numbers. Before the first frame has been forgotten, the
    same text gives the same cache; later, what deeper layers remembered of forgotten
    frames is gone.
    """
    keep_waiting(state)
    state.condition = without_past(state.condition)
    for chunk in state.window:
        for cache in (state.condition.cache, state.condition.negative_cache):
            if cache is not None:
                cache.skip_to(chunk.start)
        commit_chunk(denoiser, chunk.latents, state.condition)


def begin_with(state: SessionState, denoiser: Denoiser, chunks: Iterable[Chunk]) -> None:
    """Forget everything, and begin with these chunks, all visible, as the past. No chunks: an empty one."""
    condition, window, end = without_past(state.condition), list[Kept](), 0
    for latents in chunks:
        commit_chunk(denoiser, latents, condition)
        window.append(Kept(end, latents))
        end = window[-1].stop
    state.condition, state.waiting, state.window, state.latent_frames = condition, None, tuple(window), end


def without_past(condition: Condition) -> Condition:
    """The same text and guidance with nothing remembered."""
    past, negative_past = (
        None if cache is None else cache.empty() for cache in (condition.cache, condition.negative_cache)
    )
    return replace(condition, cache=past, negative_cache=negative_past)


def keep_waiting(state: SessionState) -> None:
    """Count the chunk delivered last, whose keys are in the cache, among the finished ones."""
    cache = state.condition.cache
    if state.waiting is not None and cache is not None:
        state.window = _visible((*state.window, state.waiting), cache.layout)
        state.waiting = None


def _visible(chunks: tuple[Kept, ...], layout: ChunkLayout) -> tuple[Kept, ...]:
    """Those with a frame that is not forgotten yet."""
    if layout.window_frames is None:
        return chunks
    oldest = chunks[-1].stop - (layout.window_frames - layout.sink_frames)
    return tuple(c for c in chunks if c.stop > oldest or c.start < layout.sink_frames)
