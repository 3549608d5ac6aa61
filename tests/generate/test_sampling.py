"""A model sampled otherwise than it says: other solvers, levels, guidance. And clips of several prompts."""

import pytest
import torch
from random_model import LAYOUT, SIGMAS, random_student, random_teacher

from causvid.errors import UserError
from causvid.flow.schedule import velocity_from_x0
from causvid.flow.solvers import SOLVERS
from causvid.generate.pipeline import Pipeline
from causvid.generate.rollout import rollout
from causvid.generate.sampling import Sampling, sampling_facts, sampling_of
from causvid.models.wan import NEGATIVE, PRESETS


@pytest.fixture(scope="module")
def teacher():
    return Pipeline(random_teacher())


@pytest.fixture(scope="module")
def student():
    return Pipeline(random_student())


def noise(seed=0):
    return torch.randn(1, 4, 4, 4, 2, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def rolled(bundle, **how):
    text, negative = bundle.text(["a red ball"]), bundle.text([""])
    return rollout(bundle.denoiser, noise(), text, negative=negative, guidance=2.0, layout=None, **how)


@pytest.mark.parametrize(("word", "solver"), [("predicted", "euler"), ("unipc", "unipc"), ("dpm++", "dpm++")])
def test_a_clip_is_what_the_solver_of_its_name_finds_on_the_guided_velocity(word, solver):
    bundle = random_teacher()
    text, negative = bundle.text(["a red ball"]), bundle.text([""])
    levels = bundle.spec.schedule.grid(5)

    @torch.no_grad()
    def velocity(x, sigma):
        level = torch.full(x.shape[:2], sigma)
        return velocity_from_x0(x, bundle.denoiser.guided(x, level, text, negative, 2.0), level)

    *_, end = SOLVERS[solver](velocity, noise(), levels)

    torch.testing.assert_close(rolled(bundle, sigmas=levels[:-1], renoise=word), end, atol=1e-5, rtol=1e-5)


def test_unipc_is_eulers_method_until_a_third_step_gives_it_something_to_remember():
    bundle = random_teacher()

    def difference(*sigmas):
        euler, unipc = (rolled(bundle, sigmas=sigmas, renoise=word) for word in ("predicted", "unipc"))
        return (euler - unipc).abs().max()

    assert difference(1.0) < 1e-5 and difference(1.0, 0.5) < 1e-5
    assert difference(1.0, 0.8, 0.5) > 1e-2
    torch.testing.assert_close(
        rolled(bundle, sigmas=(1.0,), renoise="fresh"), rolled(bundle, sigmas=(1.0,), renoise="unipc")
    )


def test_every_step_of_a_clip_is_told(teacher, student):
    for sampler in ("euler", "unipc", "fresh"):
        told = list[int]()
        teacher.generate("a red ball", sampler=sampler, steps=3, on_step=lambda *n, to=told: to.extend(n))
        assert told == [1, 3, 2, 3, 3, 3]


def test_a_causal_model_takes_a_solver_chunk_by_chunk(student):
    clips = [student.generate("a red ball", seconds=2, sampler=word) for word in ("fresh", "euler", "unipc")]

    assert all(len(clip) == 16 for clip in clips)
    assert torch.equal(clips[0], student.generate("a red ball", seconds=2))
    assert not torch.equal(clips[0], clips[1]) and not torch.equal(clips[1], clips[2])


def test_levels_can_be_said_or_counted(teacher, student):
    plain = student.generate("a red ball", seconds=1)

    assert torch.equal(plain, student.generate("a red ball", seconds=1, sigmas=list(SIGMAS)))
    assert not torch.equal(plain, student.generate("a red ball", seconds=1, sigmas=(1.0, 0.5)))
    counted = teacher.generate("a red ball", steps=2, shift=3.0)
    assert torch.equal(counted, teacher.generate("a red ball", sigmas=(1.0, 0.75), sampler="euler"))


def test_guidance_moves_away_from_the_negative_prompt(teacher):
    plain = teacher.generate("a red ball", guidance=1.0)

    assert torch.equal(plain, teacher.generate("a red ball", guidance=1.0, negative="it snows"))
    assert not torch.equal(plain, teacher.generate("a red ball"))
    assert torch.equal(plain, teacher.generate("a red ball", guidance=7.0, negative="a red ball"))


def test_a_stream_and_a_session_take_the_same_words(student):
    how = {"sigmas": (1.0, 0.6), "guidance": 2.0, "negative": "sand"}

    streamed = torch.cat(list(student.stream("a red ball", seconds=2, **how)))

    session = student.session("a red ball", **how)
    assert torch.equal(streamed, torch.cat([session.next_chunk(), session.next_chunk()]))
    assert not torch.equal(streamed, student.generate("a red ball", seconds=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "heun"}, "sampler is 'heun'; accepted: fresh, euler, unipc"),
        ({"steps": 0}, "steps is 0"),
        ({"sigmas": (1.0, 0.5), "steps": 2}, "neither steps nor shift"),
        ({"sigmas": ()}, "at least one"),
        ({"sigmas": (0.5, 1.0)}, "must fall from at most 1"),
        ({"shift": 5.0}, "a shift goes with steps"),
        ({"shift": -1.0, "steps": 2}, "schedule.shift is -1"),
        ({"guidance": -1.0}, "guidance is -1"),
        ({"guidance": float("nan")}, "guidance is nan"),
    ],
)
def test_what_makes_no_sampler_is_refused(student, changes, message):
    with pytest.raises(UserError, match=message):
        student.generate("a red ball", **changes)


def test_what_is_stored_of_a_sampler_makes_it_again(teacher, student):
    for pipeline in (
        teacher,
        student,
        student.sampled(steps=4, guidance=3.0, negative="it"),
    ):
        facts = sampling_facts(pipeline.spec)
        again = pipeline.sampled(**sampling_of(facts).changes)
        assert sampling_facts(again.spec) == facts


def test_published_models_are_sampled_as_they_were_published():
    wan, student = PRESETS["wan2.1-t2v-14b"], PRESETS["self-forcing-wan-1.3b"]

    assert (wan.sampler, wan.steps, wan.guidance, wan.schedule.shift) == ("unipc", 50, 5.0, 5.0)
    assert wan.negative == NEGATIVE
    assert Sampling().of(student).sampler == "fresh"


def test_several_prompts_make_a_clip_of_each_as_it_would_be_alone(teacher, student):
    prompts = ["a red ball", "it snows", "a blue box"]
    for pipeline in (teacher, student):
        clips = pipeline.generate(prompts, seconds=1, seed=3)

        assert clips.shape == (3, 8, 32, 16, 3)
        for prompt, clip in zip(prompts, clips, strict=True):
            assert torch.equal(clip, pipeline.generate(prompt, seconds=1, seed=3))


def test_a_list_with_an_empty_prompt_is_refused_before_anything_is_made(student):
    for prompts in ([], ["a red ball", " "]):
        with pytest.raises(UserError, match="empty"):
            student.generate(prompts)


def test_a_bidirectional_layout_is_a_choice(teacher):
    clip = teacher.generate("a red ball", seconds=1, layout=LAYOUT, sampler="unipc", steps=2)

    assert len(clip) == 8


def test_a_layout_is_part_of_the_sampling_and_stored_with_it():
    spec = random_student().spec
    segments = Sampling(past="segment", window=8).of(spec)

    assert segments.layout.in_segments and segments.layout.window_frames == 8
    assert segments.layout.sink_frames == 0
    assert sampling_of(sampling_facts(segments)).of(spec) == segments
    assert Sampling(sink=1, window=7).of(spec).layout.positions == spec.layout.positions


def test_a_bidirectional_model_has_no_past_to_arrange():
    bundle = random_teacher()
    with pytest.raises(UserError, match="bidirectional and has no past"):
        Sampling(window=9).of(bundle.spec)
