"""What the network makes of prompts: padding, changes mid-clip, and keeping what does not change."""

import pytest
import torch
from tiny_network import CONFIG, clip, network, numbers, prompt, roll

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens

EXACT = {"atol": 1e-12, "rtol": 0}
CHUNKS = ChunkLayout()


def padded(text, rows=CONFIG.text_rows):
    missing = rows - text.tokens.shape[1]
    return TextTokens(torch.nn.functional.pad(text.tokens, (0, 0, 0, missing)), text.lengths)


def two_parts(parts):
    first, second = prompt(seed=3), prompt(seed=4)
    tokens = torch.stack([first.tokens, second.tokens], 1)
    return TextTokens(tokens, torch.full((2, 2), 4), torch.tensor(parts)), first, second


def test_short_prompts_are_padded_with_zero_rows():
    model, (x, sigma), text = network(), clip(), prompt()

    assert torch.equal(model(x, sigma, text), model(x, sigma, padded(text)))


def test_padding_is_attended_to():
    """Wan 2.1 was trained so: a shorter maximum is another result."""
    from dataclasses import replace

    (x, sigma), text = clip(), prompt()

    short = network(config=replace(CONFIG, text_rows=4))(x, sigma, text)

    assert (short - network()(x, sigma, text)).abs().max() > 1e-3


def test_text_that_does_not_fit_is_refused():
    model, (x, sigma) = network(), clip()

    with pytest.raises(UserError, match="at most 6 rows of 12"):
        model(x, sigma, prompt(rows=7))
    with pytest.raises(UserError, match="at most 6 rows of 12"):
        model(x, sigma, TextTokens(numbers(2, 4, 13), torch.tensor([4, 4])))


def test_each_frame_reads_its_own_part_of_a_prompt_that_changes():
    model, (x, sigma) = network(), clip(frames=6)
    text, first, second = two_parts([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]])
    apart = torch.eye(6).bool()  # no frame sees another: what a frame reads is all that differs

    found = model(x, sigma, text, mask=apart)

    reads_first, reads_second = (model(x, sigma, each, mask=apart) for each in (first, second))
    chosen = torch.where(text.parts[..., None, None, None] == 0, reads_first, reads_second)
    torch.testing.assert_close(found, chosen, **EXACT)


def test_two_equal_parts_are_one_prompt():
    model, (x, sigma), text = network(), clip(), prompt()
    twice = TextTokens(
        text.tokens[:, None].expand(-1, 2, -1, -1),
        text.lengths[:, None].expand(-1, 2),
        torch.ones(2, 9).long(),
    )

    torch.testing.assert_close(model(x, sigma, twice), model(x, sigma, text), **EXACT)


def test_a_prompt_with_parts_needs_to_know_which_frame_reads_which():
    model, (x, sigma) = network(), clip(frames=6)
    text, *_ = two_parts([[0, 0, 0], [0, 0, 0]])

    with pytest.raises(ValueError, match="one number for each frame"):
        model(x, sigma, text)


def test_a_part_can_be_taken_out():
    text, _, second = two_parts([[0], [1]])

    assert torch.equal(text.select(1).tokens, second.tokens)
    assert second.select(0) is second


def test_moving_a_text_that_is_already_there_keeps_the_object():
    text = prompt()

    assert text.to("cpu", torch.float64) is text
    assert text.to(dtype=torch.float32).tokens.dtype == torch.float32


def test_parts_change_through_the_cache_as_through_the_mask():
    model, (x, sigma) = network(), clip(frames=6)
    text, *_ = two_parts([[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    whole = model(x, sigma, text, mask=CHUNKS.mask(6))

    cache = KVCache(CHUNKS, layers=2)
    for span in CHUNKS.spans(6):
        part = slice(span.start, span.stop)
        found = model(x[:, part], sigma[:, part], text.with_parts(text.parts[:, part]), cache=cache)
        torch.testing.assert_close(found, whole[:, part], **EXACT)
        cache.commit(3)


def test_a_text_kept_beside_the_cache_is_the_text_read_anew():
    model, (x, sigma), text = network(), clip(frames=6), prompt()
    kept = roll(model, x, sigma, text, CHUNKS)

    cache, anew = KVCache(CHUNKS, layers=2), []
    for span in CHUNKS.spans(6):
        again = TextTokens(text.tokens.clone(), text.lengths)
        anew.append(model(x[:, span.start : span.stop], sigma[:, span.start : span.stop], again, cache=cache))
        cache.commit(3)

    assert torch.equal(kept, torch.cat(anew, 1))


def test_a_new_prompt_is_read_from_the_chunk_on_where_it_is_given():
    model, (x, sigma) = network(), clip(frames=6)
    text, first, second = two_parts([[0, 0, 0, 1, 1, 1]] * 2)
    whole = model(x, sigma, text, mask=CHUNKS.mask(6))

    cache = KVCache(CHUNKS, layers=2)
    begun = model(x[:, :3], sigma[:, :3], first, cache=cache)
    cache.commit(3)
    switched = model(x[:, 3:], sigma[:, 3:], second, cache=cache)

    torch.testing.assert_close(torch.cat([begun, switched], 1), whole, **EXACT)


def test_reading_the_past_again_under_the_same_text_changes_nothing():
    model, (x, sigma), text = network(), clip(), prompt()
    layout = ChunkLayout(window_frames=9)
    once, again = KVCache(layout, layers=2), KVCache(layout, layers=2)
    roll(model, x[:, :6], sigma[:, :6], text, layout, cache=once)
    roll(model, x[:, :6], sigma[:, :6], text, layout, cache=again)
    again.reset()
    roll(model, x[:, :6], sigma[:, :6], text, layout, cache=again)

    newest = (x[:, 6:], sigma[:, 6:], text)
    assert torch.equal(model(*newest, cache=once), model(*newest, cache=again))
