"""A prompt that changes: what stays, what is read again, and where a new past begins."""

from dataclasses import replace

import pytest
import torch
from random_model import LAYOUT, random_student, random_teacher
from session_tools import BARE_WINDOW, LAYOUTS, chunks, start

from causvid.errors import UserError
from causvid.generate.prompts import between
from causvid.generate.rollout import Condition, commit_chunk
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens


@pytest.mark.parametrize("transition", ["soft", "blend", "recache", "cut"])
def test_frames_before_a_prompt_switch_are_unchanged(transition):
    plain, switched = start(), start()
    before = chunks(plain, 3), chunks(switched, 3)

    assert switched.set_prompt("it snows", transition=transition) == 24

    assert torch.equal(*before)
    assert not torch.equal(plain.next_chunk(), switched.next_chunk())
    assert switched.prompt == "it snows"


def test_a_new_prompt_leaves_the_chunk_before_it_under_the_old_one():
    plain, switched = start(), start()
    chunks(plain, 2), chunks(switched, 2)
    switched.set_prompt("it snows")
    switched.next_chunk()
    plain.next_chunk()

    def past(session):  # the two chunks committed before the switch
        return session.snapshot().condition.cache._rings[1].keys[:, : 2 * 2 * 2]

    # Where nothing changes, a commit and a step may be one pass.
    torch.testing.assert_close(past(plain), past(switched), atol=1e-5, rtol=0)


@LAYOUTS
def test_reading_the_past_again_under_the_same_prompt_changes_nothing_before_anything_is_forgotten(layout):
    count = (layout.window_frames or 6) // 2
    plain, again = start(layout=layout), start(layout=layout)
    chunks(plain, count), chunks(again, count)

    again.set_prompt("a red ball", transition="recache")

    assert torch.equal(chunks(plain, 3), chunks(again, 3))


@LAYOUTS
def test_reading_the_past_again_keeps_the_absolute_frame_numbers(layout):
    session = start(layout=layout)
    chunks(session, 7)

    session.set_prompt("it snows", transition="recache")
    session.next_chunk()

    assert session.snapshot().condition.cache.frames == 14
    chunks(session, 3)


@LAYOUTS
def test_a_cache_that_skipped_ahead_sees_exactly_the_frames_that_were_written(layout):
    # With one layer, keys depend on their own frames alone: forgetting what cannot be seen changes nothing.
    spec = random_student().spec
    bundle = random_student(transformer=replace(spec.transformer, layers=1), layout=layout)
    plain, again = start(bundle=bundle), start(bundle=bundle)
    chunks(plain, 7), chunks(again, 7)

    again.set_prompt("a red ball", transition="recache")

    difference = (chunks(plain, 4).int() - chunks(again, 4).int()).abs()
    assert difference.max() <= 1


def test_a_cache_skips_ahead_once_and_never_back():
    cache = KVCache(LAYOUT, layers=2)
    cache.skip_to(8)

    with pytest.raises(ValueError, match="only ahead, and only once"):
        cache.skip_to(6)
    with pytest.raises(ValueError, match="only ahead, and only once"):
        cache.skip_to(10)


def test_under_grad_a_skipped_cache_shows_the_same_past():
    bundle = random_student(layout=BARE_WINDOW)
    condition = Condition(bundle.text(["a red ball"]), KVCache(BARE_WINDOW, layers=2))
    condition.cache.skip_to(6)
    x0 = torch.randn(1, 2, 4, 4, 2, generator=torch.Generator().manual_seed(0))
    commit_chunk(bundle.denoiser, x0, condition)

    written = condition.x0(bundle.denoiser, x0, 0.5)
    frozen = condition.x0(bundle.denoiser, x0.clone().requires_grad_(), 0.5)

    torch.testing.assert_close(written, frozen.detach(), atol=1e-6, rtol=1e-5)


def test_reading_the_past_again_is_what_the_new_prompt_alone_would_have_made_of_it():
    session = start()
    chunks(session, 3)
    kept = [*session.snapshot().window, session.snapshot().waiting]
    session.set_prompt("it snows", transition="recache")
    session.next_chunk()

    condition = Condition(session.setting.text(["it snows"]), KVCache(LAYOUT, layers=2))
    for chunk in kept:
        commit_chunk(session.setting.denoiser, chunk.latents, condition)

    mine, fresh = session.snapshot().condition.cache, condition.cache
    sink = LAYOUT.sink_frames * 2  # tokens; the chunk after the switch wrote into the slots behind them
    assert torch.equal(mine._rings[1].values[:, :sink], fresh._rings[1].values[:, :sink])


@pytest.mark.parametrize("frame", [2, 6, 5000, 500_000])
def test_where_in_time_a_past_begins_makes_no_difference(frame):
    bundle = random_student(layout=BARE_WINDOW)
    noise = torch.randn(1, 2, 4, 4, 2, generator=torch.Generator().manual_seed(0))
    seen = []
    for first in (0, frame):
        condition = Condition(bundle.text(["a red ball"]), KVCache(BARE_WINDOW, layers=2))
        condition.cache.skip_to(first)
        commit_chunk(bundle.denoiser, noise, condition)
        seen.append(condition.x0(bundle.denoiser, -noise, 1.0))

    torch.testing.assert_close(*seen, atol=1e-4, rtol=1e-4)


# A blend.


def test_a_blend_over_one_chunk_is_a_soft_change():
    soft, blend = start(), start()
    chunks(soft, 2), chunks(blend, 2)

    soft.set_prompt("it snows")
    blend.set_prompt("it snows", transition="blend", over=1)

    assert torch.equal(chunks(soft, 3), chunks(blend, 3))


def test_a_blend_ends_exactly_at_the_new_prompt():
    session = start()
    session.next_chunk()
    old, new = (session.setting.text([words]).tokens for words in ("a red ball", "it snows"))

    session.set_prompt("it snows", transition="blend", over=4)
    read = []
    for _ in range(6):
        session.next_chunk()
        read.append(session.snapshot().condition.text.tokens)

    for tokens, share in zip(read, (0.25, 0.5, 0.75, 1, 1, 1), strict=True):
        torch.testing.assert_close(tokens, (1 - share) * old + share * new)
    assert torch.equal(read[3], new)
    plain = start("it snows")
    plain.restore(state := session.snapshot())
    plain.set_prompt("it snows")
    assert state.blend is None
    assert torch.equal(plain.next_chunk(), session.next_chunk())


def test_texts_of_different_lengths_are_mixed_as_if_the_shorter_had_rows_of_zeros():
    short = TextTokens(torch.ones(1, 2, 3), torch.tensor([2]))
    long = TextTokens(torch.full((1, 4, 3), 3.0), torch.tensor([4]))

    mixed = between(short, long, 0.5)

    assert mixed.tokens[0, :, 0].tolist() == [2, 2, 1.5, 1.5]
    assert mixed.lengths.tolist() == [4]


def test_another_change_ends_a_blend():
    session, plain = start(), start()
    chunks(session, 2), chunks(plain, 2)
    session.set_prompt("it snows", transition="blend", over=4)
    plain.set_prompt("it snows", transition="blend", over=4)
    session.next_chunk(), plain.next_chunk()

    session.set_prompt("the blue box", transition="soft")
    session.next_chunk()

    assert session.snapshot().blend is None
    assert torch.equal(
        session.snapshot().condition.text.tokens, session.setting.text(["the blue box"]).tokens
    )
    assert plain.snapshot().blend is not None


def test_a_blend_over_no_chunk_is_refused():
    with pytest.raises(UserError, match="over is 0; it must be a whole number from 1"):
        start().set_prompt("it snows", transition="blend", over=0)


# A cut.


@LAYOUTS
def test_a_cut_shows_what_a_fresh_session_would_that_numbers_its_noise_alike(layout):
    session = start(layout=layout)
    chunks(session, 5)
    session.set_prompt("it snows", transition="cut")

    fresh = start("it snows", layout=layout)
    state = fresh.snapshot()
    state.chunks = 5
    fresh.restore(state)

    assert torch.equal(chunks(session, 5), chunks(fresh, 5))
    assert (session.chunks, session.frames) == (10, 80)


def test_a_cut_with_the_same_prompt_forgets_too():
    plain, session = start(), start()
    chunks(plain, 2), chunks(session, 2)

    session.set_prompt("a red ball", transition="cut")

    assert not torch.equal(plain.next_chunk(), session.next_chunk())


def test_a_guided_model_forgets_under_both_prompts():
    causal = random_teacher(layout=LAYOUT)
    session = start(bundle=causal)
    chunks(session, 2)
    session.set_prompt("it snows", transition="cut")
    session.next_chunk()

    state = session.snapshot()
    assert (state.condition.cache.frames, state.condition.negative_cache.frames) == (0, 0)
    assert state.latent_frames == LAYOUT.frames_per_chunk
