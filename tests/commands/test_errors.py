"""How the command fails: one line, status 2 (130 for Ctrl-C), and nothing left behind."""

import errno
import resource
import signal
import time
from dataclasses import replace

import pytest
import torch
from command_line import MAKE, in_a_process, left_in
from random_model import random_student

from causvid import cli
from causvid.cli import main
from causvid.data.video import ClipWriter

BAD = {
    "no such model": (["generate", "nope", "a ball"], "no model 'nope'"),
    "an empty prompt": ([*MAKE, " "], "the prompt is empty"),
    "no prompt": (["generate", "student"], "say once what the video shows"),
    "two places that say it": ([*MAKE, "a", "--from", "out.mp4"], "PROMPT and --from were given"),
    "no model": (["generate", "--prompts-file", "prompts.txt"], "which model?"),
    "a list that is missing": (
        ["generate", "student", "--prompts-file", "no.txt", "-o", "clips"],
        "no.txt cannot",
    ),
    "a list without prompts": (
        ["generate", "student", "--prompts-file", "notes.csv", "-o", "clips"],
        "holds 0 prompts",
    ),
    "a list into a file": (
        ["generate", "student", "--prompts-file", "notes.txt", "-o", "out.mp4"],
        "names a folder",
    ),
    "a repetition of nothing": (["generate", "--from", "nope.mp4"], "nope.mp4 cannot be read"),
    "a repetition of some text": (["generate", "--from", "text.png"], "text.png is damaged or not"),
    "a clip of an unknown model": (["generate", "--from", "random.webp"], "no model 'random'"),
    "a clip without its picture": (
        ["generate", "student", "--from", "picture.webp"],
        "start.png cannot be read",
    ),
    "a clip that does not say enough": (
        ["generate", "student", "--from", "bare.webp"],
        "does not say its seed",
    ),
    "a clip that was an edit": (
        ["generate", "student", "--from", "edit.webp"],
        "`causvid edit` from another",
    ),
    "levels that are none": ([*MAKE, "a", "--sigmas", "1,low"], "sigmas are '1,low'"),
    "levels that rise": ([*MAKE, "a", "--sigmas", "0.5,1"], "must fall"),
    "levels and steps": ([*MAKE, "a", "--sigmas", "1", "--steps", "3"], "neither steps nor shift"),
    "no steps": ([*MAKE, "a", "--steps", "0"], "steps is 0"),
    "a blend over nothing": (
        [*MAKE, "a", "--prompt-at", "1", "box", "--transition", "blend", "--over", "0"],
        "over is 0",
    ),
    "a small decoder for a small model": ([*MAKE, "a", "--vae", "tiny"], "own is small already"),
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
    "a model with a typing mistake": (["generate", "tniy", "a ball"], "Did you mean tiny?"),
    "segments with a sink": ([*MAKE, "a", "--past", "segment", "--window", "9", "--sink", "3"], "no sink"),
    "a copy over another model": (["convert", "tiny", "half"], "half holds the model 'random'"),
    "verifying what is embedded": (["models", "verify", "tiny"], "needs no fetching"),
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
    "a transition to nothing": ([*MAKE, "a", "--transition", "cut"], "give --prompt-at with them"),
    "a cut over chunks": (
        [*MAKE, "a", "--prompt-at", "1", "box", "--transition", "cut", "--over", "2"],
        "over is of a blend; the transition is cut",
    ),
    "an unknown chain": (["reproduce", "huge"], "nothing to reproduce is called 'huge'"),
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
    (folder / "notes.csv").write_text("# no prompt")
    _clip(folder / "random.webp")
    _clip(folder / "picture.webp", image="start.png")
    _clip(folder / "bare.webp", seed=None)
    _clip(folder / "edit.webp", verb="edit")
    return folder


def _clip(path, **other):
    told = {"prompt": "a red ball", "seed": 0, "model": "random", "seconds": 1, **other}
    told = {name: value for name, value in told.items() if value is not None}
    with ClipWriter(path, fps=8, metadata=told) as clip:
        clip.write(torch.zeros(8, 16, 16, 3, dtype=torch.uint8))


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
        ["generate", "tiny", "a", "--transition", "fade"],
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


def test_a_folder_that_may_not_be_written_is_one_line_wherever_it_is_met(monkeypatch, capsys):
    def save():
        raise PermissionError(errno.EACCES, "Permission denied", "runs/tiny")

    monkeypatch.setattr(cli, "_VERBS", (save,))

    assert main(["save"]) == 2
    said = capsys.readouterr().err
    assert said == "causvid: runs/tiny cannot be read or written: permission denied. Choose another place.\n"


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
    err = process.communicate(timeout=60)[1]

    assert process.returncode == 130
    assert err.splitlines()[-1] == "causvid: interrupted; nothing was written"
    assert "Traceback" not in err
    assert left_in(here) == []


class Dropping:
    """What is raised while it is deleted reaches nobody."""

    def __del__(self):
        raise KeyboardInterrupt


def test_a_press_that_a_library_drops_is_not_lost(monkeypatch, capsys):
    def generate():
        Dropping()
        time.sleep(30)

    monkeypatch.setattr(cli, "_VERBS", (generate,))
    begun = time.monotonic()

    assert main(["generate"]) == 130 and time.monotonic() - begun < 20
    assert capsys.readouterr().err == "causvid: interrupted; nothing was written\n"


def test_a_press_while_a_class_is_being_made_ends_with_130_too(tmp_path):
    (tmp_path / "begun.py").write_text(
        "import sys\n"
        "from causvid import cli\n"
        "def generate():\n"
        "    exec('raise KeyboardInterrupt')\n"
        "cli._VERBS = (generate,)\n"
        "sys.exit(cli.main(['generate']))\n"
    )
    process = in_a_process("begun.py", cwd=tmp_path)

    assert process.communicate(timeout=60)[1] == "causvid: interrupted; nothing was written\n"
    assert process.returncode == 130


def test_an_interrupted_training_says_how_to_go_on(monkeypatch, capsys):
    def train():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_VERBS", (train,))

    assert main(["train"]) == 130
    assert capsys.readouterr().err == "causvid: interrupted; run the same command again to continue\n"


def test_an_interrupted_list_of_prompts_says_how_to_go_on(monkeypatch, capsys):
    def generate(*, prompts_file: str = ""):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_VERBS", (generate,))

    assert main(["generate", "--prompts-file", "a.txt"]) == 130
    assert capsys.readouterr().err.endswith("run the same command again to continue\n")
    assert main(["generate"]) == 130
    assert capsys.readouterr().err.endswith("nothing was written\n")


def test_a_reader_who_has_seen_enough_is_no_error(here):
    process = in_a_process("-m", "causvid", "info", "student", "--json", cwd=here)
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=60)

    assert err == ""
    assert process.returncode == 141
