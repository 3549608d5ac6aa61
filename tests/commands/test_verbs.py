"""The command as people type it: what it prints, and what it leaves behind."""

import json
from pathlib import Path

import pytest
import torch
from command_line import MAKE, in_a_process, left_in
from PIL import Image
from random_model import random_student

import causvid
from causvid.cli import main
from causvid.data.footage import probe, read_video
from causvid.data.metadata import read_metadata
from causvid.demo import run_demo
from causvid.evaluate.speed import compare
from causvid.generate.machine import use_threads
from causvid.recording import record


def test_a_prompt_becomes_a_video_that_knows_how_it_was_made(here, capsys):
    status = main(
        [
            *MAKE,
            "a red ball",
            "--seconds",
            "2.5",
            "--seed",
            "3",
            "--prompt-at",
            "1",
            "it snows",
            "-o",
            "ball.mp4",
        ]
    )

    assert status == 0
    assert left_in(here) == ["ball.mp4"]
    assert len(read_video(here / "ball.mp4")) == 20  # 2.5 seconds of 8 frames, though chunks are one second
    stored = read_metadata(here / "ball.mp4")
    assert stored == {
        "prompt": "a red ball",
        "prompts_at": {"1": "it snows"},
        "transition": "soft",
        "seed": 3,
        "model": "random",
        "past": "windowed",
        "window": 6,
        "sink": 2,
        "sampler": "fresh",
        "sigmas": [1.0, 0.75, 0.5],
        "dtype": "float32",
        "size": [32, 16],
        "fps": 8,
        "seconds": 2.5,
        "version": causvid.__version__,
    }
    printed = capsys.readouterr()
    assert "20 frames in" in printed.out and "frames/s" in printed.out and "the first after" in printed.out
    assert "20/20 frames" in printed.err


def test_ten_seconds_are_the_default(here):
    assert main([*MAKE, "a red ball", "-o", "ball.webp"]) == 0
    assert Image.open("ball.webp").n_frames == 80


@pytest.mark.parametrize("name", ["ball.gif", "ball.webp", "ball.png"])
def test_every_kind_of_clip_is_written(here, name):
    assert main([*MAKE, "a red ball", "--seconds", "1", "-o", name]) == 0
    assert left_in(here) == [name]
    assert read_metadata(here / name)["seed"] == 0


def test_the_same_command_writes_the_same_bytes(here):
    for name in ("a.mp4", "b.mp4"):
        main([*MAKE, "a red ball", "--seconds", "1", "-o", name])

    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_a_picture_can_be_the_start(here):
    Image.new("RGB", (300, 200), "red").save("start.png")

    assert main([*MAKE, "a red ball", "--image", "start.png", "--seconds", "1"]) == 0
    assert read_metadata(here / "out.mp4")["image"] == "start.png"


def test_size_and_scale_decide_how_large_the_pictures_are(here):
    main([*MAKE, "a red ball", "--seconds", "1", "--size", "16x32", "--scale", "3"])

    assert (probe("out.mp4").height, probe("out.mp4").width) == (48, 96)


def test_unknown_words_are_told_in_one_line(here, capsys):
    main([*MAKE, "a red zeppelin", "--seconds", "1", "--prompt-at", "0.5", "a sloop"])

    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("causvid:")]
    assert warnings == ["causvid: the model does not know 'zeppelin', 'sloop'; it will guess."]


def test_a_bidirectional_model_makes_one_clip(here):
    assert main(["generate", "teacher", "a red ball"]) == 0
    assert len(read_video("out.mp4")) == 24


def test_info_tells_about_a_clip_and_about_a_model(here, capsys):
    main([*MAKE, "a red ball", "--seconds", "1"])
    capsys.readouterr()

    assert main(["info", "out.mp4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "a red ball"
    assert main(["info", "student", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "causal few-step student"
    assert facts["layout"]["window_frames"] == 6
    assert facts["parameters"]["all"] == sum(
        weights.numel() for part in random_student().parts().values() for weights in part.parameters()
    )
    assert main(["info", "teacher"]) == 0
    assert "bidirectional many-step model" in capsys.readouterr().out


def test_bench_prints_one_object(here, capsys):
    assert main(["bench", "student", "--seconds", "1", "--repeats", "1", "--json"]) == 0

    measured = json.loads(capsys.readouterr().out)
    assert list(measured) == ["student", "teacher", "throughput_ratio", "latency_ratio", "how"]
    for who in ("student", "teacher"):
        assert measured[who]["frames"] == 8
        assert measured[who]["frames_per_second"] > 0 < measured[who]["first_frames_seconds"]
    ratio = measured["student"]["frames_per_second"] / measured["teacher"]["frames_per_second"]
    assert measured["throughput_ratio"] == pytest.approx(ratio)
    assert "50 Euler steps" in measured["how"]


def test_the_teachers_first_frames_come_with_its_last(here):
    measured = compare("student", seconds=2, repeats=1, teacher_steps=2)

    assert measured["teacher"]["first_frames_seconds"] == pytest.approx(
        measured["teacher"]["seconds"], rel=0.05
    )
    assert measured["student"]["first_frames_seconds"] < measured["student"]["seconds"]


def test_doctor_always_has_something_to_say(capsys):
    assert main(["doctor", "--json"]) == 0

    facts = json.loads(capsys.readouterr().out)
    assert facts["packages"]["torch"] == torch.__version__
    assert "libx264" in facts["encoders"]
    assert {
        "device",
        "threads",
        "free_memory_gb",
        "free_disk_gb",
        "tiny",
        "extras",
        "problems",
    } <= facts.keys()


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"causvid {causvid.__version__}\n"


def test_small_models_get_one_thread_unless_somebody_says_otherwise(here, monkeypatch):
    pipeline = causvid.load("student")

    monkeypatch.delenv("CAUSVID_THREADS", raising=False)
    assert use_threads(pipeline.bundle) == 1
    monkeypatch.setenv("CAUSVID_THREADS", "2")
    assert use_threads(pipeline.bundle) == 2
    monkeypatch.setenv("CAUSVID_THREADS", "many")
    with pytest.raises(causvid.UserError, match="CAUSVID_THREADS is 'many'"):
        use_threads(pipeline.bundle)


@pytest.mark.parametrize(
    "words", [["--help"], ["generate", "--help"], ["train", "--help"], ["info", "ball.png"]]
)
def test_help_and_the_description_of_a_clip_load_no_torch(here, words):
    if words[0] == "info":
        main([*MAKE, "a red ball", "--seconds", "1", "-o", words[1]])
    program = (
        "import sys\nfrom causvid.cli import main\n"
        f"try: status = main({words!r})\nexcept SystemExit as end: status = end.code\n"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    process = in_a_process("-c", program)
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "causvid" in out or "a red ball" in out


def test_several_files_of_one_clip_hold_the_same_frames(here):
    made = record(
        causvid.load("student"), "a red ball", here / "a.mp4", seconds=1, scale=1, also=[here / "b.webp"]
    )

    assert made.frames == 8
    assert left_in(here) == ["a.mp4", "b.webp"]
    assert Image.open("b.webp").n_frames == 8


def test_the_demo_says_what_it_made_and_what_to_try_next(here, capsys):
    run_demo(here / "shown", model="student")

    assert left_in(here / "shown") == ["causvid-demo.mp4", "causvid-demo.png"]
    assert len(read_video("shown/causvid-demo.mp4")) == 80
    assert list(read_metadata("shown/causvid-demo.png")["prompts_at"]) == ["5"]
    printed = capsys.readouterr().out
    assert "First frames after" in printed and "frames a second" in printed
    assert str(here / "shown" / "causvid-demo.mp4") in printed and "Next:" in printed
