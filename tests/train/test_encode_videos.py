"""Somebody's own videos become shards, and the stages train on them."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from home_videos import BROKEN, home_videos
from random_model import SPEC, random_teacher
from rank_work import encode_home, home_config
from ranks import on_ranks
from tiny_training import ALONE, LONG, seeded

from causvid.config import to_toml
from causvid.data.collection.decoder import Patience, frames_of
from causvid.data.collection.items import SourceConfig, find_items
from causvid.data.collection.page import write_pages
from causvid.data.collection.reader import CollectionReader
from causvid.errors import UserError
from causvid.pixels import from_uint8
from causvid.train.dmd import Dmd, DmdConfig
from causvid.train.encode_videos import encode_videos
from causvid.train.encoders import Encoders
from causvid.train.ode_init import OdeInit, OdeInitConfig
from causvid.train.own_videos import OwnVideos, open_clips
from causvid.train.stage import Share
from causvid.train.teacher import Period, Teacher, TeacherConfig
from causvid.train.trajectories import TrajectoriesConfig, make_trajectories

SIGMAS = (1.0, 0.75, 0.5)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return home_videos(tmp_path_factory.mktemp("home"))


def config(home, **changes):
    return replace(home_config(home), **changes)


def encoders(bundle=None):
    bundle = bundle or random_teacher()
    return Encoders(bundle.vae, bundle.text, "")


@pytest.fixture(scope="module")
def encoded(home, tmp_path_factory):
    """A folder of shards."""
    folder = tmp_path_factory.mktemp("runs") / "latents"
    folder.mkdir()
    encode_videos(config(home), encoders(), folder, ranks=ALONE)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_shard_holds_the_latents_and_the_text_of_its_clips(home, encoded):
    reader, bundle = CollectionReader(encoded), random_teacher()
    items = {item.key: item for item in find_items(config(home).source)}

    for clip in (0, 5, len(reader) - 1):
        about = reader.about(clip)
        item = items[about["video"]]
        asked = config(home).clip
        errand = asked.errand(item.key, size=asked.size, spans=[round(about["second"] * 8)])
        frames = [torch.from_numpy(p) for p in frames_of(item, errand, where="here", patience=Patience())]
        latents = bundle.vae.encode(from_uint8(torch.stack(frames)[None]))[0]
        torch.testing.assert_close(reader.latents(clip), latents, atol=2e-3, rtol=2e-3)

        text, stored = bundle.text([item.caption]), reader.text([clip])
        assert torch.equal(stored.tokens, text.tokens) and torch.equal(stored.lengths, text.lengths)
        assert about["caption"] == item.caption


def test_what_was_not_taken_is_counted_and_shown(encoded, capsys):
    page = (encoded / "index.html").read_text()

    assert len(CollectionReader(encoded)) == 16 and page.count("<li>") == 16
    assert "5 videos were not used" in page and "2 clips look like another" in page
    assert all(name in page for name in BROKEN)
    assert "http:" not in page and "https:" not in page and "<script" not in page


def test_a_caption_cannot_write_into_the_page(encoded, tmp_path, monkeypatch):
    about = {"caption": "<script>alert(1)</script>", "video": '"><img src=x>', "second": 0.0}
    monkeypatch.setattr(CollectionReader, "about", lambda self, clip: about)
    folder = tmp_path / "copy"
    folder.mkdir()
    for name, content in contents(encoded).items():
        (folder / name).write_bytes(content)

    page = write_pages(folder).read_text()

    assert "<script" not in page and "<img src=x" not in page and "&lt;script&gt;" in page


def test_a_second_run_changes_nothing(home, encoded):
    before = {path: path.stat().st_mtime_ns for path in encoded.iterdir()}

    encode_videos(config(home), encoders(), encoded, ranks=ALONE)

    assert {path: path.stat().st_mtime_ns for path in encoded.iterdir()} == before


def stopped_after(calls):
    """Encoders that a Ctrl-C reaches in the middle of their work."""
    bundle = random_teacher()
    left = iter(range(calls))
    whole = bundle.vae.encode

    def encode(video):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return whole(video)

    bundle.vae.encode = encode
    return encoders(bundle)


@pytest.mark.parametrize("calls", [1, 4])
def test_a_run_that_was_stopped_goes_on_to_the_same_shards(home, encoded, tmp_path, calls):
    with pytest.raises(KeyboardInterrupt):
        encode_videos(config(home), stopped_after(calls), tmp_path, ranks=ALONE)
    (tmp_path / "shard-00003.safetensors.part").write_bytes(b"half of it")

    encode_videos(config(home), encoders(), tmp_path, ranks=ALONE)

    (tmp_path / "shard-00003.safetensors.part").unlink(missing_ok=True)
    whole, resumed = contents(encoded), contents(tmp_path)
    page = resumed.pop("index.html").replace(tmp_path.name.encode(), encoded.name.encode())
    assert page == whole["index.html"]
    assert resumed == {name: content for name, content in whole.items() if name != "index.html"}


@pytest.mark.multiprocess
def test_two_processes_make_the_shards_of_one(home, encoded, tmp_path):
    on_ranks(2, encode_home, home, tmp_path)

    alone, together = contents(encoded), contents(tmp_path)
    assert together.keys() == alone.keys()
    for name in alone:
        if name != "index.html":  # says the folder's name
            assert together[name] == alone[name], name


def test_a_damaged_shard_is_made_again(home, encoded, tmp_path):
    for name, content in contents(encoded).items():
        (tmp_path / name).write_bytes(content)
    for name, damage in (("shard-00001", b"x"), ("shard-00002", None)):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + damage) if damage else path.unlink()

    encode_videos(config(home), encoders(), tmp_path, ranks=ALONE)

    for name in ("shard-00001.safetensors", "shard-00002.safetensors"):
        assert (tmp_path / name).read_bytes() == (encoded / name).read_bytes()


def test_a_folder_belongs_to_its_videos_and_its_networks(home, encoded):
    other = random_teacher()
    other.vae.latent_mean += 1
    some = replace(config(home), source=SourceConfig(folder=str(home / "beach")))

    with pytest.raises(UserError, match=r"begun with other videos or captions \(13 then, 3 now\)"):
        encode_videos(some, encoders(), encoded, ranks=ALONE)
    with pytest.raises(UserError, match="begun with another autoencoder or text encoder"):
        encode_videos(config(home), encoders(other), encoded, ranks=ALONE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 10}, "clip.frames is 10; this autoencoder takes whole clips of 8 or 12"),
        ({"size": (30, 48)}, "size 30x48"),
    ],
)
def test_clips_that_cannot_be_encoded_are_refused_before_anything_is_looked_at(
    home, tmp_path, change, message
):
    with pytest.raises(UserError, match=message):
        encode_videos(
            config(home, clip=replace(config(home).clip, **change)), encoders(), tmp_path, ranks=ALONE
        )
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_finished_is_not_trained_on(encoded, tmp_path):
    for name, content in contents(encoded).items():
        (tmp_path / name).write_bytes(content)
    lines = (tmp_path / "index.jsonl").read_text().splitlines()
    (tmp_path / "index.jsonl").write_text(lines[0] + "\n")

    with pytest.raises(UserError, match="holds 4 of 16 clips; run its encode recipe again"):
        open_clips(tmp_path)


# The stages.


@pytest.fixture
def beside(encoded, tmp_path):
    """A folder of runs with the clips in it."""
    (tmp_path / "latents").symlink_to(encoded)
    return tmp_path


def teacher(folder, **changes):
    standard = {"transformer": SPEC.transformer, "periods": (Period(until=9, frames=2, batch=3),)}
    return Teacher(TeacherConfig(**{**standard, **changes}), {"teacher": random_teacher()}, folder=folder)


def captions(stage, step, share):
    return list(stage.batch(step, seeded(), share).prompts.labels)


def test_every_clip_comes_once_an_epoch_however_many_ranks_there_are(beside):
    stage = teacher(beside, periods=(Period(until=9, frames=2, batch=2),))
    read = stage.clips.reader.order

    for ranks in (1, 2, 4):
        seen = []
        for step in range(16 // (2 * ranks)):
            for number in range(ranks):
                batch = stage.batch(step, seeded(), Share(number, ranks)).latents
                seen += [
                    next(c for c in range(16) if torch.equal(stage.clips.reader.latents(c), row))
                    for row in batch
                ]
        assert seen == read(0, 16, seed=0)


def test_a_resumed_run_reads_what_it_would_have_read(beside):
    once, again = teacher(beside), teacher(beside)
    shares = [Share(0, 2), Share(1, 2)]
    whole = [captions(once, step, share) for step in range(9) for share in shares]

    assert [captions(again, step, share) for step in range(5, 9) for share in shares] == whole[10:]


def test_periods_follow_one_another_without_a_gap(beside):
    periods = (Period(until=2, frames=1, batch=2), Period(until=9, frames=2, batch=4))
    stage = teacher(beside, periods=periods)

    seen = [c for step in range(4) for n in (0, 1) for c in captions(stage, step, Share(n, 2))]

    assert seen == list(stage.clips.ordered_prompts(24, first=0).labels)


def test_prompts_that_are_dropped_have_the_rows_of_the_empty_one(beside):
    stage = teacher(beside)
    prompts = stage.clips.prompts([0, 5])

    text = prompts.encode(None, drop=torch.tensor([True, False]))

    empty = random_teacher().text([""])
    assert torch.equal(text.tokens[:1], empty.tokens) and text.lengths[0] == empty.lengths[0]
    assert torch.equal(text.tokens[1], prompts.tokens.tokens[1])


def test_clips_of_another_autoencoder_or_text_encoder_are_refused(beside):
    deaf, blind = random_teacher(), random_teacher()
    deaf.text.embed_position += 1
    blind.vae.latent_mean += 1
    settings = TeacherConfig(transformer=SPEC.transformer, periods=(Period(until=1, frames=2, batch=1),))

    for bundle, what in ((deaf, "text encoder"), (blind, "autoencoder")):
        with pytest.raises(UserError, match=f"encoded with another {what} than that of"):
            Teacher(settings, {"teacher": bundle}, folder=beside)


def test_no_stage_needs_a_text_encoder(beside):
    bundle = random_teacher()
    bundle.text = None
    inputs = {"teacher": bundle}
    solve = {"samples": 4, "samples_per_shard": 2, "frames": 2, "sigmas": SIGMAS, "steps": 4}
    trajectories = TrajectoriesConfig(**solve, clips="latents", precision="float32")
    make_trajectories(trajectories, bundle, beside / "trajectories", ranks=ALONE)
    (beside / "trajectories" / "trajectories.toml").write_text(to_toml(trajectories))
    dmd = partial(DmdConfig, batch=2, frames=2, sigmas=SIGMAS, layout=LONG)
    stages = {
        "teacher": teacher(beside),
        "student": OdeInit(OdeInitConfig(batch=2, layout=LONG), inputs, folder=beside),
        "critic": Dmd(dmd(prompts="latents"), inputs, folder=beside),
        "student data": Dmd(dmd(student_input="data"), inputs, folder=beside),
    }

    for role, stage in stages.items():
        role = role.split()[0]
        loss = stage.loss(role, stage.batch(0, seeded()), seeded())
        loss.value.backward()
        assert torch.isfinite(loss.value)
    assert all("text" not in stage.frozen for stage in stages.values() if stage is not stages["teacher"])
    preview = stages["critic"].preview(seeded())
    assert len(preview.clips) == 4 and list(preview.labels) == list(
        OwnVideos(beside / "latents").ordered_prompts(4, first=0).labels
    )


def test_the_list_of_what_was_taken_is_readable(encoded):
    lines = [json.loads(line) for line in (encoded / "clips.jsonl").read_text().splitlines()]

    assert len(lines) == 16 and {"video", "start", "caption"} <= set(lines[0])
