"""A collection of videos: which there are, what is sound, what is taken, and in which order it is read."""

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from home_videos import BROKEN, GOOD, SHORT, TWIN, Film, home_videos, pictures, write_film

from causvid.data.collection.decoder import Patience, frames_of
from causvid.data.collection.items import SourceConfig, find_items
from causvid.data.collection.looks import CutConfig, Glance, Seen, cuts, windows
from causvid.data.collection.plan import CLIPS, kind_of, make_plan, read_lines, read_plan, reasons
from causvid.data.collection.reader import TOGETHER, epoch_order
from causvid.data.collection.shards import narrow
from causvid.data.collection.survey import ClipConfig, look_at
from causvid.errors import UserError

CONFIG = ClipConfig(frames=9, size=(32, 48), fps=8, decode="here")
FILM = Film("one.mp4", 1)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return home_videos(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def looked(home):
    """The items of the home and what the survey says of each."""
    items = find_items(SourceConfig(folder=str(home)))
    return items, [look_at(item, CONFIG) for item in items]


def only(folder, film=FILM):
    write_film(folder, film)
    (item,) = find_items(SourceConfig(folder=str(folder), uncaptioned="empty"))
    return item


def read(item, config=CONFIG, *, size=(32, 48), spans=None, where="here", patience=None):
    errand = config.errand(item.key, size=size, spans=spans)
    return np.stack(list(frames_of(item, errand, where=where, patience=patience or Patience())))


# Which videos there are.


def tar_of(folder):
    with tarfile.open(folder / "part-0.tar", "w") as tar:
        for path in sorted(folder.glob("?.*")):
            tar.add(path, path.name)
        said = json.dumps({"caption": "in an object"}).encode()
        entry = tarfile.TarInfo("b.json")
        entry.size = len(said)
        tar.addfile(entry, io.BytesIO(said))


@pytest.fixture
def two(tmp_path):
    """Two empty files with the names of videos; one has a caption beside it."""
    for name in ("a.mp4", "b.webm"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a.txt").write_text("\ufeff a  red\nball \n", encoding="utf-8")
    rows = [{"file_name": "a.mp4", "text": "a red ball"}, {"file_name": "b.webm", "text": "in an object"}]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "all.csv").write_text('video,caption\na,"a red ball"\n./b.webm,in an object\n')
    (tmp_path / "paths.csv").write_text('video,caption\na.mp4,"a red ball"\nb.webm,in an object\n')
    (tmp_path / "paths.txt").write_text("# mine\na.mp4\n\nb.webm\n")
    tar_of(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "source",
    [
        {"folder": "", "captions": "all.jsonl"},
        {"folder": "", "captions": "all.csv"},
        {"list": "all.jsonl"},
        {"list": "paths.csv"},
        {"tars": ("part-*.tar",)},
    ],
)
def test_videos_and_captions_are_found_wherever_people_keep_them(two, monkeypatch, source):
    monkeypatch.chdir(two)
    source = {key: value or "." for key, value in source.items()}

    items = find_items(SourceConfig(**source))

    assert [item.key.rpartition("/")[2] for item in items] == ["a.mp4", "b.webm"]
    assert [item.caption for item in items] == ["a red ball", "in an object"]


def test_a_video_without_a_caption_is_passed_over_only_if_that_was_said(two):
    source = SourceConfig(list=str(two / "paths.txt"))

    with pytest.raises(UserError, match=r"1 of 2 videos in .* have no caption, b\.webm the first"):
        find_items(source)
    assert [i.caption for i in find_items(replace(source, uncaptioned="skip"))] == ["a red ball", None]
    assert [i.caption for i in find_items(replace(source, uncaptioned="empty"))] == ["a red ball", ""]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "exactly one of folder, list and tars"),
        ({"folder": ".", "list": "paths.txt"}, "exactly one of"),
        ({"list": "paths.txt", "captions": "all.csv"}, "captions goes with source.folder"),
        ({"folder": "none"}, "source.folder none is no folder"),
        ({"folder": ".", "captions": "foreign.csv"}, "names none of the videos"),
        ({"folder": ".", "captions": "nameless.csv"}, r"nameless\.csv, entry 1, names no video"),
        ({"list": "broken.jsonl"}, r"broken\.jsonl, line 2, is no JSON object"),
        ({"list": "a.mp4"}, "no video; files ending in"),
        ({"tars": ("*.tar.gz",)}, "there is no file"),
        ({"tars": ("a.mp4",)}, "a.mp4 is damaged or not an uncompressed tar file"),
    ],
)
def test_a_source_that_makes_no_sense_is_one_clear_line(two, monkeypatch, source, message):
    monkeypatch.chdir(two)
    (two / "foreign.csv").write_text("file,caption\nelsewhere.mp4,x\n")
    (two / "nameless.csv").write_text("which,caption\na.mp4,x\n")
    (two / "broken.jsonl").write_text('{"file": "a.mp4"}\n{\n')
    (two / "a.mp4").write_text("")

    with pytest.raises(UserError, match=message) as error:
        find_items(SourceConfig(**source))

    assert "\n" not in str(error.value)


# How they are decoded.


def test_a_process_apart_and_this_one_decode_the_same_from_a_file_and_from_a_tar(tmp_path):
    item = only(tmp_path, Film("one.mp4", 1, rotation=90, sound=True))
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add(tmp_path / "one.txt", "one.txt")
        tar.add(tmp_path / "one.mp4", "one.mp4")
    (packed,) = find_items(SourceConfig(tars=(str(tmp_path / "all.tar"),)))

    here = read(item)

    assert here.shape == (20, 32, 48, 3)
    assert np.array_equal(read(packed, where="apart"), here)
    assert np.array_equal(read(item, where="apart", spans=[2, 11]), here[2:20])


def test_frames_are_chosen_by_their_time_and_not_by_their_number(tmp_path):
    film = Film("fast.mp4", 2, rate=24, seconds=2)
    item = only(tmp_path, film)

    slow, whole = read(item), read(item, replace(CONFIG, fps=24))

    assert len(slow) == 16 and np.array_equal(slow, whole[::3])


def test_a_picture_of_another_shape_is_cut_or_gets_bars(tmp_path):
    item = only(tmp_path, Film("wide.mp4", 3, size=(32, 96)))

    cut, whole = read(item), read(item, replace(CONFIG, fit="contain"))

    assert cut[:, :6].max() > 0 and cut[:, -6:].max() > 0
    assert whole[:, :6].max() == 0 and whole[:, -6:].max() == 0 and whole[:, 12:20].max() > 0


def test_a_decoder_that_says_nothing_for_long_is_given_up(tmp_path):
    item = only(tmp_path)

    with pytest.raises(UserError, match=r"one\.mp4 gave no picture for 0\.01 seconds"):
        read(item, where="apart", patience=Patience(silent_seconds=0.01))


def test_a_decoder_that_needs_more_memory_than_it_may_have_costs_one_file(tmp_path):
    item = only(tmp_path)

    with pytest.raises(UserError, match=r"one\.mp4"):
        read(item, where="apart", patience=Patience(memory_bytes=2**20))


# What the survey sees.


def test_every_sound_video_gives_clips_and_every_broken_one_a_reason(looked):
    lines = {line["video"]: line for line in looked[1]}

    assert len(lines) == 13
    for film in (*GOOD, TWIN):
        assert len(lines[film.name]["clips"]) == 2 * film.scenes, film
        assert abs(lines[film.name]["facts"]["seconds"] - film.seconds) < 0.3
        assert lines[film.name]["facts"]["audio"] == film.sound
    kinds = {name: kind_of(lines[name]["reason"]) for name in (*BROKEN, SHORT.name)}
    assert list(kinds.values()) == ["damaged", "truncated", "truncated", "too large", "too short"]
    assert "says that it lasts 3600.0 s and holds 2.5 s" in lines["claims an hour.mkv"]["reason"]
    assert all("\n" not in line.get("reason", "") for line in lines.values())


def test_a_claim_is_refused_before_anything_is_decoded(tmp_path):
    item = only(tmp_path)

    assert "longer than the 1 seconds" in look_at(item, replace(CONFIG, most_seconds=1.0))["reason"]
    assert "at most 100 in all" in look_at(item, replace(CONFIG, most_pixels=100))["reason"]


def glanced(frames):
    glance = Glance()
    for picture in frames:
        glance.add(picture)
    return glance


def test_a_cut_is_found_and_fast_motion_is_none():
    whole = list(pictures(Film("x", 4, scenes=3, seconds=6)))
    shaken = [np.roll(whole[0], 20 * i, axis=1) for i in range(20)]

    assert cuts(glanced(whole), CutConfig()) == [16, 32]
    assert cuts(glanced(shaken), CutConfig()) == []
    assert cuts(glanced(whole[:1]), CutConfig()) == []


def test_clips_follow_one_another_and_none_goes_across_a_cut():
    assert windows(40, [15, 18], 5, most=None) == [0, 5, 10, 18, 23, 28, 33]
    assert windows(40, [15, 18], 5, most=3) == [0, 18, 33]
    assert windows(40, [], 5, most=1) == [0]
    assert windows(4, [], 5, most=None) == []


def test_a_copy_in_another_size_and_codec_is_a_duplicate_and_nothing_else_is(looked, tmp_path):
    items, lines = looked
    make_plan(items, lines, tmp_path, twin_bits=CONFIG.twin_bits)

    twins = read_lines(tmp_path / "duplicates.jsonl")
    assert {(t["video"], t["start"], t["of"], t["of_start"]) for t in twins} == {
        (GOOD[0].name, start, TWIN.name, start) for start in (0, 9)
    }
    assert len(read_plan(tmp_path)) == sum(2 * film.scenes for film in GOOD)
    assert reasons(tmp_path) == {"truncated": 2, "damaged": 1, "too large": 1, "too short": 1}


def test_duplicates_stay_where_that_was_said(looked, tmp_path):
    items, lines = looked
    make_plan(items, lines, tmp_path, twin_bits=-1)

    assert len(read_lines(tmp_path / CLIPS)) == sum(2 * film.scenes for film in (*GOOD, TWIN))


def test_a_collection_that_gives_no_clip_is_one_clear_line(looked, tmp_path):
    items, lines = looked
    bad = [number for number, line in enumerate(lines) if "reason" in line]

    with pytest.raises(UserError, match=r"none of 5 videos gives a clip; the reasons are in .*quarantine"):
        make_plan([items[n] for n in bad], [lines[n] for n in bad], tmp_path, twin_bits=24)


def test_the_first_of_many_that_look_alike_is_named():
    seen = Seen(8)
    flat = [
        glanced([np.full((32, 48, 3), value, np.uint8)] * 8).print_of(0, 8) for value in range(0, 250, 25)
    ]

    assert [seen.twin(text) for text in flat] == [None] * 10
    assert [seen.twin(text) for text in flat] == list(range(10))


# In which order they are read.


@pytest.mark.parametrize("clips", [1, 7, 3 * TOGETHER + 1])
def test_an_epoch_has_every_clip_once_in_an_order_of_its_own(clips):
    first, second = (epoch_order(clips, 2, seed=0, epoch=epoch).tolist() for epoch in (0, 1))

    assert sorted(first) == sorted(second) == list(range(clips))
    assert clips == 1 or first != second
    assert first == epoch_order(clips, 2, seed=0, epoch=0).tolist()


def test_few_shards_are_open_at_once():
    order = epoch_order(10 * TOGETHER, 2, seed=0, epoch=3)

    assert len({clip // 2 for clip in order[: 2 * TOGETHER]}) == TOGETHER


def test_rows_lose_nothing_in_storage():
    rows = torch.randn(3, 4)

    assert narrow(rows).dtype == torch.float32 and torch.equal(narrow(rows), rows)
    assert narrow(rows.bfloat16().float()).dtype == torch.bfloat16
