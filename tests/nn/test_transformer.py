"""One forward for every use: whatever the way, the same clip gives the same velocity."""

from dataclasses import replace

import pytest
import torch
from tiny_network import CONFIG, LAYOUTS, clip, network, numbers, prompt, roll

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens
from causvid.nn.transformer import TransformerConfig

EXACT = {"atol": 1e-12, "rtol": 0}
CHUNKS = ChunkLayout()
WINDOWED = ChunkLayout(window_frames=7, sink_frames=1, positions="windowed")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_chunk_by_chunk_through_the_cache_is_the_masked_forward(layout):
    model, frames = network(), layout.first + 5 * layout.frames_per_chunk
    (x, sigma), text = clip(frames=frames), prompt()

    whole = model(x, sigma, text, mask=layout.mask(frames))

    torch.testing.assert_close(roll(model, x, sigma, text, layout), whole, **EXACT)


def test_the_same_model_serves_one_layout_after_another():
    model, (x, sigma), text = network(), clip(), prompt()

    for layout in (CHUNKS, ChunkLayout(frames_per_chunk=1), CHUNKS):
        whole = model(x, sigma, text, mask=layout.mask(9))
        torch.testing.assert_close(roll(model, x, sigma, text, layout), whole, **EXACT)


def test_a_mask_that_hides_nothing_is_no_mask():
    model, (x, sigma), text = network(), clip(), prompt()

    assert torch.equal(model(x, sigma, text, mask=torch.ones(9, 9).bool()), model(x, sigma, text))


@pytest.mark.parametrize("changed", [0, 4, 8])
def test_a_frame_reaches_its_own_chunk_and_later_ones_but_never_an_earlier_one(changed):
    model, (x, sigma), text = network(), clip(), prompt()
    other = x.clone()
    other[:, changed] += 1

    moved = (
        model(x, sigma, text, mask=CHUNKS.mask(9)) - model(other, sigma, text, mask=CHUNKS.mask(9))
    ).abs()

    touched = moved.amax((0, 2, 3, 4)) > 1e-9
    assert touched.tolist() == [frame // 3 >= changed // 3 for frame in range(9)]


def test_without_a_mask_a_frame_reaches_all():
    model, (x, sigma), text = network(), clip(), prompt()
    other = x.clone()
    other[:, 8] += 1

    moved = (model(x, sigma, text) - model(other, sigma, text)).abs().amax((0, 2, 3, 4))

    assert (moved > 1e-6).all()


def test_each_frame_has_its_own_noise_level():
    model, (x, sigma), text = network(), clip(), prompt()
    other = sigma.clone()
    other[:, 6:] = 0.5

    moved = (model(x, sigma, text, mask=CHUNKS.mask(9)) - model(x, other, text, mask=CHUNKS.mask(9))).abs()

    assert moved[:, :6].max() == 0
    assert moved[:, 6:].max() > 1e-3


@pytest.mark.parametrize("layout", [CHUNKS, WINDOWED], ids=["everything", "windowed"])
def test_a_batch_of_three_is_three_clips(layout):
    model, (x, sigma), text = network(), clip(3, 12), prompt(3)

    together = roll(model, x, sigma, text, layout)

    for i in range(3):
        alone = TextTokens(text.tokens[i : i + 1], text.lengths[i : i + 1])
        torch.testing.assert_close(
            roll(model, x[i : i + 1], sigma[i : i + 1], alone, layout)[0], together[i], **EXACT
        )


@pytest.mark.parametrize("first", [1, 5000])
def test_all_frames_later_by_the_same_amount_changes_nothing(first):
    model, (x, sigma), text = network(), clip(), prompt()

    later = model(x, sigma, text, frames=torch.arange(first, first + 9), mask=CHUNKS.mask(9))

    torch.testing.assert_close(later, model(x, sigma, text, mask=CHUNKS.mask(9)), atol=1e-10, rtol=0)


def test_with_a_window_and_no_sink_the_position_policies_agree():
    model, (x, sigma), text = network(), clip(frames=18), prompt()
    absolute = ChunkLayout(window_frames=6)

    found = roll(model, x, sigma, text, replace(absolute, positions="windowed"))

    torch.testing.assert_close(found, roll(model, x, sigma, text, absolute), **EXACT)


def test_windowed_positions_are_the_visible_frames_renumbered():
    """The newest chunk, worked out without a cache: each earlier one as it was when it was new."""
    model, (x, sigma), text = network(config=replace(CONFIG, layers=1)), clip(frames=15), prompt()

    found = roll(model, x, sigma, text, WINDOWED)

    for span in WINDOWED.spans(15):
        visible = WINDOWED.visible_frames(span.start, span.stop)
        window = model(x[:, visible], sigma[:, visible], text, frames=torch.arange(len(visible)))
        torch.testing.assert_close(found[:, span.start : span.stop], window[:, -3:], **EXACT)


def test_under_absolute_positions_the_sink_stays_where_it_was():
    model, (x, sigma), text = network(), clip(frames=15), prompt()

    windowed = roll(model, x, sigma, text, WINDOWED)
    absolute = roll(model, x, sigma, text, replace(WINDOWED, positions="absolute"))

    torch.testing.assert_close(windowed[:, :6], absolute[:, :6], **EXACT)
    assert (windowed - absolute)[:, 6:].abs().max() > 1e-4


def test_a_committed_chunk_is_remembered_as_its_last_pass_left_it():
    model, (x, sigma), text = network(), clip(frames=6), prompt()
    clean, following = KVCache(CHUNKS, layers=2), (x[:, 3:], sigma[:, 3:])
    zero = torch.zeros(2, 3).double()
    model(x[:, :3], zero, text, cache=clean)
    clean.commit(3)
    denoised = KVCache(CHUNKS, layers=2)
    for level in (1.0, 0.5):
        model(numbers(*x[:, :3].shape, seed=5), torch.full((2, 3), level).double(), text, cache=denoised)
    model(x[:, :3], zero, text, cache=denoised)
    denoised.commit(3)

    assert torch.equal(model(*following, text, cache=clean), model(*following, text, cache=denoised))


def test_teacher_forcing_is_every_chunk_beside_a_clean_past():
    model, (x, sigma), text = network(), clip(), prompt()
    clean = numbers(*x.shape, seed=7)

    together = model(
        torch.cat([clean, x], 1),
        torch.cat([torch.zeros_like(sigma), sigma], 1),
        text,
        frames=torch.arange(9).repeat(2),
        mask=CHUNKS.teacher_forcing_mask(9),
    )[:, 9:]

    cache = KVCache(CHUNKS, layers=2)
    for span in CHUNKS.spans(9):
        part = slice(span.start, span.stop)
        alone = model(x[:, part], sigma[:, part], text, cache=cache)
        torch.testing.assert_close(together[:, part], alone, atol=1e-10, rtol=0)
        model(clean[:, part], torch.zeros_like(sigma[:, part]), text, cache=cache)
        cache.commit(3)


def test_a_snapshot_continues_bit_for_bit():
    model, (x, sigma), text = network(), clip(frames=18), prompt()
    cache = KVCache(WINDOWED, layers=2)
    roll(model, x[:, :12], sigma[:, :12], text, WINDOWED, cache=cache)
    other = cache.snapshot()

    ends = []
    for each in (cache, other):
        model(x[:, 12:15], sigma[:, 12:15], text, cache=each)
        each.commit(3)
        ends.append(model(x[:, 15:], sigma[:, 15:], text, cache=each))

    assert torch.equal(*ends)


@pytest.mark.parametrize(
    "wrong",
    [{"frames": torch.arange(3)}, {"mask": torch.ones(3, 3).bool()}],
    ids=["frames", "mask"],
)
def test_a_cache_decides_frames_and_mask_itself(wrong):
    model, (x, sigma), text = network(), clip(frames=3), prompt()

    with pytest.raises(ValueError, match="follow from it"):
        model(x, sigma, text, cache=KVCache(CHUNKS, layers=2), **wrong)


def test_any_size_that_the_patch_divides_works_and_others_are_refused():
    model, text = network(), prompt(1)

    for height, width in ((2, 2), (6, 4), (2, 10)):
        x = numbers(1, 3, 4, height, width)
        assert model(x, torch.rand(1, 3).double(), text).shape == x.shape
    with pytest.raises(UserError, match="multiples of 2x2"):
        model(numbers(1, 3, 4, 3, 4), torch.rand(1, 3).double(), text)
    with pytest.raises(UserError, match="takes 4 channels"):
        model(numbers(1, 3, 5, 4, 4), torch.rand(1, 3).double(), text)


def test_sizes_that_make_no_network_are_refused():
    for wrong in (
        {"width": 50},
        {"heads": 0},
        {"layers": 0},
        {"heads": 16},
        {"patch": (2, 2, 2)},
        {"frequency_width": 15},
    ):
        with pytest.raises(UserError, match="transformer"):
            replace(CONFIG, **wrong)


def test_the_first_output_of_an_untrained_network_is_zero_and_learning_can_start():
    from causvid.nn.transformer import VideoTransformer

    model, (x, sigma), text = VideoTransformer(CONFIG), clip(dtype=torch.float32), prompt(dtype=torch.float32)

    velocity = model(x, sigma, text)
    (velocity - x).square().mean().backward()

    assert (velocity == 0).all()
    assert model.out.weight.grad.abs().max() > 0


def test_the_published_sizes_have_the_published_number_of_parameters():
    from causvid.nn.transformer import VideoTransformer

    with torch.device("meta"):
        small = VideoTransformer(TransformerConfig(width=1536, layers=30, heads=12, ffn=8960))

    assert sum(weights.numel() for weights in small.parameters()) == 1_418_996_800


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_pass_that_only_makes_keys_leaves_the_same_cache_bit_for_bit(layout):
    model, text = network(), prompt()
    x, sigma = clip()
    caches = [KVCache(layout, layers=2) for _ in range(2)]
    for span in layout.spans(9):
        part, level = x[:, span.start : span.stop], sigma[:, span.start : span.stop]
        for cache, until in zip(caches, ("end", "keys"), strict=True):
            out = model(part, level, text, cache=cache, until=until)
            assert bool(out.any()) == (until == "end")
            cache.commit(len(span))

    for whole, short in zip(*(cache._rings for cache in caches), strict=True):
        for one, other in zip(whole.visible(span), short.visible(span), strict=True):
            assert torch.equal(one, other)
