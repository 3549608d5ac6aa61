"""Files from strangers: read, refused in a sentence, and nothing else."""

import io
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch
from data.strangers import animation, audio, damaged, picture, video, with_duration
from data.test_images import png_claiming

from causvid.data import untrusted
from causvid.data.untrusted import MediaFacts, MediaLimits, probe_untrusted, read_untrusted
from causvid.data.untrusted_child import answer_to
from causvid.errors import UserError

LIMITS = MediaLimits()
SIZE = (16, 24)
PRESET = {"preset": "ultrafast"}


def answer(data, *, do="read", kind="video", fps=None, limits=LIMITS):
    """What the child would send: the number of its frames and its last word."""
    errand = {"do": do, "kind": kind, "size": SIZE, "fps": fps, "name": "sent", "limits": asdict(limits)}
    pieces = []
    answer_to(errand, io.BytesIO(data), pieces.append)
    assert all(p[:1] == b"F" and len(p) == 1 + SIZE[0] * SIZE[1] * 3 for p in pieces[:-1])
    return len(pieces) - 1, json.loads(pieces[-1])


def refusal(data, **how):
    return answer(data, **how)[1]["error"]


# Through the real child.


def test_a_video_is_read_upright_at_the_size_and_rate_asked_for(tmp_path):
    (tmp_path / "clip").write_bytes(video("mp4", "libx264"))

    frames = read_untrusted(tmp_path / "clip", kind="video", size=SIZE, fps=6, limits=LIMITS)

    assert frames.shape == (6, *SIZE, 3) and frames.dtype == torch.uint8
    assert frames[:, :, 2].min() > 230 and (frames[1:, 8, 20].int() > frames[:-1, 8, 20].int()).all()


def test_sound_and_subtitles_are_left_alone(tmp_path):
    (tmp_path / "clip").write_bytes(video("matroska", "libx264", extras=["aac"]))

    facts = probe_untrusted(tmp_path / "clip")

    assert (facts.kind, facts.width, facts.height, facts.fps) == ("video", 48, 32, 12)
    assert facts.frames == pytest.approx(12, abs=1) and facts.seconds == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_a_picture_is_one_frame(tmp_path, kind):
    (tmp_path / "p").write_bytes(picture(kind))

    frames = read_untrusted(tmp_path / "p", kind="image", size=SIZE)

    assert frames.shape == (1, *SIZE, 3)
    assert frames[0, :, 2].min() > 240 and frames[0, :, -2].max() < 15


def test_a_child_that_is_killed_or_too_slow_is_one_sentence(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(video("mp4", "libx264"))
    for limits, reason in [
        (replace(LIMITS, cpu_seconds=0), r"clip\.mp4 .* stopped by signal 9"),
        (replace(LIMITS, wall_seconds=0.01), r"clip\.mp4 took longer than 0\.01 seconds"),
    ]:
        with pytest.raises(UserError, match=reason):
            read_untrusted(tmp_path / "clip.mp4", kind="video", size=SIZE, limits=limits)


def test_a_picture_that_needs_more_memory_than_allowed_is_one_sentence(tmp_path):
    (tmp_path / "p.png").write_bytes(picture("png", size=(4000, 6000), compress_level=1))
    with pytest.raises(UserError, match=r"p\.png .* more memory"):
        read_untrusted(
            tmp_path / "p.png", kind="image", size=SIZE, limits=replace(LIMITS, memory_bytes=300 << 20)
        )


def test_links_pipes_folders_and_files_too_large_are_refused_unopened(tmp_path):
    (tmp_path / "clip").write_bytes(video("mp4", "libx264"))
    (tmp_path / "link").symlink_to(tmp_path / "clip")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, reason in [
        ("link", "link is a link"),
        ("pipe", "pipe is no regular file"),
        (".", "is no regular file"),
        ("empty", "empty is empty"),
        ("none", "there is no such file"),
        ("a\0b", "cannot be read|damaged"),
    ]:
        with pytest.raises(UserError, match=reason):
            read_untrusted(f"{tmp_path}/{name}", kind="video", size=SIZE)
    with pytest.raises(UserError, match=r"upload 7 has .* at most 100 are"):
        probe_untrusted(tmp_path / "clip", limits=MediaLimits(file_bytes=100), name="upload 7")


def test_messages_are_one_line_and_name_no_folder(tmp_path):
    path = tmp_path / "a\nb\x1b[31m.mp4"
    path.write_text("#EXTM3U\n")
    with pytest.raises(UserError) as refused:
        probe_untrusted(path)
    assert str(refused.value).startswith("a?b?[31m.mp4 ") and str(tmp_path) not in str(refused.value)


def test_the_child_can_open_no_file_and_no_socket_and_inherits_no_secret(monkeypatch):
    attempts = """
import json, os, socket, sys
from causvid.data.untrusted_child import fence
fence(json.loads(sys.argv[1]))
for attempt in (lambda: open("/etc/passwd"), socket.socket, os.pipe):
    try:
        attempt()
        print("allowed")
    except OSError as error:
        print(error.errno)
print(sorted(os.environ))
"""
    monkeypatch.setenv("CAUSVID_TOKEN", "secret")
    command = [sys.executable, "-P", "-c", attempts, json.dumps(asdict(LIMITS))]
    done = subprocess.run(command, env=untrusted._environment(), capture_output=True, text=True)
    *errors, environment = done.stdout.splitlines()
    assert errors == ["24"] * 3, done.stderr  # EMFILE
    assert "TOKEN" not in environment


# What the child says is not believed.


def receive(answer, limits=LIMITS):
    return untrusted._receive(io.BytesIO(answer), "sent", limits, 3)


def test_frames_beyond_the_limits_are_not_taken_from_a_child():
    with pytest.raises(UserError, match="more than 2 frames"):
        receive(b"Fabc" * 3 + b"{}\n", replace(LIMITS, frames=2))
    with pytest.raises(UserError, match="0 MiB"):
        receive(b"Fabc" * 3 + b"{}\n", replace(LIMITS, result_bytes=8))


def test_an_answer_cut_short_counts_as_a_death():
    for answer in (b"", b"Fab", b"Fabc", b'Fabc{"done"', b"x" * 5000):
        assert receive(answer)[1] is None


@pytest.mark.parametrize("answer", [b"nonsense\n", b"[]\n", b"[" * 4000 + b"\n"])
def test_an_answer_without_sense_is_one_sentence(answer):
    with pytest.raises(UserError, match="no sensible answer"):
        receive(answer)


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "x"}, {"width": "9"}, {"height": 0}, {"frames": True}, {"fps": float("inf")}, {"seconds": -1}],
)
def test_facts_without_sense_are_refused(wrong):
    facts = {"kind": "video", "width": 4, "height": 4, "frames": 3, "seconds": 1.5, "fps": 2}
    assert untrusted._facts(facts, "sent") == MediaFacts(**facts)
    with pytest.raises(UserError, match="no sensible answer"):
        untrusted._facts({**facts, **wrong}, "sent")


# Hostile and odd files, in this process.


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("mp4", "libx264"),
        ("mov", "mpeg4"),
        ("matroska", "libx265"),
        ("webm", "libvpx-vp9"),
        ("webm", "libvpx"),
    ],
)
def test_the_kinds_people_send_are_read(kind, codec):
    options = {"x265-params": "log-level=none:pools=none"} if codec == "libx265" else {}
    assert answer(video(kind, codec, frames=4, size=(96, 128), options=options)) == (4, {"done": True})


def test_a_playlist_is_refused_whatever_it_is_called():
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    assert "is not a picture" in refusal(playlist)
    assert "damaged" in refusal(b"\0\0\0\x08free" + playlist)


def test_frames_beyond_the_pixel_limit_are_refused_before_they_are_decoded():
    large = video("mp4", "libx264", frames=1, size=(2400, 4000), options=PRESET)
    assert "4000x2400 pixels" in refusal(large)
    assert "4000x2400 pixels" in refusal(large, do="probe")


def test_a_picture_bomb_is_refused_undecoded():
    for side in (9_000, 100_000):
        assert "sent" in refusal(png_claiming(side, side), kind="image")


def test_a_header_that_claims_too_long_is_refused_and_one_that_claims_too_short_is_found_out():
    clip = video("matroska", "libx264", frames=30)
    brief = replace(LIMITS, seconds=1.5)

    assert "longer than the 60 seconds" in refusal(with_duration(clip, 1e15))
    frames, verdict = answer(with_duration(clip, 10.0), limits=brief)
    assert 0 < frames < 20 and "longer than the 1.5 seconds" in verdict["error"]


def test_too_many_frames_are_refused_from_the_file_and_for_the_rate_asked_for():
    few = replace(LIMITS, frames=20)

    assert "more than the 20 frames" in refusal(video("mp4", "libx264", frames=30), limits=few)
    assert "more than the 20 frames" in refusal(video("matroska", "libx264", frames=30), limits=few)
    assert "more than the 20 frames" in refusal(video("mp4", "libx264", frames=10), fps=120, limits=few)


def test_files_without_a_picture_to_show_are_refused():
    assert "no video" in refusal(audio())
    assert "error" in answer(video("matroska", "libx264", frames=0), do="probe")[1]
    assert "coding that is not accepted" in refusal(video("matroska", "ffv1", pix_fmt="bgr0"))
    assert "is not a picture" in refusal(b"plain text, nothing else", do="probe")


def test_one_pixel_is_enough():
    assert answer(video("matroska", "libx264", size=(1, 1), pix_fmt="yuv444p")) == (12, {"done": True})
    assert answer(picture("png", size=(1, 1)), kind="image") == (1, {"done": True})


def test_of_an_animated_webp_the_first_picture_is_taken_and_a_gif_is_refused():
    assert answer(animation("webp"), kind="image") == (1, {"done": True})
    assert "is not a picture" in refusal(animation("gif"), kind="image")


def test_a_picture_where_a_video_is_expected_is_said_so():
    assert "is of kind image; video is expected" in refusal(picture("png"))


def test_three_hundred_damaged_videos_are_read_or_refused_and_nothing_else():
    whole = [
        video("mp4", "libx264", options=PRESET),
        video("mp4", "mpeg4", extras=["aac"]),
        video("webm", "libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime"}),
    ]
    frames = refusals = 0
    for seed in range(300):
        count, verdict = answer(damaged(whole[seed // 4 % 3], seed), fps=[None, 12][seed % 2])
        assert verdict == {"done": True} or "\n" not in verdict["error"]
        frames, refusals = frames + count, refusals + ("error" in verdict)
    assert frames > 300 and refusals > 50


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_damaged_pictures_are_read_or_refused_and_nothing_else(kind):
    for seed in range(60):
        do = "read" if seed % 3 else "probe"
        verdict = answer(damaged(picture(kind), seed), kind="image", do=do)[1]
        assert "done" in verdict or "facts" in verdict or "sent" in verdict["error"]
