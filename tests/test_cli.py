"""The command as people type it: what it prints, what it leaves behind, how it fails."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from random_model import random_student, random_teacher

import causvid
from causvid import cli
from causvid.cli import main
from causvid.data.footage import probe, read_video
from causvid.data.metadata import read_metadata
from causvid.evaluate.speed import compare
from causvid.generate.pipeline import use_threads
from causvid.progress import Progress
from causvid.recording import record

SOURCE = str(Path(causvid.__file__).parents[1])
MAKE = ("generate", "student")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with the models `student` and `teacher`."""
    folder = tmp_path_factory.mktemp("models")
    random_student().save(folder / "student")
    random_teacher().save(folder / "teacher")
    return folder


@pytest.fixture
def here(models, tmp_path, monkeypatch):
    """An empty working folder beside which the models are named `student` and `teacher`."""
    for name in ("student", "teacher"):
        (tmp_path / name).symlink_to(models / name)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.is_symlink())


def in_a_process(*words, **how):
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **how,
    )


# What it does.


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
        "sigmas": [1.0, 0.75, 0.5],
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
    assert use_threads(pipeline) == 1
    monkeypatch.setenv("CAUSVID_THREADS", "2")
    assert use_threads(pipeline) == 2
    monkeypatch.setenv("CAUSVID_THREADS", "many")
    with pytest.raises(causvid.UserError, match="CAUSVID_THREADS is 'many'"):
        use_threads(pipeline)


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


# How it fails: one line, status 2, nothing left behind.

BAD = {
    "no such model": (["generate", "nope", "a ball"], "no model 'nope'"),
    "an empty prompt": ([*MAKE, " "], "the prompt is empty"),
    "an empty later prompt": ([*MAKE, "a", "--prompt-at", "1", ""], "the prompt is empty"),
    "a prompt after the end": (
        [*MAKE, "a", "--seconds", "2", "--prompt-at", "2", "box"],
        "before the end, 2",
    ),
    "a prompt before the start": ([*MAKE, "a", "--prompt-at", "-1", "box"], "begin at -1 seconds"),
    "two prompts at once": ([*MAKE, "a", "--prompt-at", "1", "a", "--prompt-at", "1", "box"], "same moment"),
    "negative seconds": ([*MAKE, "a", "--seconds", "-1"], "seconds is -1"),
    "no seconds": ([*MAKE, "a", "--seconds", "0"], "seconds is 0"),
    "endless seconds": ([*MAKE, "a", "--seconds", "inf"], "seconds is inf"),
    "seconds that are no number": ([*MAKE, "a", "--seconds", "nan"], "seconds is nan"),
    "a negative seed": ([*MAKE, "a", "--seed", "-1"], "seed is -1"),
    "a size that is none": ([*MAKE, "a", "--size", "big"], "size is 'big'"),
    "a size that is no multiple": ([*MAKE, "a", "--size", "40x40"], "multiple of 16"),
    "a scale of nothing": ([*MAKE, "a", "--scale", "0"], "scale is 0"),
    "a missing picture": ([*MAKE, "a", "--image", "no.png"], "no.png cannot be read"),
    "a picture that is none": ([*MAKE, "a", "--image", "text.png"], "text.png is damaged or not"),
    "an unknown suffix": ([*MAKE, "a", "-o", "out.avi"], "out.avi is no kind of clip"),
    "a missing folder": ([*MAKE, "a", "-o", "no/out.mp4"], "no/out.mp4 cannot be written"),
    "an unknown device": ([*MAKE, "a", "--device", "abacus"], "device 'abacus'"),
    "steering what is whole": (
        ["generate", "teacher", "a", "--prompt-at", "1", "box"],
        "need a causal model",
    ),
    "too much at once": (["generate", "teacher", "a", "--seconds", "60"], "at most 3 seconds"),
    "cut-off weights": (["generate", "cut", "a"], "vae.safetensors is damaged"),
    "exchanged weights": (["generate", "exchanged", "a"], "differs from the sha256"),
    "weights of another model": (["generate", "foreign", "a"], "foreign/vae.safetensors"),
    "a model without parts": (["generate", "half", "a"], "it needs vae, text and transformer"),
    "info about nothing": (["info", "nope"], "no model 'nope'"),
    "info about a missing clip": (["info", "nope.mp4"], "nope.mp4 cannot be read"),
    "info about some text": (["info", "text.png"], "text.png is damaged or not"),
    "info about another file": (["info", "notes.txt"], "neither a clip"),
    "bench of a teacher": (["bench", "teacher"], "no causal few-step student"),
    "bench of nothing": (["bench", "student", "--repeats", "0"], "repeats is 0"),
    "an unknown recipe": (["train", "nope"], "no recipe 'nope'"),
    "an unknown recipe key": (["train", "tiny/text", "--set", "stps=1"], "unknown key 'stps'"),
    "an override that is none": (["train", "tiny/text", "--set", "steps"], "not of the form key=value"),
    "an unknown chain": (["reproduce", "huge"], "no chain 'huge'"),
}


@pytest.fixture(scope="module")
def broken(models, tmp_path_factory):
    """Model folders with something wrong, and files that are not what they seem."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("cut", "exchanged", "foreign"):
        random_student().save(folder / name)
    cut = folder / "cut" / "vae.safetensors"
    cut.write_bytes(cut.read_bytes()[:2000])
    exchanged = folder / "exchanged" / "vae.safetensors"
    weights = bytearray(exchanged.read_bytes())
    weights[-1] ^= 1
    exchanged.write_bytes(weights)
    (folder / "foreign" / "vae.safetensors").write_bytes(
        (models / "student" / "text.safetensors").read_bytes()
    )
    half = random_student()
    half.spec = replace(half.spec, text=None, transformer=None)
    half.text = half.denoiser = None
    half.save(folder / "half")
    (folder / "text.png").write_text("no picture")
    (folder / "notes.txt").write_text("no clip")
    return folder


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(here, broken, capsys, case):
    for path in broken.iterdir():
        (here / path.name).symlink_to(path)
    words, message = BAD[case]

    status = main(words)

    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("causvid: ") and message in lines[0]
    assert left_in(here) == []


def test_an_unwritable_folder_is_one_line(here, capsys):
    target = "/proc/out.mp4"  # nobody, not even root, makes files there

    assert main([*MAKE, "a red ball", "-o", target]) == 2
    assert "/proc/out.mp4 cannot be written" in capsys.readouterr().err


def test_unknown_flags_and_missing_words_are_status_2(capsys):
    for words in (
        ["generate", "--nope"],
        ["generate", "tiny"],
        ["nope"],
        ["bench", "x", "--seconds", "soon"],
    ):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 2


def test_debug_shows_where_an_error_came_from(here, capsys):
    assert main(["generate", "nope", "a ball", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch, capsys):
    def broken():
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(cli, "_VERBS", (broken,))

    assert main(["broken"]) == 1
    assert "ZeroDivisionError: ours" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/full/step.pt"),
        RuntimeError("[enforce fail] No space left on device"),
    ],
)
def test_a_full_disk_is_one_line_wherever_it_happens(monkeypatch, capsys, error):
    def save():
        raise ValueError("while saving") from error

    monkeypatch.setattr(cli, "_VERBS", (save,))

    assert main(["save"]) == 2
    assert capsys.readouterr().err.startswith("causvid: the disk is full")


def test_a_disk_that_fills_while_a_clip_grows_leaves_nothing(here):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    process = in_a_process(
        "-m",
        "causvid",
        "generate",
        "student",
        "a red ball",
        "--seconds",
        "100",
        cwd=here,
        preexec_fn=small_files,
    )
    _, err = process.communicate(timeout=120)

    assert process.returncode == 2
    assert "causvid: out.mp4 cannot be written" in err and "Traceback" not in err
    assert left_in(here) == []


def test_ctrl_c_ends_with_130_and_leaves_nothing(here):
    process = in_a_process(
        "-m", "causvid", "generate", "student", "a red ball", "--seconds", "80000", cwd=here
    )
    while not (here / "out.mp4.part").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert err.splitlines()[-1] == "causvid: interrupted; nothing was written"
    assert "Traceback" not in err
    assert left_in(here) == []


def test_an_interrupted_training_says_how_to_go_on(monkeypatch, capsys):
    def train():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_VERBS", (train,))

    assert main(["train"]) == 130
    assert capsys.readouterr().err == "causvid: interrupted; run the same command again to continue\n"


def test_a_reader_who_has_seen_enough_is_no_error(here):
    process = in_a_process("-m", "causvid", "info", "student", "--json", cwd=here)
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=60)

    assert err == ""
    assert process.returncode == 141


# What the command is made of.


def test_several_files_of_one_clip_hold_the_same_frames(here):
    made = record(
        causvid.load("student"), "a red ball", here / "a.mp4", seconds=1, scale=1, also=[here / "b.webp"]
    )

    assert made.frames == 8
    assert left_in(here) == ["a.mp4", "b.webp"]
    assert Image.open("b.webp").n_frames == 8


def test_the_progress_of_a_clip_counts_its_frames():
    with Progress(8, label="clip", unit="frame") as bar:
        bar.update(8)
        assert "8/8 frames" in bar.describe()
