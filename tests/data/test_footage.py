"""Videos from anybody: resampled, cropped, too large, hostile, damaged."""

import numpy as np
import pytest
import torch
from clips import KINDS, moving_square, write

from causvid.data.footage import probe, read_video
from causvid.data.metadata import read_metadata
from causvid.data.video import ClipWriter
from causvid.errors import UserError


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
