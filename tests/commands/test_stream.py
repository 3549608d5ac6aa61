"""`causvid stream`: a video without an end, that listens while it grows."""

import io
import signal
import threading
import time

import pytest
import torch
from command_line import in_a_process, left_in
from random_model import random_student

from causvid.cli import main
from causvid.commands.live import Show, Story
from causvid.commands.typed import TypedLines, Wish, read_wish
from causvid.data.footage import read_video
from causvid.data.growing import GrowingClip
from causvid.data.metadata import read_metadata
from causvid.generate.pipeline import Pipeline

STREAM = ("-m", "causvid", "stream", "student", "a red ball")


@pytest.fixture
def show(tmp_path):
    """A show of a random model into live.mp4, and what it said."""
    session = Pipeline(random_student()).session("a red ball")
    story, said = Story("a red ball", {"seed": 0, "seconds": None, "model": "random"}, fps=8), []
    with GrowingClip(tmp_path / "live.mp4", fps=8, metadata={}) as clip:
        made = Show(session, clip, story, transition="soft", over=2, pace="fast", say=said.append)
        yield made, said


def typed(*lines):
    lines = TypedLines(io.StringIO("\n".join(lines) + "\n"))
    time.sleep(0.2)  # a thread reads them
    return lines


@pytest.mark.parametrize(
    ("line", "wish"),
    [
        ("it snows\n", Wish("blend", "it snows")),
        ("  /cut  it snows ", Wish("cut", "it snows")),
        ("/soft it snows", Wish("soft", "it snows")),
        ("/quit", Wish("quit")),
        ("/pause\n", Wish("pause")),
        ("/pause now", Wish("help")),
        ("/cut", Wish("help")),
        ("/?", Wish("help")),
        ("/", Wish("help")),
        (" \n", None),
    ],
)
def test_a_line_is_a_prompt_unless_it_begins_with_a_slash(line, wish):
    assert read_wish(line, transition="blend") == wish


def test_a_typed_prompt_is_a_prompt_of_the_session(show, tmp_path):
    made, said = show

    made.run(typed("/cut it snows", "/nope"), threading.Event(), frames=20)

    made.clip.close()
    by_hand = Pipeline(random_student()).session("it snows")
    *_, last = [by_hand.next_chunk() for _ in range(4)]
    assert torch.equal(made.session.next_chunk(), last)
    assert len(read_video(tmp_path / "live.mp4")) == 20
    assert said[0] == "from 0.0 s: it snows (cut)" and "/resume" in said[1]
    assert read_metadata(tmp_path / "live.mp4")["timeline"] == {
        "causvid_timeline": 1,
        "seed": 0,
        "seconds": 2.5,
        "model": "random",
        "events": [{"time": 0.0, "prompt": "it snows", "transition": "soft", "over": 4}],
    }


def test_what_was_typed_is_stored_with_its_moment(show, tmp_path):
    made, _ = show
    made.run(typed(), threading.Event(), frames=10)

    made.run(typed("/blend it snows", "a blue box"), threading.Event(), frames=24)

    made.clip.close()
    first, second = read_metadata(tmp_path / "live.mp4")["timeline"]["events"]
    assert first["prompt"] == "a red ball"
    assert second == {"time": 2.0, "prompt": "a blue box", "transition": "soft", "over": 2}


def test_a_pause_lasts_until_somebody_says_so(show):
    made, said = show
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()

    made.run(typed("/pause", "/soft it snows"), stop, frames=20)

    assert made.clip.frames == 0 and made.paused
    made.run(typed("/resume"), threading.Event(), frames=20)
    assert made.clip.frames == 20 and not made.paused
    made.run(typed("/quit"), threading.Event(), frames=100)
    assert made.clip.frames == 20
    assert said[0].startswith("paused")


def test_a_prompt_that_is_none_leaves_the_video_as_it_is(show):
    made, said = show
    made.over = 0

    made.run(typed("/blend it snows"), threading.Event(), frames=8)

    assert made.clip.frames == 8 and made.session.prompt == "a red ball"
    assert "over is 0" in said[0]


def test_a_stream_of_some_seconds_is_the_clip_of_that_length(here, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    words = ["student", "a red ball", "--seconds", "2.5", "--seed", "3", "--steps", "2"]

    assert main(["stream", *words, "--pace", "fast"]) == 0
    assert main(["generate", *words]) == 0

    assert left_in(here) == ["live.mp4", "out.mp4"]
    live, clip = read_video("live.mp4"), read_video("out.mp4")
    assert live.shape == clip.shape
    assert (live.float() - clip.float()).abs().mean() < 4
    assert read_metadata("live.mp4")["seconds"] == 2.5


def test_a_stream_says_where_it_goes_and_what_may_be_typed(here, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    assert main(["stream", "student", "a red ball", "--seconds", "1", "--pace", "fast"]) == 0

    first = capsys.readouterr().err.splitlines()[0]
    assert "live.mp4" in first and "/blend" in first and "Ctrl-C" in first


def test_ctrl_c_ends_an_endless_file_well(here):
    process = in_a_process(*STREAM, "--pace", "fast", cwd=here, stdin=-1)
    while not (here / "live.mp4").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 0 and "s of video" in err
    shown = read_video("live.mp4", max_seconds=100_000)
    assert read_metadata("live.mp4")["seconds"] == len(shown) / 8
    assert left_in(here) == ["live.mp4"]


def test_a_stream_can_be_piped_and_steered(here):
    words = ("--seconds", "4", "-o", "-")
    process = in_a_process(*STREAM, *words, cwd=here, stdin=-1, text=False)
    video, err = process.communicate(b"it snows\n", timeout=60)

    (here / "piped.mp4").write_bytes(video)
    assert process.returncode == 0
    assert len(read_video("piped.mp4")) == 32
    assert b"it snows (soft)" in err and left_in(here) == ["piped.mp4"]


def test_what_cannot_be_streamed_is_one_line(here, capsys):
    for words, message in {
        ("teacher", "a"): "cannot stream",
        ("student", " "): "the prompt is empty",
        ("student", "a", "-o", "live.gif"): "ends in .mp4",
        ("student", "a", "--seconds", "0"): "seconds is 0",
        ("student", "a", "--scale", "0"): "scale is 0",
        ("student", "a", "--image", "no.png"): "no.png cannot be read",
    }.items():
        assert main(["stream", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert left_in(here) == []
