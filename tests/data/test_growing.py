"""A clip that can be watched while it is written, and breaks off well."""

import io
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from clips import moving_square

from causvid.data.footage import probe, read_video
from causvid.data.growing import GrowingClip
from causvid.data.metadata import read_metadata
from causvid.errors import UserError

FPS = 8


def growing(target, **how):
    return GrowingClip(target, fps=FPS, metadata={"prompt": "a red ball"}, **how)


def near(shown, clip):
    return (shown.float() - clip.float()).square().mean().sqrt() < 4


def test_what_was_written_can_be_played_before_it_ends(tmp_path):
    path, clip = tmp_path / "live.mp4", moving_square(40)
    with growing(path) as live:
        for chunk in clip.split(10):
            live.write(chunk)
        early = read_video(path)
        assert read_metadata(path) == {"prompt": "a red ball"}

    assert len(early) >= 40 - 2 * FPS and near(early, clip[: len(early)])
    assert near(read_video(path), clip)


def test_a_finished_file_is_an_ordinary_one_and_says_all_that_happened(tmp_path):
    path = tmp_path / "live.mp4"
    with growing(path, scale=2) as live:
        live.write(moving_square(20))
        live.metadata = {"prompt": "a red ball", "then": "it snows"}

    assert b"moof" not in path.read_bytes()
    assert read_metadata(path)["then"] == "it snows"
    assert (probe(path).height, probe(path).width, probe(path).fps) == (128, 192, FPS)
    assert [file.name for file in tmp_path.iterdir()] == ["live.mp4"]


def test_what_breaks_off_is_kept(tmp_path):
    path, clip = tmp_path / "live.mp4", moving_square(24)
    with pytest.raises(ZeroDivisionError), growing(path) as live:
        live.write(clip)
        raise ZeroDivisionError

    assert len(read_video(path)) == 24


def test_a_stream_needs_no_file_and_no_way_back(tmp_path):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    pipe, clip = Pipe(), moving_square(16)
    with growing(pipe) as live:
        live.write(clip)
    (tmp_path / "piped.mp4").write_bytes(pipe.getvalue())

    assert near(read_video(tmp_path / "piped.mp4"), clip)


def test_a_reader_who_goes_is_a_broken_pipe():
    program = (
        "import sys, torch\nfrom causvid.data.growing import GrowingClip\n"
        "try:\n"
        "    with GrowingClip(sys.stdout.buffer, fps=8, metadata={}) as live:\n"
        "        for _ in range(50): live.write(torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8))\n"
        "except BrokenPipeError:\n    sys.exit(41)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert len(process.stdout.read(10_000)) == 10_000
        process.stdout.close()
        assert process.wait(timeout=60) == 41


def test_a_file_that_cannot_grow_is_refused_at_once(tmp_path):
    for target, message in [("live.gif", "ends in .mp4"), ("no/live.mp4", "create the folder")]:
        with pytest.raises(UserError, match=message):
            growing(tmp_path / target)
    with growing(tmp_path / "empty.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_frames_come_out_as_they_go_in():
    sizes, pipe = [], io.BytesIO()
    with growing(pipe) as live:
        for _ in range(6):
            live.write(torch.randint(0, 256, (FPS, 64, 64, 3), dtype=torch.uint8))
            sizes.append(len(pipe.getvalue()))

    assert all(later > earlier for earlier, later in pairwise(sizes[1:]))
