"""The examples run, as they stand, with the embedded model, and stay short."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

import causvid
from causvid.data.footage import probe, read_video
from causvid.data.metadata import read_metadata

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs an example as `python examples/NAME ARGUMENTS` would, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def go(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")

    return go


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_an_example_fits_on_a_screen_and_opens_with_its_command(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    assert f"python examples/{path.name}" in text.partition('"""\n\nimport')[0]


def test_a_client_in_python_keeps_what_it_saw(run, tmp_path):
    pytest.importorskip("uvicorn", reason="the serve extra is not installed")
    from serving_tools import running

    with running(load=lambda: causvid.load("tiny")) as server:
        address = f"ws://127.0.0.1:{server.port}"
        run("python_client.py", address, "a red ball on the grass", "it is night", "seen.mp4")

    frames = read_video(tmp_path / "seen.mp4").float()
    assert len(frames) == 72 and frames[60:].mean() < frames[:24].mean() - 30
    assert read_metadata(tmp_path / "seen.mp4")["then"] == "it is night"


def test_a_control_loop_gets_as_many_frames_as_it_gives(run, capsys):
    run("robot_loop.py", 2)

    turns = re.findall(r"(\d+) frames in", capsys.readouterr().out)
    assert sum(map(int, turns)) >= 24


def test_a_story_becomes_a_video_that_holds_it(run, tmp_path):
    shutil.copy(EXAMPLES / "story.json", tmp_path)
    run("timeline_story.py", "story.json", "story.mp4")

    assert probe(tmp_path / "story.mp4").seconds == pytest.approx(8, abs=0.1)
    assert len(read_metadata(tmp_path / "story.mp4")["timeline"]["events"]) == 3


def test_an_edited_scene_follows_its_camera(run, tmp_path):
    run("camera_edit.py", "a red ball on the grass at night", "edited.mp4")

    frames = read_video(tmp_path / "edited.mp4").float()
    seen, edited = frames.chunk(2, dim=1)
    assert len(frames) >= 60 and seen.shape == edited.shape
    assert (seen[1:] - seen[:-1]).abs().mean() > 0.1 and (seen - edited).abs().mean() > 1
