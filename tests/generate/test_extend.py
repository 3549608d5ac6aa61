"""A clip goes on: its end is the past, and the first new frame follows its last."""

from dataclasses import replace

import pytest
import torch
from picture_student import picture_student
from random_model import LAYOUT, random_student
from session_tools import BARE_WINDOW, LAYOUTS, chunks, start

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.extend import clip_end, whole_chunks
from causvid.generate.rollout import Condition, commit_chunk, denoise_chunk
from causvid.generate.session import StreamingSession
from causvid.nn.cache import KVCache
from causvid.pixels import from_uint8, to_uint8

CPU = torch.device("cpu")


def footage(frames, *, size=(32, 16)):
    return torch.randint(
        0, 256, (frames, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5)
    )


@LAYOUTS
def test_a_clip_goes_on_from_as_many_latents_as_a_chunk_sees_before_it(layout):
    session = start(layout=layout, video=footage(40))
    state = session.snapshot()

    kept = 2 if layout == BARE_WINDOW else 4  # of a growing past as much as the model was trained on
    latents = session.setting.vae.encode(from_uint8(footage(40)[None]))[:, -kept:]

    assert state.condition.cache.frames == state.latent_frames == kept
    torch.testing.assert_close(torch.cat([chunk.latents for chunk in state.window], 1), latents)
    assert (session.frames, session.chunks) == (0, 0)


@LAYOUTS
def test_what_follows_is_what_those_latents_lead_to(layout):
    session = start(layout=layout, video=footage(40))
    given = session.snapshot()
    setting = session.setting

    shown = session.next_chunk()

    condition = Condition(setting.text(["a red ball"]), KVCache(layout, layers=2))
    for chunk in given.window:
        commit_chunk(setting.denoiser, chunk.latents, condition)
    noise, rng = setting.noise(0, 2)
    latents = denoise_chunk(setting.denoiser, noise, condition, setting.sigmas, rng=rng)
    assert torch.equal(session.snapshot().waiting.latents, latents)
    whole = setting.vae.encode(from_uint8(footage(40)[None]))
    expected = to_uint8(setting.vae.decode(torch.cat([whole, latents], 1)))[0, 40:]
    assert (shown.int() - expected.int()).abs().max() <= 1  # the decoder has just shown the clip


def test_a_clip_that_is_no_whole_number_of_latents_goes_on_from_its_last_frame():
    longer, exact = start(video=footage(39)), start(video=footage(39)[3:])

    assert torch.equal(chunks(longer, 2), chunks(exact, 2))


def test_a_clip_of_any_length_can_go_on():
    for frames in (1, 3, 8, 11):
        session = start(video=footage(frames))
        assert session.next_chunk().shape == (8, 32, 16, 3)
        assert session.snapshot().latent_frames == 2 * LAYOUT.frames_per_chunk


def test_a_short_clip_is_preceded_by_its_first_frame():
    short = footage(3)
    filled = torch.cat([short[:1].repeat(5, 1, 1, 1), short])

    assert torch.equal(start(video=short).next_chunk(), start(video=filled).next_chunk())


def test_a_clip_goes_on_in_another_prompt_in_a_branch_and_after_a_cut():
    session = start(video=footage(24), history=4)
    before = chunks(session, 3)
    session.rewind(0)
    assert torch.equal(chunks(session, 3), before)

    session.rewind(0)
    session.set_prompt("it snows", transition="recache")
    assert not torch.equal(session.next_chunk(), before[0])
    session.set_prompt("it snows", transition="cut")
    session.next_chunk()
    assert session.snapshot().latent_frames == 2


def test_whole_chunks_count_a_first_chunk_of_its_own_length():
    layout = ChunkLayout(frames_per_chunk=4, first_chunk_frames=1)

    assert [whole_chunks(layout, most) for most in (0, 1, 4, 5, 8, 9)] == [1, 1, 1, 5, 5, 9]
    assert [whole_chunks(LAYOUT, most) for most in (0, 1, 2, 3, 4)] == [2, 2, 2, 2, 4]


def test_what_cannot_go_on_is_one_line():
    picture = footage(1)[0]
    for how, message in (
        ({"video": footage(8, size=(16, 16))}, "clip is 16x16.*video 32x16"),
        ({"video": footage(0)}, "clip has 0 frames; give at least 1"),
        ({"video": footage(8), "image": picture}, "starts from an image or goes on from a video"),
    ):
        with pytest.raises(UserError, match=message):
            start(**how)


# Where the first latent is a picture.


@pytest.mark.parametrize("first", [None, 1])
def test_a_past_that_begins_with_a_picture_is_encoded_from_that_picture_on(first):
    layout = ChunkLayout(frames_per_chunk=2, window_frames=6, first_chunk_frames=first)
    bundle = picture_student(layout=layout)
    clip = footage(30, size=(16, 16))

    parts, _ = clip_end(clip, bundle.vae, layout, most=4, device=CPU)

    kept = 4 if first is None else 3
    expected = bundle.vae.encode(from_uint8(clip[None, -(1 + 4 * (kept - 1)) :]))
    assert [part.shape[1] for part in parts] == ([2, 2] if first is None else [1, 2])
    assert torch.equal(torch.cat(parts, 1), expected)
    session = StreamingSession(bundle, "a red ball", video=clip)
    assert session.next_frames == 8
    assert session.next_chunk().shape == (8, 16, 16, 3)


@pytest.mark.parametrize("first", [None, 1, 3])
def test_an_image_start_shows_the_reconstruction_of_a_still_clip(first):
    layout = ChunkLayout(frames_per_chunk=2, window_frames=6, first_chunk_frames=first)
    session = StreamingSession(
        picture_student(layout=layout), "a red ball", image=footage(1, size=(16, 16))[0], history=3
    )
    count = 1 + 4 * (layout.first - 1)
    still = from_uint8(footage(1, size=(16, 16))[None].expand(1, count, -1, -1, -1))
    vae = session.setting.vae

    shown = session.next_chunk()

    assert torch.equal(shown, to_uint8(vae.decode(vae.encode(still)))[0])
    assert [len(session.next_chunk()) for _ in range(2)] == [8, 8]
    session.rewind(0)
    assert torch.equal(session.next_chunk(), shown)


def test_an_image_shapes_what_follows_where_it_is_a_chunk_of_its_own():
    layout = ChunkLayout(frames_per_chunk=2, window_frames=6, first_chunk_frames=1)
    bundle = picture_student(layout=layout)
    images = (None, footage(1, size=(16, 16))[0], footage(2, size=(16, 16))[1])

    shown = []
    for image in images:
        session = StreamingSession(bundle, "a red ball", image=image)
        session.next_chunk()
        shown.append(session.next_chunk())

    assert not torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[1], shown[2])


def test_a_model_that_sees_everything_goes_on_from_what_it_was_trained_on():
    spec = random_student().spec
    session = start(bundle=random_student(layout=replace(spec.layout, window_frames=None, sink_frames=0)))

    assert session.setting.most_past == spec.clip_frames - 2
