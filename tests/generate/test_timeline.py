"""Timelines: what is written is read again, and what is not understood is said."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_model import random_student, random_teacher

from causvid.errors import UserError
from causvid.generate.pipeline import Pipeline
from causvid.generate.timeline import Event, Timeline, read_timeline

STORY = Timeline(
    (
        Event(0.0, "a red ball"),
        Event(1.5, "it snows", transition="blend", over=2),
        Event(3.0, "the blue box", transition="cut", strength=0.5),
    ),
    seed=7,
    seconds=4.5,
    model="random",
)


def table(**changes):
    """A good file, with changes; None takes a key out."""
    whole = {
        "causvid_timeline": 1,
        "seed": 7,
        "seconds": 20,
        "model": "tiny",
        "events": [{"time": 0, "prompt": "a red ball", "transition": "soft"}, {"time": 8, "prompt": "snow"}],
    } | changes
    return json.dumps({key: value for key, value in whole.items() if value is not None})


def test_what_is_written_is_read_again(tmp_path):
    STORY.write(tmp_path / "story.json")

    assert read_timeline(tmp_path / "story.json") == STORY


@given(
    moments=st.lists(st.floats(0.001, 1e6), max_size=4, unique=True).map(sorted),
    prompt=st.text(min_size=1).filter(str.strip),
    strength=st.none() | st.floats(0, 1),
    seed=st.none() | st.integers(0, 2**64 - 1),
    over=st.integers(1, 100),
)
def test_every_timeline_is_read_as_it_was_written(moments, prompt, strength, seed, over):
    events = tuple(Event(time, prompt, "blend", over, strength) for time in (0.0, *moments))
    timeline = Timeline(events, seed=seed, seconds=2e6)

    assert Timeline.from_json(timeline.to_json()) == timeline


def test_what_can_be_left_out_has_a_default():
    timeline = Timeline.from_json('{"causvid_timeline": 1, "events": [{"time": 0, "prompt": "a ball"}]}')

    assert timeline == Timeline((Event(0.0, "a ball"),))
    assert timeline.events[0].transition == "soft"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table(causvid_timeline=None), 'an object with "causvid_timeline": 1 is expected'),
        (table(causvid_timeline=2), "of version 2; this program reads version 1"),
        (table(causvid_timeline=True), "of version True"),
        ("[]", "an object with"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        (table(sede=7), "unknown key 'sede'. Did you mean 'seed'"),
        (table(events=[]), "1 to 10000 events, not 0"),
        (table(events=None), "the key 'events' is missing"),
        (table(events=[{"time": 1, "prompt": "a"}]), "first event is at 1 seconds; it must be at 0"),
        (table(events=[{"time": 0}]), "the key 'prompt' is missing"),
        (table(events=[{"time": 0, "prompt": " "}]), "the prompt is empty"),
        (table(events=[{"time": "0", "prompt": "a"}]), "key 'time' is '0'; float is expected"),
        (table(events=[{"time": -1, "prompt": "a"}]), "time is -1"),
        (table(events=[{"time": 0, "prompt": "a"}] * 2), "times must rise"),
        (table(events=[{"time": 0, "prompt": "a", "transition": "fade"}]), "transition is 'fade'; accepted"),
        (table(events=[{"time": 0, "prompt": "a", "over": 0}]), "over is 0"),
        (table(events=[{"time": 0, "prompt": "a", "over": 1.5}]), "key 'over' is 1.5; int is expected"),
        (table(events=[{"time": 0, "prompt": "a", "strength": 2}]), "strength is 2"),
        (table(events=[{"time": 0, "prompt": "a", "then": 2}]), "unknown key 'then'"),
        (table(seed=-1), "seed is -1"),
        (table(seed=1.0), "key 'seed' is 1.0; int is expected"),
        (table(seconds=8), "lasts 8 seconds and its last event is at 8"),
        (table().replace("20", "NaN"), "NaN is no number"),
        (table().replace("20", "1e999"), "lasts inf"),
        ('{"causvid_timeline": 1, "seed": 1, "seed": 2}', "the key 'seed' stands twice"),
    ],
)
def test_what_is_not_understood_is_one_line_that_says_where(text, message):
    with pytest.raises(UserError, match=message) as caught:
        Timeline.from_json(text, where="story.json")

    assert str(caught.value).startswith("story.json")
    assert "\n" not in str(caught.value)


def test_files_that_are_none_are_one_line(tmp_path):
    (tmp_path / "noise.json").write_bytes(b"\xff\xfe\x00")

    for path, message in ((tmp_path / "no.json", "does not exist"), (tmp_path / "noise.json", "UTF-8")):
        with pytest.raises(UserError, match=message):
            read_timeline(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_timeline(tmp_path)
    with pytest.raises(UserError, match="cannot be written"):
        STORY.write(tmp_path / "no" / "story.json")


# Played.


def test_a_timeline_plays_as_its_prompts_typed_by_hand():
    model = Pipeline(random_student())
    session = model.session("a red ball", seed=7)
    typed = [session.next_chunk()]
    session.set_prompt("it snows", transition="blend", over=2)
    typed += [session.next_chunk(), session.next_chunk()]
    session.set_prompt("the blue box", transition="cut")
    typed += [session.next_chunk(), session.next_chunk()]

    timeline = Timeline((*STORY.events[:2], Event(3.0, "the blue box", "cut")), seed=7, seconds=4.5)
    shown = torch.cat(list(model.stream(timeline)))

    assert torch.equal(shown, torch.cat(typed)[:36])
    assert torch.equal(model.generate(timeline), shown)


def test_what_somebody_says_besides_a_timeline_counts_more():
    model, timeline = Pipeline(random_student()), Timeline((Event(0.0, "a red ball"),), seed=7, seconds=1.0)

    assert torch.equal(
        torch.cat(list(model.stream(timeline, seed=3, seconds=2))),
        torch.cat(list(model.stream("a red ball", seed=3, seconds=2))),
    )


def test_a_moment_at_the_border_of_chunks_begins_with_the_later_one():
    model = Pipeline(random_student())
    timeline = Timeline((Event(0.0, "a red ball"), Event(1.0, "it snows")), seconds=2.0)

    typed = model.generate("a red ball", seconds=2, prompts_at={1.0: "it snows"})

    assert torch.equal(model.generate(timeline), typed)
    assert torch.equal(typed[:8], model.generate("a red ball", seconds=1))
    assert not torch.equal(typed[8:], model.generate("a red ball", seconds=2)[8:])


def test_a_timeline_that_cannot_be_played_is_one_line():
    model, timeline = Pipeline(random_student()), Timeline((Event(0.0, "a"), Event(3.0, "b")))

    for told, how, message in (
        (STORY, {}, "a strength, which is for editing"),
        (timeline, {"prompts_at": {1: "c"}}, "from a timeline or from prompts_at"),
        (timeline, {"seconds": 3}, "last event is at 3 seconds and the video ends at 3"),
    ):
        with pytest.raises(UserError, match=message):
            model.stream(told, **how)
    with pytest.raises(UserError, match="timelines need a causal model"):
        Pipeline(random_teacher()).generate(timeline)
