"""Two chunks in one pass: what two passes give."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from random_model import LAYOUT, SIGMAS, random_student, random_teacher

from causvid.flow.chunks import ChunkLayout
from causvid.generate.joint import can_join, commit_and_begin
from causvid.generate.rollout import Condition, commit_chunk
from causvid.nn.cache import KVCache

STILL_SINK = replace(LAYOUT, positions="absolute")
LAYOUTS = {
    "everything": ChunkLayout(frames_per_chunk=2),
    "image first": ChunkLayout(frames_per_chunk=2, first_chunk_frames=1),
    "window": ChunkLayout(frames_per_chunk=2, window_frames=4),
    "odd window": ChunkLayout(frames_per_chunk=2, window_frames=5),
    "a chunk": ChunkLayout(frames_per_chunk=2, window_frames=2),
    "sink": STILL_SINK,
}


def latents(frames, seed):
    return torch.randn(1, frames, 4, 4, 2, generator=torch.Generator().manual_seed(seed))


def condition_of(bundle, layout):
    text, caches = bundle.text(["a red ball"]), [KVCache(layout, layers=2) for _ in range(2)]
    if bundle.spec.guidance == 1:
        return Condition(text, caches[0])
    return Condition(text, caches[0], bundle.text(["it snows"]), bundle.spec.guidance, caches[1])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("make", [random_student, random_teacher])
def test_one_pass_over_two_chunks_is_a_commit_and_a_step(layout, make):
    bundle = make()
    apart, joint = condition_of(bundle, layout), condition_of(bundle, layout)
    spans = layout.spans(layout.first + 12)

    for number, (span, following) in enumerate(pairwise(spans)):
        finished, noise = latents(len(span), number), latents(len(following), 100 + number)
        assert can_join(bundle.denoiser, finished, len(following), joint)
        commit_chunk(bundle.denoiser, finished, apart)
        written = [ring.gather([*span]) for ring in apart.cache._rings]
        expected = apart.x0(bundle.denoiser, noise, SIGMAS[0])
        found = commit_and_begin(bundle.denoiser, finished, noise, joint, sigma=SIGMAS[0])

        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        assert joint.cache.frames == apart.cache.frames == span.stop
        for kept, ring in zip(written, joint.cache._rings, strict=True):
            for x, y in zip(kept, ring.gather([*span]), strict=True):
                torch.testing.assert_close(x, y, atol=1e-5, rtol=0)


def test_a_pass_that_fails_leaves_the_past_as_it_was():
    bundle, layout = random_student(), LAYOUTS["window"]
    condition = condition_of(bundle, layout)
    for seed in range(3):
        commit_chunk(bundle.denoiser, latents(2, seed), condition)
    finished, noise = latents(2, 7), latents(2, 8)
    expected = commit_and_begin(
        bundle.denoiser, finished, noise, replace(condition, cache=condition.cache.snapshot()), sigma=1.0
    )

    last = bundle.denoiser.transformer.layers[1]
    hook = last.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        commit_and_begin(bundle.denoiser, finished, noise, condition, sigma=1.0)
    hook.remove()

    assert condition.cache.frames == 6
    found = commit_and_begin(bundle.denoiser, finished, noise, condition, sigma=1.0)
    assert torch.equal(found, expected)


def test_chunks_of_many_tokens_or_with_a_sink_that_moves_stay_apart():
    bundle = random_student()
    moving = condition_of(bundle, LAYOUT)
    for seed in range(3):
        commit_chunk(bundle.denoiser, latents(2, seed), moving)
    assert not can_join(bundle.denoiser, latents(2, 7), 2, moving)

    still = condition_of(bundle, STILL_SINK)
    assert can_join(bundle.denoiser, latents(2, 7), 2, still)
    assert not can_join(bundle.denoiser, torch.zeros(1, 2, 4, 64, 64), 2, still)
    assert not can_join(bundle.denoiser, latents(2, 7), 3, still)
