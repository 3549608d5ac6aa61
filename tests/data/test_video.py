"""Clips written and read back, and every way a file can be missing, full, damaged or hostile."""

import os
import resource
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from causvid.data.footage import probe, read_video
from causvid.data.metadata import read_metadata
from causvid.data.video import ClipWriter, viewing_scale
from causvid.errors import UserError

KINDS = [".mp4", ".gif", ".webp", ".png"]
SETTINGS = {"prompt": 'a red "ball", then snow ☃ ünd {more}', "seed": 7, "model": "tiny", "seconds": 1.5}


def moving_square(frames=24, height=64, width=96):
    """A bright square that crosses a dark ground: every frame differs from the one before."""
    clip = torch.full((frames, height, width, 3), 40, dtype=torch.uint8)
    for i in range(frames):
        clip[i, 8:40, 2 * i : 2 * i + 32] = torch.tensor([220, 180, 60], dtype=torch.uint8)
    return clip


def noise(frames, height=128, width=128):
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, generator=rng)


def write(path, clip, *, fps=12.0, **options):
    with ClipWriter(path, fps=fps, metadata=SETTINGS, **options) as writer:
        for chunk in clip.split(5):
            writer.write(chunk)
    return path


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


def test_asking_for_a_rate_takes_the_frame_then_on_show(tmp_path):
    clip = write(tmp_path / "clip.mp4", moving_square(24))
    every = read_video(clip)

    assert torch.equal(read_video(clip, fps=6), every[::2])
    assert torch.equal(read_video(clip, fps=24), every.repeat_interleave(2, 0))
    assert torch.equal(read_video(clip, fps=8), every[[i * 12 // 8 for i in range(16)]])


def test_asking_for_a_size_covers_it_and_crops_the_centre(tmp_path):
    clip = torch.zeros(2, 64, 128, 3, dtype=torch.uint8)
    clip[:, :, 32:96] = 200

    frames = read_video(write(tmp_path / "clip.mp4", clip), size=(32, 32))

    assert frames.shape == (2, 32, 32, 3)
    assert (frames[:, 4:-4, 4:-4].int() - 200).abs().max() < 8


def test_a_video_filmed_upright_is_read_upright(tmp_path):
    av = pytest.importorskip("av", minversion="18", reason="older PyAV cannot write a rotation")
    clip = torch.zeros(2, 64, 96, 3, dtype=torch.uint8)
    clip[:, :, :16] = 200  # the left edge, which a turn by 90 degrees to the left brings to the bottom
    with av.open(str(tmp_path / "turned.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.set_display_rotation(90)
        for picture in clip.numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))

    frames = read_video(tmp_path / "turned.mp4")

    assert frames.shape == (2, 96, 64, 3)
    assert frames[:, -12:].min() > 150 and frames[:, :-20].max() < 50


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


# What comes from anybody.


@pytest.mark.parametrize("read", [read_video, probe, read_metadata])
def test_a_missing_file_is_one_clear_line(tmp_path, read):
    with pytest.raises(UserError, match="there is no such file"):
        read(tmp_path / "none.mp4")


def test_a_clip_of_others_holds_no_description(tmp_path):
    with ClipWriter(tmp_path / "clip.mp4", fps=12, metadata={}) as writer:
        writer.write(moving_square(3))
    foreign = (tmp_path / "clip.mp4").read_bytes().replace(b'{"causvid":{}}', b'{"another":{}}')
    (tmp_path / "clip.mp4").write_bytes(foreign)

    with pytest.raises(UserError, match="holds no description"):
        read_metadata(tmp_path / "clip.mp4")


def test_a_text_file_holds_no_description(tmp_path):
    (tmp_path / "notes.txt").write_text("a red ball")
    with pytest.raises(UserError, match=r"accepted: \.mp4"):
        read_metadata(tmp_path / "notes.txt")


def test_a_playlist_does_not_open_other_files(tmp_path):
    clip = write(tmp_path / "clip.mp4", moving_square(3))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n"
    for name in ("list.m3u8", "list.mp4"):
        (tmp_path / name).write_text(playlist)
        with pytest.raises(UserError, match="damaged or not a video"):
            read_video(tmp_path / name)


def test_large_frames_and_long_videos_are_refused(tmp_path):
    clip = write(tmp_path / "clip.mp4", moving_square(24))

    with pytest.raises(UserError, match="at most 6000 in all"):
        read_video(clip, max_pixels=6000)
    with pytest.raises(UserError, match=r"longer than the 1\.5 seconds"):
        read_video(clip, max_seconds=1.5)


def test_a_remark_in_another_encoding_does_not_keep_a_video_from_being_read(tmp_path):
    clip = write(tmp_path / "clip.mp4", moving_square(3))
    clip.write_bytes(clip.read_bytes().replace(b"a red", b"\xff\xfe\xfd\xfc\xfb"))

    assert read_video(clip).shape[0] == 3


def damaged(data, seed):
    """The bytes cut short, with a few of them replaced, or with a hole."""
    rng = np.random.default_rng(seed)
    broken = bytearray(data)
    how = seed % 3
    if how == 0:
        del broken[int(rng.integers(len(data))) :]
    elif how == 1:
        for position in rng.integers(len(data), size=int(rng.integers(1, 40))):
            broken[position] = int(rng.integers(256))
    else:
        start = int(rng.integers(len(data)))
        del broken[start : start + int(rng.integers(1, 200))]
    return bytes(broken)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_clip_is_read_or_refused_and_nothing_else(tmp_path, kind):
    whole = write(tmp_path / f"whole{kind}", moving_square(6, 32, 32)).read_bytes()
    path = tmp_path / f"clip{kind}"
    for seed in range(24):
        path.write_bytes(damaged(whole, seed))
        for read in (read_video, probe, read_metadata):
            try:
                read(path)
            except UserError as error:
                assert str(path) in str(error) and "\n" not in str(error)
