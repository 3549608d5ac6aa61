"""A model in Python: stream it, make a clip of it, save it, load it."""

from itertools import islice

import pytest
import torch
from random_model import LAYOUT, random_student, random_teacher

import causvid
from causvid.errors import UserError
from causvid.generate.clip import latents_for
from causvid.generate.pipeline import Pipeline
from causvid.models.vae import Geometry


@pytest.fixture(scope="module")
def student():
    return Pipeline(random_student())


def test_a_stream_has_no_end_unless_it_is_given_one(student):
    assert len(list(islice(student.stream("a red ball"), 12))) == 12
    assert [len(frames) for frames in student.stream("a red ball", seconds=3)] == [8, 8, 8]


def test_the_last_chunk_is_cut_to_the_length_that_was_asked_for(student):
    assert [len(frames) for frames in student.stream("a red ball", seconds=1.3)] == [8, 2]
    assert [len(frames) for frames in student.stream("a red ball", seconds=0.01)] == [1]


def test_a_shorter_stream_is_the_beginning_of_a_longer_one(student):
    short = student.generate("a red ball", seconds=1.5)

    assert torch.equal(short, student.generate("a red ball", seconds=3)[:12])


def test_a_prompt_begins_with_the_chunk_that_shows_its_moment(student):
    plain = student.generate("a red ball", seconds=4)

    for moment in (2, 2.0, 2.9):
        switched = student.generate("a red ball", seconds=4, prompts_at={moment: "it snows"})
        same = (switched == plain).flatten(1).all(1)
        assert same[:16].all() and not same[16:].any()


def test_a_prompt_at_the_start_replaces_the_first(student):
    replaced = student.generate("a red ball", seconds=1, prompts_at={0: "it snows"})

    assert torch.equal(replaced, student.generate("it snows", seconds=1))


def test_a_prompt_until_its_moment_is_a_session_steered_by_hand(student):
    session = student.session("a red ball", seed=2)
    by_hand = [session.next_chunk()]
    session.set_prompt("it snows", transition="recache")
    by_hand.append(session.next_chunk())

    streamed = student.stream(
        "a red ball", seconds=2, seed=2, prompts_at={1: "it snows"}, transition="recache"
    )

    assert torch.equal(torch.cat(by_hand), torch.cat(list(streamed)))


def test_errors_come_before_the_first_chunk(student):
    for how in ({"seconds": -1}, {"transition": "fade"}, {"prompts_at": {-1: "a"}}, {"size": (1, 1)}):
        with pytest.raises(UserError):
            student.stream("a red ball", **how)


def test_a_clip_is_as_long_as_the_model_was_trained_on(student):
    assert len(student.generate("a red ball")) == 24
    assert len(Pipeline(random_teacher()).generate("a red ball")) == 24


def test_a_bidirectional_clip_depends_on_its_seed_and_prompt():
    teacher = Pipeline(random_teacher())
    clip = teacher.generate("a red ball", seed=1)

    assert torch.equal(clip, teacher.generate("a red ball", seed=1))
    assert not torch.equal(clip, teacher.generate("a red ball", seed=2))
    assert not torch.equal(clip, teacher.generate("it snows", seed=1))
    assert len(teacher.generate("a red ball", seconds=1.1)) == 9


def test_a_bidirectional_model_refuses_what_needs_a_past():
    teacher = Pipeline(random_teacher())

    with pytest.raises(UserError, match="cannot stream"):
        teacher.stream("a red ball")
    with pytest.raises(UserError, match="prompts_at need a causal model"):
        teacher.generate("a red ball", prompts_at={1: "it snows"})
    with pytest.raises(UserError, match="at most 3 seconds, not 4"):
        teacher.generate("a red ball", seconds=4)
    assert len(teacher.generate("a red ball", layout=LAYOUT, seconds=4)) == 32


def test_a_saved_model_shows_the_same(student, tmp_path):
    student.save(tmp_path / "mine")

    again = causvid.load(tmp_path / "mine", device="cpu")

    assert again.spec == student.spec
    assert torch.equal(again.generate("a red ball", seconds=2), student.generate("a red ball", seconds=2))


def test_bfloat16_shows_nearly_the_same(student, tmp_path):
    student.save(tmp_path / "mine")

    narrow = causvid.load(tmp_path / "mine", device="cpu", dtype=torch.bfloat16)

    exact, close = (p.generate("a red ball", seconds=1).float() for p in (student, narrow))
    assert (exact - close).abs().mean() < 0.1 * exact.std()


def test_an_unknown_device_is_a_sentence(student, tmp_path):
    student.save(tmp_path / "mine")

    with pytest.raises(UserError, match="device 'abacus' cannot be used here"):
        causvid.load(tmp_path / "mine", device="abacus")


@pytest.mark.parametrize("first_frames", [1, 4])
def test_latents_for_a_clip_are_just_enough(first_frames):
    geometry = Geometry(temporal_stride=4, spatial_stride=8, latent_channels=4, first_frames=first_frames)

    for frames in range(1, 40):
        latents = latents_for(frames, geometry)
        assert geometry.frames_of(latents) >= frames
        assert latents == 1 or geometry.frames_of(latents - 1) < frames
