"""A live video without a network: whatever its viewer asks for, in whatever order."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from picture_student import picture_student
from serving_tools import LATER, PROMPT, solo, tiny_pipeline

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.pipeline import Pipeline
from causvid.serve.branches import Made
from causvid.serve.limits import Limits
from causvid.serve.live import LiveVideo
from causvid.serve.order import Order
from causvid.serve.pace import Credits
from causvid.serve.protocol import read_message

LIMITS = Limits(history=4, branches=3)
FPS = 8


class Stage:
    """Stands where the engine stands, with a clock that one can turn."""

    def __init__(self, pipeline, order, *, credits=64, limits=LIMITS):
        self.pipeline, self.now, self.removed = pipeline, 100.0, False
        self.messages, self.made = [], []
        self.credits = Credits(credits)
        self.video = LiveVideo(
            order, name="test", fps=FPS, limits=limits, credits=self.credits,
            emit=self.hear, clock=lambda: self.now,
        )  # fmt: skip

    def session(self, prompt, **how):
        return self.pipeline.session(prompt, **how)

    def remove(self, work):
        assert work is self.video
        self.removed = True

    def hear(self, event):
        if isinstance(event, Made):
            self.made.append(event)
        else:
            json.dumps(event)
            self.messages.append(event)

    def say(self, **message):
        self.video.do(read_message(json.dumps(message)))

    def turn(self):
        """One turn if it is due."""
        if self.video.due() <= self.now:
            self.video.turn(self)

    def play(self, chunks):
        """Turns, with everything shown at once, until so many chunks were made."""
        goal = len(self.made) + chunks
        while len(self.made) < goal:
            if self.made:
                self.video.ack(self.made[-1].sequence)
                self.show_all()
            assert self.video.due() <= self.now, self.messages[-3:]
            self.turn()
        return torch.cat([made.frames for made in self.made[-chunks:]])

    def show_all(self):
        self.video.ack(self.credits.sent - 1)

    def last(self, kind):
        return [message for message in self.messages if message["type"] == kind][-1]


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


def order(prompt=PROMPT, **how):
    return Order(**({"prompt": prompt, "seed": 7, "realtime": False, "history": LIMITS.history} | how))


@pytest.fixture
def stage(pipeline):
    return Stage(pipeline, order())


def test_it_shows_what_a_session_of_its_own_shows(stage):
    assert torch.equal(stage.play(4), solo(chunks=4))


def test_frames_before_a_new_prompt_are_those_of_the_run_without_it(stage):
    before = stage.play(2)
    stage.say(type="prompt", prompt=LATER)
    after = stage.play(2)

    assert torch.equal(before, solo(chunks=2))
    assert torch.equal(torch.cat([before, after]), solo(chunks=4, edits={2: LATER}))
    assert stage.last("prompted")["frame"] == len(before)


def test_going_back_shows_the_same_again_and_another_prompt_something_else(stage):
    first = stage.play(4)
    stage.say(type="rewind", chunk=2)
    again = stage.play(2)
    stage.say(type="rewind", chunk=2)
    stage.say(type="prompt", prompt=LATER)
    other = stage.play(2)

    assert stage.last("rewound") == {"type": "rewound", "branch": 0, "chunk": 2, "frame": 16}
    assert torch.equal(again, first[16:])
    assert not torch.equal(other, again)
    assert [piece.frame for piece in stage.video.tree.present.pieces] == [0, 8, 16, 24]


def test_a_branch_leaves_its_parent_as_it_was_and_one_can_return(stage):
    stage.play(3)
    stage.say(type="branch", chunk=1, prompt=LATER, id=4)
    other = stage.play(2)
    stage.say(type="switch", branch=0)
    back = stage.play(1)

    branched = stage.last("branched")
    assert (branched["id"], branched["parent"], branched["branch"], branched["frame"]) == (4, 0, 1, 8)
    assert torch.equal(other, solo(chunks=3, edits={1: LATER})[8:])
    assert stage.last("switched") == {"type": "switched", "branch": 0, "chunk": 3, "frame": 24}
    assert torch.equal(back, solo(chunks=4)[24:])


def test_a_branch_with_the_same_prompt_shows_the_same(stage):
    first = stage.play(3)
    stage.say(type="branch", chunk=1)
    assert torch.equal(stage.play(2), first[8:])


@pytest.mark.parametrize("transition", ["soft", "blend", "recache", "cut"])
def test_every_transition_is_taken(stage, transition):
    stage.play(2)
    stage.say(type="prompt", prompt=LATER, transition=transition, over=2)
    stage.play(2)
    assert stage.last("prompted")["transition"] == transition
    assert not [message for message in stage.messages if message["type"] == "error"]


def test_a_pause_lasts_and_a_step_is_one_chunk(stage):
    stage.play(1)
    stage.say(type="pause")
    stage.turn()
    stage.show_all()
    assert stage.video.due() == float("inf")
    stage.say(type="step")
    stage.turn()
    assert len(stage.made) == 2 and stage.video.due() == float("inf")
    stage.say(type="resume")
    stage.play(1)
    assert [message["type"] for message in stage.messages] == ["started", "paused", "resumed"]


@pytest.mark.parametrize(
    "wish",
    [
        {"type": "rewind", "chunk": 77},
        {"type": "branch", "chunk": 77},
        {"type": "switch", "branch": 5},
        {"type": "strength", "strength": 0.5},
        {"type": "step"},
        {"type": "prompt", "prompt": "  "},
        {"type": "prompt", "prompt": "a " * 2000},
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(stage, wish):
    stage.play(1)
    stage.say(**wish)
    stage.play(1)
    assert stage.last("error")["fatal"] is False
    assert torch.equal(torch.cat([made.frames for made in stage.made]), solo(chunks=2))


def test_without_credits_nothing_is_made(pipeline):
    stage = Stage(pipeline, order(), credits=20)
    for _ in range(10):
        stage.turn()
    assert len(stage.made) == 2
    stage.video.ack(7)
    stage.turn()
    assert len(stage.made) == 3
    with pytest.raises(UserError, match="only 24 frames"):
        stage.video.ack(24)


def test_going_back_again_and_again_without_reading_makes_little(pipeline):
    stage = Stage(pipeline, order(), credits=20)
    stage.turn()
    for _ in range(20):
        stage.say(type="rewind", chunk=0)
        stage.turn()
    assert len(stage.made) == 2, "frames that have not left are counted"
    stage.video.wrote(15)
    stage.turn()
    assert len(stage.made) == 3


def test_in_real_time_a_chunk_is_made_shortly_before_it_is_needed(pipeline):
    stage = Stage(pipeline, order(realtime=True), credits=1000)
    made_at = []
    for _ in range(600):
        stage.turn()
        if len(stage.made) > len(made_at):
            made_at.append(stage.now)
            stage.show_all()
        stage.now += 0.01
    gaps = [b - a for a, b in pairwise(made_at[1:])]
    assert len(made_at) in (6, 7)
    assert all(gap == pytest.approx(1.0, abs=0.03) for gap in gaps)


def test_in_real_time_a_viewer_that_falls_behind_is_waited_for(pipeline):
    stage = Stage(pipeline, order(realtime=True), credits=1000)
    for _ in range(600):
        stage.turn()
        stage.now += 0.01
    assert len(stage.made) == 1, "nothing was shown, so nothing more is made"


def test_a_timeline_changes_the_prompt_by_itself_and_pauses_at_its_end(pipeline):
    from causvid.serve.branches import Moment

    moments = (Moment(frame=10, prompt=LATER),)
    stage = Stage(pipeline, order(moments=moments, seconds=3.0))
    frames = stage.play(3)
    stage.show_all()
    stage.turn()

    assert torch.equal(frames, solo(chunks=3, edits={1: LATER}))
    assert "end" in stage.last("paused")["reason"]
    assert stage.video.due() == float("inf")


def test_a_clip_is_edited_to_its_end_and_repeats_after_a_rewind(pipeline):
    clip = torch.randint(
        0, 255, (20, 32, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    stage = Stage(pipeline, order(source=clip, strength=0.75))
    first = stage.play(2)
    stage.say(type="rewind", chunk=1)
    again = stage.play(1)
    stage.show_all()
    stage.turn()

    session = pipeline.session(PROMPT, seed=7)
    session.push(clip, strength=0.75)
    assert torch.equal(first, torch.cat([session.next_chunk(), session.next_chunk()]))
    assert torch.equal(again, first[8:])
    assert "end" in stage.last("paused")["reason"]


@pytest.mark.parametrize(("overlap", "chunks"), [(3, 4), (6, 4)])
def test_a_clip_is_edited_in_segments_of_which_some_frames_are_held_back(overlap, chunks):
    layout = ChunkLayout(frames_per_chunk=3, window_frames=9, positions="segment", overlap_frames=overlap)
    model = Pipeline(picture_student(layout=layout))
    noise = torch.Generator().manual_seed(1)
    clip = torch.randint(0, 255, (160, 16, 16, 3), dtype=torch.uint8, generator=noise)
    stage = Stage(model, order(source=clip, strength=0.75), credits=1000)
    stage.play(3)
    stage.say(type="rewind", chunk=stage.made[1].chunk)
    shown = torch.cat([stage.made[0].frames, stage.play(chunks - 1)])

    session = model.session(PROMPT, seed=7)
    session.push(clip, strength=0.75)
    expected = [session.next_chunk() for _ in range(9)]

    assert overlap == 3 or 0 in map(len, expected), "a chunk that shows nothing is not told"
    assert torch.equal(shown, torch.cat(expected)[: len(shown)])


def test_a_video_ends_at_the_longest_that_is_allowed(pipeline):
    stage = Stage(pipeline, order(), limits=replace(LIMITS, session_seconds=2.0))
    stage.play(2)
    stage.show_all()
    stage.turn()
    assert stage.removed and "at most 2 seconds" in stage.last("stopped")["reason"]


def test_timing_is_told_for_every_stage(stage):
    stage.play(2)
    assert set(stage.made[1].timing) == {"queue", "text", "denoise", "commit", "decode"}
    assert all(seconds >= 0 for seconds in stage.made[1].timing.values())
    assert stage.made[0].first_seconds is not None and stage.made[1].first_seconds is None


class AnyViewer(RuleBasedStateMachine):
    """A viewer that asks for anything at any time."""

    @initialize(realtime=st.booleans(), credits=st.integers(1, 40))
    def begin(self, realtime, credits):
        self.stage = Stage(tiny_pipeline(), order(realtime=realtime), credits=credits)
        self.shown = {}
        self.seen = 0

    @rule(name=st.sampled_from(["pause", "resume", "step"]))
    def transport(self, name):
        self.stage.say(type=name)

    @rule(prompt=st.sampled_from([PROMPT, LATER]), transition=st.sampled_from(["soft", "recache", "cut"]))
    def prompt(self, prompt, transition):
        self.stage.say(type="prompt", prompt=prompt, transition=transition)

    @rule(chunk=st.integers(0, 6))
    def rewind(self, chunk):
        self.stage.say(type="rewind", chunk=chunk)

    @rule(chunk=st.integers(0, 6))
    def branch(self, chunk):
        self.stage.say(type="branch", chunk=chunk)

    @rule(branch=st.integers(0, 3))
    def switch(self, branch):
        self.stage.say(type="switch", branch=branch)

    @precondition(lambda self: self.stage.made)
    @rule(share=st.floats(0, 1))
    def show(self, share):
        sequence = int(share * (self.stage.credits.sent - 1))
        self.stage.video.ack(sequence)

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds):
        self.stage.now += seconds

    @rule()
    def turn(self):
        self.stage.turn()

    @rule()
    def stop(self):
        if len(self.stage.made) > 4:
            self.stage.say(type="stop")
            self.stage.turn()
            assert self.stage.video.state == "ended"

    @invariant()
    def frames_follow_one_another_in_every_branch(self):
        if not hasattr(self, "stage") or self.stage.video.state in ("new", "ended"):
            return
        for branch in self.stage.video.tree.branches.values():
            starts = [piece.frame for piece in branch.pieces]
            assert starts == [8 * n for n in range(len(starts))]
            assert len(starts) == branch.session.chunks
            assert [moment.frame for moment in branch.moments] == sorted({m.frame for m in branch.moments})

    @invariant()
    def sequence_numbers_rise_by_one(self):
        made = self.stage.made if hasattr(self, "stage") else []
        assert [m.sequence for m in made] == [8 * n for n in range(len(made))]

    @invariant()
    def what_is_under_way_is_bounded(self):
        if hasattr(self, "stage"):
            credits = self.stage.credits
            assert credits.sent - credits.written <= max(8, credits.granted)
            assert credits.in_flight <= max(8, credits.granted)

    @invariant()
    def there_is_one_end(self):
        if hasattr(self, "stage"):
            stopped = [message for message in self.stage.messages if message["type"] == "stopped"]
            assert len(stopped) == (self.stage.video.state == "ended")


AnyViewer.TestCase.settings = settings(
    max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
test_any_viewer = AnyViewer.TestCase
