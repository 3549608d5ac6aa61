"""The examples run, as they stand, with the embedded model, and stay short."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from causvid.data.footage import probe, read_video
from causvid.data.metadata import read_metadata

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def run(name, *arguments, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CAUSVID_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def server():
    """A real one on a free port; gives its address for WebSockets."""
    pytest.importorskip("uvicorn", reason="the serve extra is not installed")
    command = [sys.executable, "-m", "causvid", "serve", "tiny", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield "ws" + re.search(r"http(://[\d.]+:\d+)", process.stdout.readline())[1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_an_example_fits_on_a_screen_and_opens_with_its_command(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    assert f"python examples/{path.name}" in text.partition('"""\n\nimport')[0]


def test_a_client_in_python_keeps_what_it_saw(tmp_path):
    with server() as address:
        run(
            "python_client.py",
            address,
            "a red ball on the grass",
            "it is night",
            "seen.mp4",
            folder=tmp_path,
        )

    assert probe(tmp_path / "seen.mp4").seconds == pytest.approx(6, abs=0.1)
    assert read_metadata(tmp_path / "seen.mp4")["then"] == "it is night"


def test_a_control_loop_gets_as_many_frames_as_it_gives(tmp_path):
    turns = re.findall(r"(\d+) frames in", run("robot_loop.py", 2, folder=tmp_path))
    assert sum(map(int, turns)) >= 24


def test_a_story_becomes_a_video_that_holds_it(tmp_path):
    pytest.importorskip("causvid.generate.timeline")
    shutil.copy(EXAMPLES / "story.json", tmp_path)
    run("timeline_story.py", "story.json", "story.mp4", folder=tmp_path)

    assert probe(tmp_path / "story.mp4").seconds == pytest.approx(8, abs=0.1)
    assert len(read_metadata(tmp_path / "story.mp4")["timeline"]["events"]) == 3


def test_an_edited_scene_follows_its_camera(tmp_path):
    run("camera_edit.py", "a red ball on the grass at night", "edited.mp4", folder=tmp_path)

    frames = read_video(tmp_path / "edited.mp4").float()
    seen, edited = frames.chunk(2, dim=1)
    assert len(frames) >= 60 and seen.shape == edited.shape
    assert (seen[1:] - seen[:-1]).abs().mean() > 0.1 and (seen - edited).abs().mean() > 1
