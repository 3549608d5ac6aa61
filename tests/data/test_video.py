"""Clips are written whole or not at all, and read back as they were."""

import os
import resource
from contextlib import contextmanager

import pytest
import torch
from clips import KINDS, SETTINGS, moving_square, noise, write

from causvid.data.footage import probe, read_video
from causvid.data.metadata import read_metadata
from causvid.data.video import ClipWriter, viewing_scale
from causvid.errors import UserError


def error_of(distance):
    return distance.float().square().mean().sqrt().item()


@pytest.mark.parametrize("kind", KINDS)
def test_settings_written_into_a_clip_are_read_back(tmp_path, kind):
    assert read_metadata(write(tmp_path / f"clip{kind}", moving_square(6))) == SETTINGS


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_frames_give_the_same_bytes(tmp_path, kind):
    first, second = (write(tmp_path / f"{name}{kind}", moving_square(12)) for name in "ab")

    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(("kind", "tolerance"), [(".mp4", 4.0), (".gif", 2.0)])
def test_frames_are_read_back_as_they_were_written(tmp_path, kind, tolerance):
    clip = moving_square()

    frames = read_video(write(tmp_path / f"clip{kind}", clip))

    assert frames.shape == clip.shape
    assert error_of(frames.float() - clip.float()) < tolerance


def test_an_animated_webp_holds_every_frame_at_its_time(tmp_path):
    from PIL import Image

    with Image.open(write(tmp_path / "clip.webp", moving_square(24))) as image:
        assert image.n_frames == 24
        total = sum(image.seek(i) or (image.load() and image.info["duration"]) for i in range(24))

    assert total == 2000


def test_colours_survive_the_way_through_h264(tmp_path):
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]], dtype=torch.uint8)
    clip = colours[:, None, None].expand(4, 64, 64, 3)

    frames = read_video(write(tmp_path / "clip.mp4", clip))

    assert (frames[:, 32, 32].int() - colours.int()).abs().max() <= 6


def test_a_gif_keeps_time_although_it_counts_in_hundredths(tmp_path):
    assert probe(write(tmp_path / "clip.gif", moving_square(36))).seconds == pytest.approx(3.0, abs=0.02)


def test_an_mp4_says_its_size_rate_and_length(tmp_path):
    info = probe(write(tmp_path / "clip.mp4", moving_square(24)))

    assert (info.height, info.width, info.fps, info.seconds) == (64, 96, 12.0, 2.0)


def test_an_odd_edge_of_an_mp4_is_repeated_once(tmp_path):
    clip = moving_square(4, 63, 95)

    frames = read_video(write(tmp_path / "clip.mp4", clip))

    assert frames.shape == (4, 64, 96, 3)
    assert error_of(frames[:, :63, :95].float() - clip.float()) < 4


@pytest.mark.parametrize("kind", [".mp4", ".gif"])
def test_a_scaled_clip_is_larger_by_that_number(tmp_path, kind):
    info = probe(write(tmp_path / f"clip{kind}", moving_square(4), scale=3))

    assert (info.height, info.width) == (192, 288)


def test_a_small_clip_is_enlarged_to_256_pixels_for_viewing():
    assert [viewing_scale(h) for h in (64, 96, 256, 480)] == [4, 3, 1, 1]


def test_an_mp4_name_may_look_like_an_address(tmp_path):
    assert read_video(write(tmp_path / "http: a?b#c %20.mp4", moving_square(3))).shape[0] == 3


def test_a_suffix_in_capitals_is_a_suffix(tmp_path):
    assert read_metadata(write(tmp_path / "CLIP.MP4", moving_square(3))) == SETTINGS


def test_a_contact_sheet_holds_a_frame_every_half_second(tmp_path):
    from PIL import Image

    with Image.open(write(tmp_path / "clip.png", moving_square(30, 64, 64))) as image:
        assert image.size == (5 * 66 + 2, 66 + 2)  # 2.5 s at 12 frames a second


def test_a_contact_sheet_of_a_long_clip_holds_at_most_64_frames(tmp_path):
    from PIL import Image

    with ClipWriter(tmp_path / "long.png", fps=2, metadata={}) as writer:
        for i in range(1000):
            writer.write(torch.full((1, 8, 8, 3), i % 256, dtype=torch.uint8))

    with Image.open(tmp_path / "long.png") as image:
        assert image.size == (8 * 10 + 2, 8 * 10 + 2)


# What is not finished leaves no trace.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_a_clip_that_is_stopped_leaves_the_earlier_file_and_nothing_else(tmp_path, kind, stop):
    path = tmp_path / f"clip{kind}"
    path.write_bytes(b"earlier")

    with pytest.raises(stop), ClipWriter(path, fps=12, metadata={}) as writer:
        writer.write(moving_square(5))
        raise stop

    assert path.read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == [path.name]


def test_a_clip_has_its_name_only_when_it_is_finished(tmp_path):
    path = tmp_path / "clip.mp4"
    with ClipWriter(path, fps=12, metadata={}) as writer:
        writer.write(moving_square(5))
        assert os.listdir(tmp_path) == ["clip.mp4.part"]

    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_a_closed_clip_takes_no_frames_and_closing_twice_changes_nothing(tmp_path):
    writer = ClipWriter(tmp_path / "clip.mp4", fps=12, metadata={})
    writer.write(moving_square(3))
    writer.close()
    writer.close()

    with pytest.raises(ValueError, match="is closed"):
        writer.write(moving_square(3))
    assert read_video(tmp_path / "clip.mp4").shape[0] == 3


@contextmanager
def room_for(size):
    """Files may not grow beyond `size` bytes: the system refuses the write that would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1000, 40_000])
def test_a_disk_without_room_is_one_clear_line_and_leaves_no_trace(tmp_path, kind, size):
    with pytest.raises(UserError, match="cannot be written: the file would be larger"), room_for(size):
        write(tmp_path / f"clip{kind}", noise(12))

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_said_to_be_full(tmp_path, kind, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    writer = ClipWriter(tmp_path / f"clip{kind}", fps=12, metadata={})
    (tmp_path / f"clip{kind}.part").unlink()
    (tmp_path / f"clip{kind}.part").symlink_to("/dev/full")

    with pytest.raises(UserError, match="the disk is full"):
        writer.write(noise(12))
        writer.close()

    assert os.listdir(tmp_path) == []


def test_an_unknown_suffix_names_the_accepted_ones(tmp_path):
    with pytest.raises(UserError, match=r"accepted: \.mp4, \.gif, \.webp, \.png"):
        ClipWriter(tmp_path / "clip.avi", fps=12, metadata={})


def test_a_target_that_cannot_be_is_refused_before_any_work(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    for target, reason in [
        ("folder.mp4", "is a folder"),
        ("missing/clip.mp4", "create the folder"),
        ("file/clip.mp4", "a file, not a folder"),
        ("x" * 300 + ".mp4", "name too long"),
    ]:
        with pytest.raises(UserError, match=f"(?i){reason}"):
            ClipWriter(tmp_path / target, fps=12, metadata={})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="permission denied"):
        ClipWriter(tmp_path / "clip.mp4", fps=12, metadata={})


def test_a_clip_without_frames_is_an_error_and_no_file(tmp_path):
    with (
        pytest.raises(UserError, match="not a single frame"),
        ClipWriter(tmp_path / "clip.mp4", fps=12, metadata={}),
    ):
        pass

    assert os.listdir(tmp_path) == []


def test_a_gif_faster_than_browsers_show_is_refused(tmp_path):
    with pytest.raises(UserError, match="at most 50"):
        write(tmp_path / "clip.gif", moving_square(3), fps=60)
