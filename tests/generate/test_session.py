"""A stream: the same again from its seed, steerable, copyable, and after an hour as cheap as at first."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from random_model import LAYOUT, SIGMAS, random_student, random_teacher
from session_tools import LAYOUTS, chunks, start
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from causvid.errors import UserError
from causvid.generate.inputs import check_image, chunk_rng
from causvid.pixels import from_uint8, to_uint8


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

    whole = to_uint8(session.setting.vae.decode(torch.cat(latents, 1)))[0]

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


# Pictures to start from.


def test_the_first_chunk_of_an_image_start_is_its_reconstruction():
    session, image = start(image=picture()), picture()
    still = from_uint8(image[None, None].repeat(1, 8, 1, 1, 1))

    reconstruction = to_uint8(session.setting.vae.decode(session.setting.vae.encode(still)))[0]

    assert torch.equal(session.next_chunk(), reconstruction)


def test_a_picture_may_be_what_numpy_reads():
    assert torch.equal(start(image=picture().numpy()).next_chunk(), start(image=picture()).next_chunk())


def test_a_picture_of_another_kind_is_a_sentence():
    for wrong in (picture().float(), picture()[..., 0], picture().permute(2, 0, 1)):
        with pytest.raises(UserError, match="must be height x width x 3 in uint8"):
            check_image(wrong, (32, 16))


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


def test_memory_is_the_same_after_fifty_and_after_a_thousand_chunks():
    script = Path(__file__).parents[1] / "long_stream.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)

    assert found["seen"][0] == found["seen"][1]
    assert found["frames"] == 8000


def costs(session, count):
    for _ in range(count):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            session.next_chunk()
        yield counter.get_total_flops()


@LAYOUTS
def test_a_chunk_costs_the_same_once_the_window_is_full(layout):
    later = list(costs(start(layout=layout), 9))[4:]

    assert later == sorted(later)
    assert (len(set(later)) == 1) == (layout.window_frames is not None)


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

    with pytest.raises(UserError, match="transition is 'fade'; accepted: soft, blend, recache, cut"):
        session.set_prompt("it snows", transition="fade")
    with pytest.raises(UserError, match="prompt is empty"):
        session.set_prompt("")

    assert torch.equal(plain.next_chunk(), session.next_chunk())


def test_unknown_words_are_named():
    assert start().unknown_words("A red zeppelin, then grass") == ["zeppelin"]


def test_the_students_own_levels_are_used():
    assert start().setting.sigmas == SIGMAS
