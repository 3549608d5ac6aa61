"""`causvid generate`: samplers, lists of prompts, transitions, and clips made again from themselves."""

import io
import json
from pathlib import Path

import pytest
import torch
from command_line import MAKE, left_in
from PIL import Image

import causvid
from causvid.cli import main
from causvid.data.footage import probe, read_video
from causvid.data.metadata import read_metadata

LONG = ["--seconds", "2", "--seed", "3", "--scale", "1"]


def bytes_of(name):
    return Path(name).read_bytes()


@pytest.mark.parametrize(
    "how",
    [
        [],
        ["--prompt-at", "1", "it snows", "--transition", "recache"],
        ["--prompt-at", "1", "it snows", "--transition", "blend", "--over", "2"],
        ["--prompt-at", "1", "it snows", "--transition", "cut"],
        ["--sigmas", "1,0.6", "--guidance", "2", "--negative", "sand", "--size", "16x32"],
        ["--sampler", "unipc", "--steps", "3", "--shift", "4"],
        ["--dtype", "bfloat16"],
    ],
)
def test_a_clip_makes_itself_again_to_the_byte(here, how):
    assert main([*MAKE, "a red ball", *LONG, *how, "-o", "a.mp4"]) == 0
    assert main(["generate", "student", "--from", "a.mp4", "-o", "b.mp4"]) == 0

    assert bytes_of("a.mp4") == bytes_of("b.mp4")


def test_what_is_typed_beside_a_clip_is_made_otherwise(here):
    later = ["--prompt-at", "1", "it snows"]
    other = ["--seed", "4", "--seconds", "3", "--steps", "2"]
    main([*MAKE, "a red ball", *LONG, *later, "-o", "a.mp4"])
    main([*MAKE, "--from", "a.mp4", *other, "-o", "b.mp4"])
    main([*MAKE, "a red ball", *other, *later, "--scale", "1"])

    assert bytes_of("b.mp4") == bytes_of("out.mp4")


def test_a_clip_from_a_picture_is_made_again_where_the_picture_is(here):
    Image.new("RGB", (300, 200), "red").save("start.png")
    main([*MAKE, "a red ball", *LONG, "--image", "start.png", "-o", "a.mp4"])

    main(["generate", "student", "--from", "a.mp4", "-o", "b.mp4"])

    assert bytes_of("a.mp4") == bytes_of("b.mp4")


def test_a_bidirectional_model_takes_a_solver_and_shows_its_steps(here, capsys):
    words = ["--sampler", "unipc", "--steps", "5", "--guidance", "3", "--negative", "sand", "--shift", "5"]
    assert main(["generate", "teacher", "a red ball", *words]) == 0

    assert "5/5 steps" in capsys.readouterr().err
    stored = read_metadata("out.mp4")
    assert {name: stored[name] for name in ("sampler", "steps", "shift", "guidance", "negative")} == {
        "sampler": "unipc",
        "steps": 5,
        "shift": 5.0,
        "guidance": 3.0,
        "negative": "sand",
    }
    shown = causvid.load("teacher").generate(
        "a red ball", sampler="unipc", steps=5, guidance=3, negative="sand", shift=5
    )
    assert len(read_video("out.mp4")) == len(shown) == 24


def test_every_line_of_a_file_becomes_a_clip(here, capsys):
    Path("prompts.txt").write_text("a red ball\n\n  # a remark\nIt snows: the box, 1/2!\n", encoding="utf-8")
    words = ["generate", "student", "--prompts-file", "prompts.txt", "--seconds", "1", "-o", "clips"]

    assert main(words) == 0

    assert left_in(here / "clips") == ["001-a-red-ball.mp4", "002-it-snows-the-box-1-2.mp4"]
    assert read_metadata("clips/002-it-snows-the-box-1-2.mp4")["prompt"] == "It snows: the box, 1/2!"
    main([*MAKE, "a red ball", "--seconds", "1", "-o", "alone.mp4"])
    assert bytes_of("clips/001-a-red-ball.mp4") == bytes_of("alone.mp4")
    assert "2/2 It snows" in capsys.readouterr().err


def test_a_list_goes_on_where_it_was_stopped(here, capsys):
    Path("prompts.txt").write_text("a red ball\na blue box\n", encoding="utf-8")
    words = ["generate", "student", "--prompts-file", "prompts.txt", "--seconds", "1", "-o", "clips"]
    main(words)
    Path("clips/002-a-blue-box.mp4").unlink()
    before = Path("clips/001-a-red-ball.mp4").stat().st_mtime_ns

    assert main(words) == 0

    assert Path("clips/001-a-red-ball.mp4").stat().st_mtime_ns == before
    assert left_in(here / "clips") == ["001-a-red-ball.mp4", "002-a-blue-box.mp4"]
    assert "1/2 clips/001-a-red-ball.mp4 is there already" in capsys.readouterr().err
    assert main([*words, "--seed", "2"]) == 2
    assert "made with seed 0, not 2" in capsys.readouterr().err


def test_any_size_that_tokens_fill_is_made(here):
    assert main([*MAKE, "a red ball", "--seconds", "1", "--size", "48x80", "--scale", "1"]) == 0

    assert (probe("out.mp4").height, probe("out.mp4").width) == (48, 80)


STORY = {
    "causvid_timeline": 1,
    "seed": 3,
    "seconds": 3,
    "model": "student",
    "events": [{"time": 0, "prompt": "a red ball"}, {"time": 1, "prompt": "it snows", "transition": "cut"}],
}


def test_a_timeline_is_the_prompts_and_moments_it_holds(here):
    Path("story.json").write_text(json.dumps(STORY), encoding="utf-8")
    words = ["--prompt-at", "1", "it snows", "--transition", "cut", "--seconds", "3", "--seed", "3"]

    assert main(["generate", "--timeline", "story.json"]) == 0
    assert main([*MAKE, "a red ball", *words, "-o", "words.mp4"]) == 0

    assert torch.equal(read_video("out.mp4"), read_video("words.mp4"))
    assert [event["prompt"] for event in read_metadata("out.mp4")["timeline"]["events"]] == [
        "a red ball",
        "it snows",
    ]
    assert main([*MAKE, "--from", "out.mp4", "-o", "again.mp4"]) == 0
    assert bytes_of("again.mp4") == bytes_of("out.mp4")


def test_what_a_timeline_leaves_open_is_typed_or_usual(here):
    least = {"causvid_timeline": 1, "events": STORY["events"][:1]}
    Path("story.json").write_text(json.dumps(least), encoding="utf-8")
    words = ["--seed", "2", "--scale", "1"]

    assert main([*MAKE, "--timeline", "story.json", *words, "-o", "a.mp4"]) == 0
    assert main([*MAKE, "a red ball", *words, "-o", "b.mp4"]) == 0

    assert len(read_video("a.mp4")) == 80
    assert torch.equal(read_video("a.mp4"), read_video("b.mp4"))


def test_a_streamed_clip_is_generated_again(here, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("it snows\n"))
    main(["stream", "student", "a red ball", "--seconds", "2", "--pace", "fast", "--seed", "3"])

    assert main([*MAKE, "--from", "live.mp4"]) == 0

    live, clip = read_video("live.mp4"), read_video("out.mp4")
    assert live.shape == clip.shape
    assert read_metadata("out.mp4")["timeline"] == read_metadata("live.mp4")["timeline"]


def test_a_timeline_that_does_not_fit_is_one_line(here, capsys):
    Path("story.json").write_text(json.dumps(STORY), encoding="utf-8")
    Path("broken.json").write_text("{", encoding="utf-8")
    told = ("--timeline", "story.json")
    for words, message in {
        (*told, "--transition", "soft"): "change them there",
        (*told, "--seconds", "1"): "the video ends at 1",
        ("teacher", *told): "need a causal model",
        ("--timeline", "no.json"): "no.json does not exist",
        ("student", "--timeline", "broken.json"): "broken.json is not valid JSON",
        ("student", *told, "--from", "out.mp4"): "--timeline and --from were given",
    }.items():
        assert main(["generate", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert left_in(here) == ["broken.json", "story.json"]
