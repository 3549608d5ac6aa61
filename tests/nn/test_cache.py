"""The cache alone: which keys it hands out, compared with an explicit list of what should be kept.

Keys are numbered instead of computed: token t of frame i holds 100 i + t, so that the
set of visible keys can be read off, in whatever order the slots are.
"""

import pytest
import torch

from causvid.flow.chunks import ChunkLayout
from causvid.nn.cache import KVCache

TOKENS = 2


def keys(frames, *, offset=0.0):
    number = torch.tensor([100.0 * frame + token for frame in frames for token in range(TOKENS)])
    return (number + offset).view(1, -1, 1, 1)


def run(cache, *, offset=0.0, writes=True):
    """One forward over the next chunk: what the layer gets to see. Turning a sink adds its shift to it."""
    count = cache.layout.next_chunk(cache.frames)
    numbers, shift = cache.numbers(count), cache.sink_shift(count)
    (past,) = cache.past(count, sink_rotation=lambda x: x + shift / 1000, writes=writes)
    own = keys(numbers, offset=offset)
    k, v = past.join(own, own + 0.5, unrotated=own)
    assert k.shape == v.shape
    return k, v


def seen(k):
    return sorted(k.flatten().tolist())


def expected(layout, start, end):
    return sorted(keys(layout.visible_frames(start, end)).flatten().tolist())


def windows():
    for chunk, sink in ((1, 0), (1, 2), (2, 1), (3, 0), (3, 2), (3, 3)):
        for window in range(sink + chunk, sink + chunk + 6):
            yield ChunkLayout(frames_per_chunk=chunk, window_frames=window, sink_frames=sink)
    yield ChunkLayout(frames_per_chunk=3, first_chunk_frames=1, window_frames=7, sink_frames=1)
    yield ChunkLayout(frames_per_chunk=2, first_chunk_frames=5, window_frames=6, sink_frames=3)


@pytest.mark.parametrize("writes", [True, False], ids=["written", "frozen"])
def test_the_ring_holds_exactly_the_visible_frames_for_five_windows(writes):
    for layout in windows():
        cache = KVCache(layout, layers=1)
        while cache.frames < 5 * layout.window_frames:
            count = layout.next_chunk(cache.frames)
            k, _ = run(cache, writes=writes)
            assert seen(k) == expected(layout, cache.frames, cache.frames + count), layout
            if not writes:
                run(cache)
            cache.commit(count)


def test_values_stay_with_their_keys():
    cache = KVCache(ChunkLayout(window_frames=7, sink_frames=1), layers=1)
    for _ in range(12):
        k, v = run(cache)
        assert torch.equal(v, k + 0.5)
        cache.commit(3)


def test_without_a_window_everything_is_kept_as_the_buffer_grows():
    cache = KVCache(ChunkLayout(frames_per_chunk=3), layers=1)
    for _ in range(20):
        k, _ = run(cache)
        assert seen(k) == expected(cache.layout, cache.frames, cache.frames + 3)
        cache.commit(3)


def test_denoising_the_same_chunk_again_replaces_it_and_leaves_the_past_alone():
    for layout in (ChunkLayout(), ChunkLayout(window_frames=7, sink_frames=1)):
        cache = KVCache(layout, layers=1)
        for _ in range(7):
            noisy, _ = run(cache, offset=7.0)
            noisy = noisy.clone()
            again, _ = run(cache, offset=3.0)
            clean, _ = run(cache)
            own = set(seen(keys(cache.numbers(3))))
            past = [number for number in seen(clean) if number not in own]
            assert set(past) < set(seen(noisy)) or not past
            assert [n for n in seen(again) if n in past] == past
            assert seen(clean) == expected(layout, cache.frames, cache.frames + 3)
            cache.commit(3)


def test_under_windowed_positions_the_sink_follows_the_window_and_nothing_else_moves():
    layout = ChunkLayout(window_frames=7, sink_frames=1, positions="windowed")
    cache = KVCache(layout, layers=1)
    for _ in range(8):
        end = cache.frames + 3
        k, _ = run(cache)
        shift = max(0, end - 7) / 1000
        sink = keys([0]) + shift
        assert torch.allclose(k[:, :TOKENS], sink, atol=1e-4)
        assert seen(k[:, TOKENS:]) == expected(layout, cache.frames, end)[TOKENS:]
        frozen, _ = run(cache, writes=False)
        assert torch.allclose(frozen[:, :TOKENS], sink, atol=1e-4)
        cache.commit(3)


def test_a_frozen_past_does_not_see_what_is_written_later():
    cache = KVCache(ChunkLayout(window_frames=6), layers=1)
    for _ in range(2):
        run(cache)
        cache.commit(3)
    (past,) = cache.past(3, sink_rotation=lambda x: x, writes=False)
    before = seen(past.keys)
    for _ in range(4):
        run(cache)
        cache.commit(3)

    assert seen(past.keys) == before


def test_memory_is_constant_over_a_thousand_chunks():
    layout = ChunkLayout(window_frames=8, sink_frames=2, positions="windowed")
    cache = KVCache(layout, layers=1)
    places = set()
    for _ in range(1000):
        k, _ = run(cache)
        cache.commit(3)
        if cache.frames > 8:
            places.add((k.data_ptr(), k.shape, k.untyped_storage().nbytes()))

    assert cache.frames == 3000
    assert len(places) == 1


def test_a_snapshot_goes_on_exactly_where_it_was_taken():
    cache = KVCache(ChunkLayout(window_frames=7, sink_frames=1, positions="windowed"), layers=1)
    for _ in range(5):
        run(cache)
        cache.commit(3)
    saved = cache.snapshot()

    def three_chunks():
        for _ in range(3):
            yield run(cache)[0].clone()
            cache.commit(3)

    first = list(three_chunks())
    cache.restore(saved)
    second = list(three_chunks())

    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert saved.frames == 15


def test_only_a_chunk_that_was_written_can_be_committed():
    cache = KVCache(ChunkLayout(), layers=1)
    with pytest.raises(ValueError, match="wrote none"):
        cache.commit(3)
    run(cache, writes=False)
    with pytest.raises(ValueError, match="without grad"):
        cache.commit(3)
    run(cache)
    with pytest.raises(ValueError, match="wrote 3"):
        cache.commit(2)
    cache.commit(3)
    with pytest.raises(ValueError, match="wrote none"):
        cache.commit(3)


def test_a_call_is_one_chunk_long():
    cache = KVCache(ChunkLayout(first_chunk_frames=1), layers=1)

    with pytest.raises(ValueError, match="1 frames here, not 4"):
        cache.numbers(4)


def test_reset_forgets_everything_and_takes_another_batch():
    cache = KVCache(ChunkLayout(), layers=1)
    run(cache)
    cache.commit(3)
    (past,) = cache.past(3, sink_rotation=lambda x: x, writes=True)
    two = keys(range(3, 6)).repeat(2, 1, 1, 1)
    with pytest.raises(ValueError, match="reset"):
        past.join(two, two, unrotated=two)

    cache.reset()
    (past,) = cache.past(3, sink_rotation=lambda x: x, writes=True)

    assert cache.frames == 0
    assert torch.equal(past.join(two, two, unrotated=two)[0], two)


def test_text_is_computed_once_for_as_long_as_it_is_the_same_tensor():
    cache, made = KVCache(ChunkLayout(), layers=1), []
    tokens = torch.ones(1)

    def compute():
        made.append(1)
        return [(torch.ones(1), torch.ones(1))]

    cache.text(tokens, compute)
    cache.text(tokens, compute)
    assert len(made) == 1
    cache.text(tokens.clone(), compute)
    assert len(made) == 2
    cache.reset()
    cache.text(tokens, compute)
    assert len(made) == 3


def test_what_recurs_is_computed_once_until_it_has_not_been_asked_for_in_a_while():
    cache, made = KVCache(ChunkLayout(), layers=1), []

    def ask(key):
        return cache.of_level(key, lambda: made.append(key) or len(made))

    assert [ask("a"), ask("b"), ask("a")] == [1, 2, 1]
    for number in range(15):
        ask(number)
    assert (ask("a"), ask("b")) == (1, 18)
    cache.reset()
    assert ask("a") == 19


def test_a_tensor_is_a_key_by_being_the_same_object():
    cache, level = KVCache(ChunkLayout(), layers=1), torch.ones(3)

    assert cache.of_level(("time", level), lambda: 1) == cache.of_level(("time", level), lambda: 2)
    assert cache.of_level(("time", level.clone()), lambda: 3) == 3
