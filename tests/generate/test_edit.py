"""Video to video: from the input as it is to none of it, chunk by chunk."""

import pytest
import torch
from picture_student import picture_student
from random_model import SIGMAS, random_student
from session_tools import LAYOUTS, chunks, start

from causvid.errors import UserError
from causvid.generate.edit import LOWERED, VideoInput, motion, noised
from causvid.pixels import from_uint8, to_uint8


def footage(frames=24, *, seed=5, size=(32, 16)):
    return torch.randint(
        0, 256, (frames, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def edited(session, clip, **how):
    """The whole clip, pushed at once."""
    session.push(clip, **how)
    shown = []
    while session.queued >= session.input_frames:
        shown.append(session.next_chunk())
    return torch.cat(shown)


def reconstruction(session, clip):
    vae = session.setting.vae
    return to_uint8(vae.decode(vae.encode(from_uint8(clip[None]))))[0]


@LAYOUTS
def test_strength_0_shows_the_reconstruction_of_the_input(layout):
    session, clip = start(layout=layout), footage()

    difference = (edited(session, clip, strength=0).int() - reconstruction(session, clip).int()).abs()

    assert difference.max() <= 1  # one for rounding at a half
    assert (difference > 0).float().mean() < 1e-3


@LAYOUTS
def test_strength_1_ignores_the_input_bit_for_bit(layout):
    plain, session = start(layout=layout), start(layout=layout)

    assert torch.equal(edited(session, footage(40), strength=1), chunks(plain, 5).flatten(0, 1))


def test_more_strength_is_further_from_the_input():
    clip = footage()
    shown = [edited(start(), clip, strength=strength).float() for strength in (0, 0.3, 0.7)]

    assert 1 < (shown[1] - shown[0]).abs().mean() < (shown[2] - shown[0]).abs().mean()


def test_denoising_begins_at_the_strength_and_takes_the_smaller_levels():
    x0, noise = torch.zeros(1, 2, 4, 4, 2), torch.ones(1, 2, 4, 4, 2)

    begin, levels = noised(x0, noise, SIGMAS, level=0.6)

    assert levels == (0.6, 0.5)
    torch.testing.assert_close(begin, torch.full_like(begin, 0.6))
    assert noised(x0, noise, SIGMAS, level=0.2)[1] == (0.2,)


def test_how_the_input_is_pushed_makes_no_difference():
    clip, session = footage(), start()
    at_once, shown = edited(start(), clip, strength=0.5), []
    pieces = iter(clip.split([1, 7, 5, 11]))

    for _ in range(3):
        while session.queued < session.next_frames:
            session.push(next(pieces), strength=0.5)
        shown.append(session.next_chunk())

    assert torch.equal(torch.cat(shown), at_once)
    assert session.queued == 0


def test_a_buffer_may_be_used_again_after_it_was_pushed():
    buffer, session = footage(8).numpy(), start()
    expected = edited(start(), footage(8), strength=0.5)

    session.push(buffer, strength=0.5)
    buffer[:] = 0

    assert torch.equal(session.next_chunk(), expected)


def test_too_few_frames_change_nothing():
    session = start()
    session.push(footage(7), strength=0.5)

    with pytest.raises(UserError, match="7 frames wait and the next chunk uses 8"):
        session.next_chunk()
    session.push(footage(8)[7:], strength=0.5)

    assert torch.equal(session.next_chunk(), edited(start(), footage(8), strength=0.5))


def test_the_strength_may_change_from_chunk_to_chunk():
    session, clip = start(), footage(16)
    session.push(clip, strength=0)
    session.next_chunk()
    session.push(clip[:0], strength=0.9)

    difference = session.next_chunk().float() - reconstruction(session, clip)[8:].float()
    assert difference.abs().mean() > 1


def test_input_may_begin_and_end_in_the_middle():
    plain, session = start(), start()
    chunks(plain, 2), chunks(session, 2)

    edited(session, footage(8), strength=1)
    session.push(footage(3), strength=1)
    session.end_input()

    plain.next_chunk()
    assert (session.queued, session.input_frames) == (0, 0)
    assert torch.equal(session.next_chunk(), plain.next_chunk())


def test_frames_that_wait_are_part_of_a_snapshot():
    session = start(history=2)
    session.push(footage(16), strength=0.5)
    saved = session.snapshot()
    expected = chunks(session, 2)

    session.restore(saved)
    assert torch.equal(chunks(session, 2), expected)
    session.rewind(1)
    assert torch.equal(session.next_chunk(), expected[1])


# Where the first latent is a picture.


def test_a_first_latent_of_one_frame_takes_one_frame_of_the_input():
    session = start(bundle=picture_student())
    clip = footage(17, size=session.size)
    session.push(clip, strength=0)

    shown = torch.cat([session.next_chunk(), session.next_chunk()])

    assert session.queued == 17 - 5 - 8
    difference = (shown.int() - reconstruction(session, clip)[:13].int()).abs()
    assert difference.max() <= 1


@pytest.mark.parametrize("before", ["text", "cut"])
def test_input_that_begins_later_is_in_step_with_the_pictures(before):
    session = start(bundle=picture_student())
    session.next_chunk()
    if before == "cut":
        session.set_prompt("it snows", transition="cut")
    clip = footage(8, size=session.size)
    session.push(clip, strength=0)
    assert session.input_frames == (5 if before == "cut" else 8)

    session.next_chunk()

    assert session.queued == (3 if before == "cut" else 0)


# Motion.


def test_motion_is_the_largest_step_between_neighbours():
    still = torch.full((4, 2, 2, 3), 100, dtype=torch.uint8)
    moved = still.clone()
    moved[2:] = 151

    assert motion(still, None) == 0
    assert motion(moved, None) == pytest.approx(51 / 127.5)
    assert motion(still, moved[2:3]) == pytest.approx(51 / 127.5)
    assert motion(still[:1], None) == 0


def levels(clips, strength=0.8):
    """The strength of each chunk."""
    vae, state, found = random_student().vae, VideoInput(), []
    for clip in clips:
        state = state.with_frames(clip, strength=strength, adapt="motion")
        state = state.read(vae, len(clip), start=0, device=torch.device("cpu"))[1]
        found.append(state.level)
    return found


def test_the_strength_falls_with_motion_by_up_to_a_tenth_and_smoothly():
    still, wild = footage(1).repeat(8, 1, 1, 1), footage(8)

    assert levels([still, still]) == [0.8, 0.8]
    first, second, third = levels([wild, wild, wild])
    assert first == pytest.approx(0.8 - 0.9 * LOWERED)
    assert second == pytest.approx(0.9 * 0.7 + 0.1 * first)
    assert 0.7 < third < second
    assert levels([wild], strength=0.0)[0] == 0


def test_a_session_follows_motion_where_it_is_asked_to():
    clip = footage(8)

    plain, follows = (edited(start(), clip, strength=0.8, adapt=adapt) for adapt in ("none", "motion"))
    lower = edited(start(), clip, strength=levels([clip])[0])

    assert not torch.equal(plain, follows)
    assert torch.equal(follows, lower)


# Bad input.


@pytest.mark.parametrize(
    ("clip", "how", "message"),
    [
        (footage(8, size=(16, 16)), {"strength": 0.5}, "clip is 16x16.*video 32x16"),
        (footage(8), {"strength": 1.5}, "strength is 1.5; it must be from 0"),
        (footage(8), {"strength": float("nan")}, "strength is nan"),
        (footage(8), {"strength": 0.5, "adapt": "sound"}, "adapt is 'sound'; accepted: none, motion"),
    ],
)
def test_what_cannot_be_pushed_is_one_line(clip, how, message):
    session = start()

    with pytest.raises(UserError, match=message):
        session.push(clip, **how)
    assert session.queued == 0
