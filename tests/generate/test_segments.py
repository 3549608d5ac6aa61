"""A long video in overlapping segments: nothing is lost, nothing is shown twice."""

import pytest
import torch
from picture_student import picture_student
from random_model import random_student
from session_tools import start

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.pipeline import Pipeline
from causvid.generate.rollout import rollout
from causvid.generate.segments import begin_segment
from causvid.pixels import to_uint8

SEGMENT = ChunkLayout(frames_per_chunk=3, window_frames=9, positions="segment")
IMAGE_FIRST = ChunkLayout(frames_per_chunk=2, first_chunk_frames=1, window_frames=7, positions="segment")


def played(session, chunks):
    """The chunks, and what they left in the session: latents and their numbers."""
    shown, made = [], []
    for _ in range(chunks):
        shown.append(session.next_chunk())
        made.append(session.snapshot().waiting)
    return shown, made


@pytest.mark.parametrize("segments", [1, 3])
def test_n_segments_give_what_each_adds_and_the_overlap_at_the_end(segments):
    session = start(
        bundle=picture_student(layout=SEGMENT, sigmas=(1.0,))
    )  # 33 frames each, 9 of them overlap
    first, later = 3, 2  # chunks of a segment

    shown, _ = played(session, first + later * (segments - 1))
    tail = session.finish()

    assert len(tail) == 9
    assert sum(map(len, shown)) + len(tail) == 24 * segments + 9 == session.frames
    assert session.finish().shape == (0, 16, 16, 3)


def test_segments_of_21_that_overlap_by_3_give_72_frames_each_and_9():
    layout = ChunkLayout(frames_per_chunk=3, window_frames=21, positions="segment", overlap_frames=3)
    bundle = picture_student(layout=layout, sigmas=(1.0,))
    session = start(bundle=bundle)

    lengths = [len(frames) for frames in played(session, 13)[0]]

    assert lengths == [9, 12, 12, 12, 12, 12, 3, 21, 12, 12, 12, 12, 3]
    assert sum(lengths) == 2 * 72
    assert session.held == 9


def test_a_session_says_beforehand_how_many_frames_come():
    session = start(bundle=picture_student(layout=SEGMENT))

    for _ in range(8):
        expected = session.next_frames
        assert len(session.next_chunk()) == expected


def test_the_bridge_is_the_picture_that_the_overlap_begins_with():
    session = start(bundle=picture_student(layout=SEGMENT))
    _, made = played(session, 3)
    state, setting = session.snapshot(), session.setting
    whole = setting.vae.decode(torch.cat([chunk.latents for chunk in made], 1))

    begin_segment(setting, state)

    past = torch.cat([chunk.latents for chunk in state.window], 1)
    index = -(4 * (3 - 1) + 1)
    torch.testing.assert_close(past[:, :1], setting.vae.encode(whole[:, index:][:, :1]), atol=1e-4, rtol=1e-4)
    assert torch.equal(past[:, 1:], made[-1].latents[:, 1:])
    assert (state.latent_frames, state.condition.cache.frames) == (3, 3)  # frames are counted from 0 again


def test_the_overlap_is_shown_once_and_as_the_new_segment_decodes_it():
    session = start(bundle=picture_student(layout=SEGMENT))
    played(session, 3)
    held = session.snapshot().held
    setting, state = session.setting, session.snapshot()
    begin_segment(setting, state)

    shown = session.next_chunk()

    made = session.snapshot().waiting
    past = torch.cat([chunk.latents for chunk in state.window], 1)
    anew = to_uint8(setting.vae.decode(torch.cat([past, made.latents], 1)))[0]
    assert made.start == 3
    assert (shown.int() - anew.int()).abs().max() <= 1
    # Its first frame is the old one, seen by the autoencoder once more.
    again = to_uint8(setting.vae.decode(setting.vae.encode(held[:, :1])))[0]
    assert (shown[:1].int() - again.int()).abs().max() <= 1
    assert held.shape[1] == 9


def test_where_every_latent_stands_for_as_many_frames_overlap_pixels_are_the_same():
    bundle = random_student(layout=SEGMENT)
    session = start(bundle=bundle)

    shown, made = played(session, 7)

    assert [len(frames) for frames in shown] == [12] * 7  # nothing is held back
    assert session.finish().shape == (0, 32, 16, 3)
    assert [chunk.start for chunk in made] == [0, 3, 6, 3, 6, 3, 6]
    whole = to_uint8(bundle.vae.decode(torch.cat([chunk.latents for chunk in made], 1)))[0]
    assert (torch.cat(shown).int() - whole.int()).abs().max() <= 1


def test_a_segment_alone_is_a_clip_made_chunk_by_chunk():
    session = start(bundle=random_student(layout=SEGMENT, sigmas=(1.0,)))
    _, made = played(session, 3)
    setting = session.setting
    noise = torch.cat([setting.noise(chunk, 3)[0] for chunk in range(3)], 1)

    with torch.no_grad():
        clip = rollout(setting.denoiser, noise, setting.text(["a red ball"]), layout=SEGMENT, sigmas=(1.0,))

    alone = torch.cat([chunk.latents for chunk in made], 1)
    torch.testing.assert_close(alone, clip, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", [SEGMENT, IMAGE_FIRST], ids=["chunks", "image first"])
def test_going_back_over_the_border_of_segments_shows_the_same_again(layout):
    session = start(bundle=picture_student(layout=layout), history=9)
    shown, _ = played(session, 6)

    for chunk in (4, 3, 2):
        session.rewind(chunk)
        assert torch.equal(session.next_chunk(), shown[chunk])
        assert torch.equal(session.next_chunk(), shown[chunk + 1])


def test_an_image_alone_can_be_the_overlap():
    session = start(bundle=picture_student(layout=IMAGE_FIRST))  # 25 frames each, 1 of them overlaps

    shown, _ = played(session, 7)

    assert [len(frames) for frames in shown] == [1, 8, 8, 7, 9, 8, 7]
    assert len(session.finish()) == 1
    assert session.frames == 2 * 24 + 1


def test_an_overlap_of_several_chunks_holds_them_back():
    layout = ChunkLayout(frames_per_chunk=2, window_frames=8, positions="segment", overlap_frames=4)
    session = start(bundle=picture_student(layout=layout))  # 29 frames each, 13 of them overlap

    lengths = [len(frames) for frames in played(session, 6)[0]]

    assert lengths == [5, 8, 3, 0, 16, 0]
    assert sum(lengths) == 2 * 16
    assert len(session.finish()) == 13


def test_after_finishing_one_may_still_go_on():
    plain, session = (start(bundle=picture_student(layout=SEGMENT)) for _ in range(2))
    played(plain, 3), played(session, 3)

    tail = session.finish()
    assert session.next_frames == plain.next_frames - 9

    assert torch.equal(session.next_chunk(), plain.next_chunk()[9:])
    assert len(tail) == 9
    assert session.frames == plain.frames


@pytest.mark.parametrize("transition", ["soft", "blend", "recache"])
def test_a_prompt_may_change_where_a_segment_begins(transition):
    plain, session = (start(bundle=picture_student(layout=SEGMENT)) for _ in range(2))
    played(plain, 3), played(session, 3)

    assert session.set_prompt("it snows", transition=transition) == 24 + 9
    shown, expected = session.next_chunk(), plain.next_chunk()

    assert torch.equal(shown[:9], expected[:9])
    assert not torch.equal(shown[9:], expected[9:])


def test_a_cut_shows_what_was_held_back_first():
    session = start(bundle=picture_student(layout=SEGMENT))
    played(session, 3)
    held = to_uint8(session.snapshot().held)[0]

    assert session.set_prompt("it snows", transition="cut") == 24 + 9
    assert session.next_frames == 9 + 9
    shown = session.next_chunk()

    assert torch.equal(shown[:9], held)
    assert session.held == 0
    assert session.frames == 24 + 18


def test_a_clip_goes_on_in_segments():
    clip = torch.randint(0, 256, (20, 16, 16, 3), dtype=torch.uint8)
    session = start(bundle=picture_student(layout=SEGMENT), video=clip)

    assert session.snapshot().latent_frames == SEGMENT.overlap
    assert [len(frames) for frames in played(session, 3)[0]] == [12, 3, 21]


def test_input_may_be_edited_in_segments():
    session = start(bundle=picture_student(layout=SEGMENT))
    session.push(torch.zeros(60, 16, 16, 3, dtype=torch.uint8), strength=0.5)

    used = []
    for _ in range(5):
        used.append(session.input_frames)
        session.next_chunk()

    assert used == [9, 12, 12, 12, 12]
    assert session.queued == 60 - sum(used)


@pytest.mark.parametrize("frames", [33, 34, 57])
def test_a_clip_of_any_length_is_made_of_segments(frames):
    model = Pipeline(picture_student(layout=SEGMENT, sigmas=(1.0,)))  # 8 frames a second

    clip = model.generate("a red ball", seconds=frames / 8)

    session = start(bundle=model.bundle)
    shown, _ = played(session, {33: 3, 34: 4, 57: 5}[frames])
    tail = [] if frames == 34 else [session.finish()]
    assert torch.equal(clip, torch.cat([*shown, *tail])[:frames])


# Layouts.


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"window_frames": None}, "needs a window"),
        ({"sink_frames": 3}, "no sink"),
        ({"window_frames": 8}, "8 latent frames do not fill chunks of 3"),
        ({"overlap_frames": 2}, "2 latent frames do not fill chunks"),
        ({"overlap_frames": 9}, "can overlap by 1 to 8"),
        ({"overlap_frames": 3, "positions": "absolute"}, "for positions = 'segment'"),
    ],
)
def test_segments_that_cannot_be_are_one_line(how, message):
    with pytest.raises(UserError, match=message):
        ChunkLayout(**{"frames_per_chunk": 3, "window_frames": 9, "positions": "segment", **how})


def test_a_clip_longer_than_a_segment_is_no_clip_of_this_layout():
    with pytest.raises(UserError, match="a segment of 9 frames is full"):
        SEGMENT.next_chunk(9)
