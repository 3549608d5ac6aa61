"""A stream: the same again from its seed, steerable, copyable, and after an hour as cheap as at first."""

import gc
from dataclasses import replace

import pytest
import torch
from random_model import LAYOUT, SIGMAS, random_student, random_teacher
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.inputs import chunk_rng
from causvid.generate.rollout import Condition, commit_chunk
from causvid.generate.session import StreamingSession
from causvid.nn.cache import KVCache
from causvid.pixels import from_uint8, to_uint8

GROWING = ChunkLayout(frames_per_chunk=2)
BARE_WINDOW = ChunkLayout(frames_per_chunk=2, window_frames=4)
STAYING_SINK = replace(LAYOUT, positions="absolute")
LAYOUTS = pytest.mark.parametrize("layout", [GROWING, BARE_WINDOW, STAYING_SINK, LAYOUT])


def start(prompt="a red ball", bundle=None, **how):
    return StreamingSession(bundle or random_student(), prompt, **how)


def chunks(session, count):
    return torch.stack([session.next_chunk() for _ in range(count)])


def picture(height=32, width=16):
    return torch.randint(
        0, 256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5)
    )


# What comes out.


def test_a_chunk_is_pictures():
    frames = start().next_chunk()

    assert frames.shape == (8, 32, 16, 3)
    assert frames.dtype == torch.uint8
    assert frames.float().std() > 1


def test_the_same_seed_shows_the_same_video_bit_for_bit():
    assert torch.equal(chunks(start(seed=4), 5), chunks(start(seed=4), 5))
    assert not torch.equal(start(seed=4).next_chunk(), start(seed=5).next_chunk())


def test_the_noise_of_a_chunk_depends_on_its_number_and_not_on_what_came_before():
    first = torch.randn(3, generator=chunk_rng(7, 3))

    assert torch.equal(first, torch.randn(3, generator=chunk_rng(7, 3)))
    different = {chunk_rng(seed, chunk).initial_seed() for seed in range(30) for chunk in range(30)}
    assert len(different) == 900


@LAYOUTS
def test_streaming_shows_what_decoding_all_latents_at_once_shows(layout):
    session, latents, shown = start(layout=layout), [], []
    for _ in range(5):
        shown.append(session.next_chunk())
        latents.append(session.snapshot().waiting.latents)

    whole = to_uint8(session.vae.decode(torch.cat(latents, 1)))[0]

    assert (whole.int() - torch.cat(shown).int()).abs().max() <= 1  # one for rounding at a half
    assert (whole != torch.cat(shown)).float().mean() < 1e-3


def test_the_first_frames_do_not_wait_for_the_commit():
    session = start()

    session.next_chunk()
    assert session.snapshot().condition.cache.frames == 0
    session.next_chunk()
    assert session.snapshot().condition.cache.frames == LAYOUT.frames_per_chunk


def test_a_session_says_where_it_is():
    session = start()
    assert (session.chunks, session.frames, session.next_frames) == (0, 0, 8)

    chunks(session, 3)

    assert (session.chunks, session.frames) == (3, 24)


def test_another_size_works_if_it_is_made_of_whole_tokens():
    assert start(size=(16, 48)).next_chunk().shape == (8, 16, 48, 3)


# Prompts.


@pytest.mark.parametrize("transition", ["soft", "recache"])
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

    assert torch.equal(past(plain), past(switched))


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


# Pictures to start from.


def test_the_first_chunk_of_an_image_start_is_its_reconstruction():
    session, image = start(image=picture()), picture()
    still = from_uint8(image[None, None].repeat(1, 8, 1, 1, 1))

    reconstruction = to_uint8(session.vae.decode(session.vae.encode(still)))[0]

    assert torch.equal(session.next_chunk(), reconstruction)


def test_an_image_start_shapes_what_follows():
    assert not torch.equal(chunks(start(image=picture()), 2)[1], chunks(start(), 2)[1])


# Copies.


@LAYOUTS
@pytest.mark.parametrize("after", [0, 1, 6])
def test_a_restored_snapshot_continues_bit_for_bit(layout, after):
    session = start(layout=layout)
    for _ in range(after):
        session.next_chunk()
    saved = session.snapshot()
    expected = chunks(session, 3)
    session.set_prompt("it snows")
    chunks(session, 2)

    for _ in range(2):  # the snapshot itself does not change
        session.restore(saved)
        assert torch.equal(chunks(session, 3), expected)


def test_a_prompt_that_waits_is_part_of_the_snapshot():
    session = start()
    session.next_chunk()
    session.set_prompt("it snows")
    saved = session.snapshot()
    expected = session.next_chunk()

    session.restore(saved)

    assert torch.equal(session.next_chunk(), expected)


def test_a_fork_and_its_origin_do_not_disturb_each_other():
    alone = start()
    expected = chunks(alone, 6)
    session = start()
    chunks(session, 3)

    fork = session.fork()
    fork.set_prompt("it snows", transition="recache")
    interleaved = [(session.next_chunk(), fork.next_chunk()) for _ in range(3)]

    assert torch.equal(torch.stack([mine for mine, _ in interleaved]), expected[3:])
    assert not torch.equal(interleaved[0][0], interleaved[0][1])


def test_interleaved_sessions_show_what_they_show_alone():
    expected = chunks(start(seed=1), 4), chunks(start("it snows", seed=2), 4)
    one, two = start(seed=1), start("it snows", seed=2)

    both = [(one.next_chunk(), two.next_chunk()) for _ in range(4)]

    assert torch.equal(torch.stack([a for a, _ in both]), expected[0])
    assert torch.equal(torch.stack([b for _, b in both]), expected[1])


# Without an end.


def tensors_alive():
    gc.collect()
    alive = [x for x in gc.get_objects() if isinstance(x, torch.Tensor)]
    return len(alive), sum(x.untyped_storage().nbytes() for x in alive)


def test_memory_is_the_same_after_fifty_and_after_a_thousand_chunks():
    spec = random_student().spec
    session = start(
        bundle=random_student(transformer=replace(spec.transformer, layers=1), sigmas=(1.0,)), size=(16, 16)
    )
    seen = []
    for count in (50, 950):
        for _ in range(count):
            session.next_chunk()
        seen.append(tensors_alive())

    assert seen[0] == seen[1]
    assert session.frames == 8000


def test_a_chunk_costs_the_same_once_the_window_is_full():
    session, costs = start(), []
    for _ in range(12):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            session.next_chunk()
        costs.append(counter.get_total_flops())

    assert costs[1] < costs[3]
    assert len(set(costs[4:])) == 1


# Models of other kinds.


def test_a_causal_many_step_model_streams_with_its_guidance():
    causal = random_teacher()
    causal.spec = replace(causal.spec, layout=LAYOUT)
    guided, plain = start(bundle=causal), start(bundle=causal, guidance=1.0)

    assert not torch.equal(chunks(guided, 2), chunks(plain, 2))
    guided.set_prompt("it snows", transition="recache")
    assert guided.next_chunk().shape == (8, 32, 16, 3)


def test_a_bidirectional_model_streams_only_with_a_layout():
    with pytest.raises(UserError, match="bidirectional"):
        start(bundle=random_teacher())

    assert start(bundle=random_teacher(), layout=LAYOUT).next_chunk().shape == (8, 32, 16, 3)


# Bad input.


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"prompt": "  "}, "prompt is empty"),
        ({"size": (32, 20)}, "size 32x20.*multiple of 16"),
        ({"size": (0, 16)}, "size 0x16"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is"),
        ({"image": picture(16, 16)}, "image is 16x16.*video 32x16"),
    ],
)
def test_what_does_not_fit_is_one_line(how, message):
    with pytest.raises(UserError, match=message) as caught:
        start(**how)
    assert "\n" not in str(caught.value)


def test_a_model_that_lacks_a_part_cannot_start():
    bundle = random_student()
    bundle.text = None

    with pytest.raises(UserError, match="has vae, transformer"):
        start(bundle=bundle)


def test_a_bad_change_of_prompt_changes_nothing():
    plain, session = start(), start()
    chunks(plain, 2), chunks(session, 2)

    with pytest.raises(UserError, match="transition is 'fade'; accepted: soft, recache"):
        session.set_prompt("it snows", transition="fade")
    with pytest.raises(UserError, match="prompt is empty"):
        session.set_prompt("")

    assert torch.equal(plain.next_chunk(), session.next_chunk())


def test_unknown_words_are_named():
    assert start().unknown_words("A red zeppelin, then grass") == ["zeppelin"]


def test_the_students_own_levels_are_used():
    assert start().sigmas == SIGMAS
