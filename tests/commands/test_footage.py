"""`causvid extend` and `causvid edit`: a video that somebody has, going on and made anew."""

import pytest
import torch
from clips import moving_square
from command_line import MAKE, left_in

import causvid
from causvid.cli import main
from causvid.data.footage import read_video
from causvid.data.metadata import read_metadata
from causvid.data.video import ClipWriter

MODEL = ("--model", "student")


@pytest.fixture
def film(here):
    """in.mp4: two seconds at 12 frames a second, wider than the model's pictures."""
    with ClipWriter(here / "in.mp4", fps=12, metadata={}) as clip:
        clip.write(moving_square(24))
    return here


def difference(one, other):
    return (one.float() - other.float()).abs().mean()


def test_an_extended_file_holds_the_clip_and_what_follows(film):
    words = ["it snows", *MODEL, "--seconds", "1.5", "--seed", "3", "--scale", "4"]
    assert main(["extend", "in.mp4", *words, "-o", "long.mp4"]) == 0

    given = read_video("in.mp4", fps=8, size=(32, 16))
    shown = read_video("long.mp4")[:, ::4, ::4]
    session = causvid.load("student").session("it snows", video=given, seed=3)
    new = torch.cat([session.next_chunk(), session.next_chunk()])[:12]
    assert len(given) == 16 and len(shown) == 28
    assert difference(shown[:16], given) < 12 < difference(shown[:16], given.flip(0))
    assert difference(shown[16:], new) < 12
    stored = read_metadata("long.mp4")
    assert (stored["verb"], stored["clip"], stored["clip_frames"]) == ("extend", "in.mp4", 16)
    assert (stored["prompt"], stored["seed"], stored["seconds"]) == ("it snows", 3, 1.5)


def test_an_edited_file_is_as_long_as_the_clip(film):
    words = ["it snows", *MODEL, "--strength", "0.6", "--adapt", "motion", "--scale", "1"]
    assert main(["edit", "in.mp4", *words]) == 0
    assert len(read_video("out.mp4")) == 16

    assert main(["edit", "in.mp4", *words, "--seconds", "1.1", "-o", "short.mp4"]) == 0
    assert len(read_video("short.mp4")) == 9
    stored = read_metadata("short.mp4")
    assert (stored["verb"], stored["strength"], stored["adapt"]) == ("edit", 0.6, "motion")


def test_the_strength_says_how_much_of_the_clip_is_left(film):
    for strength in ("0", "1"):
        out = f"{strength}.mp4"
        assert main(["edit", "in.mp4", "it snows", *MODEL, "--strength", strength, "-o", out]) == 0
    main([*MAKE, "it snows", "--seconds", "2", "-o", "plain.mp4"])

    kept, ignored, plain = (read_video(f"{name}.mp4") for name in ("0", "1", "plain"))
    assert torch.equal(ignored, plain)
    assert not torch.equal(kept, plain)


def test_a_clip_of_ours_goes_on_with_its_own_model(here, capsys):
    main([*MAKE, "a red ball", "--seconds", "1"])

    assert main(["extend", "out.mp4", "it snows", "-o", "long.mp4"]) == 2

    assert "no model 'random'" in capsys.readouterr().err
    assert left_in(here) == ["out.mp4"]


def test_a_clip_of_others_goes_on_with_the_embedded_model(film):
    assert main(["extend", "in.mp4", "a red ball on the grass", "--seconds", "0.5", "-o", "long.gif"]) == 0

    stored = read_metadata("long.gif")
    assert (stored["model"], stored["clip_frames"]) == ("tiny", 24)


@pytest.mark.parametrize("verb", ["extend", "edit"])
def test_bad_footage_is_one_line_and_leaves_nothing(film, capsys, verb):
    (film / "text.mp4").write_text("no video")
    for words, message in {
        ("no.mp4", "a", *MODEL): "no.mp4 cannot be read",
        ("text.mp4", "a", *MODEL): "text.mp4 is damaged or not",
        ("in.mp4", "a", *MODEL, "-o", "./in.mp4"): "is the clip itself",
        ("in.mp4", " ", *MODEL): "the prompt is empty",
        ("in.mp4", "a", "--model", "nope"): "no model 'nope'",
        ("in.mp4", "a", "--model", "teacher"): "cannot stream",
        ("in.mp4", "a", *MODEL, "--seconds", "0"): "seconds is 0",
        ("in.mp4", "a", *MODEL, "--size", "40x40"): "multiple of 16",
        ("in.mp4", "a", *MODEL, "-o", "out.avi"): "out.avi is no kind of clip",
        ("in.mp4", "a", *MODEL, "--seed", "-1"): "seed is -1",
    }.items():
        assert main([verb, *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert left_in(film) == ["in.mp4", "text.mp4"]


def test_a_strength_out_of_range_is_one_line(film, capsys):
    assert main(["edit", "in.mp4", "a", *MODEL, "--strength", "1.5"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert "strength is 1.5" in line
    assert left_in(film) == ["in.mp4"]
