"""Folders of shards: whole or absent, resumable, checked."""

import hashlib
import json
import resource

import pytest
import torch
from tiny_training import encoded_clips, seeded

from causvid.data.latents import ShardReader, make_shards, missing_shards, read_index, write_shard
from causvid.errors import UserError
from causvid.train.clips import EncodedClips


def shard(number, clips=2):
    latents = torch.randn(clips, 3, 4, 4, 2, generator=seeded(number))
    return {"latents": latents.half(), "seeds": torch.arange(clips) + 100 * number}


@pytest.fixture
def folder(tmp_path):
    for number in (1, 0, 2):
        write_shard(tmp_path / "clips", number, shard(number), 2)
    return tmp_path / "clips"


def test_clips_are_read_by_number_whatever_order_their_shards_were_made_in(folder):
    reader = ShardReader(folder)

    assert len(reader) == 6
    assert [reader.seed(clip) for clip in range(6)] == [0, 1, 100, 101, 200, 201]
    assert torch.equal(reader.slice("latents", 3), shard(1)["latents"][1].float())
    assert torch.equal(reader.slice("latents", 4, slice(1, 3)), shard(2)["latents"][0, 1:3].float())


def test_the_index_holds_the_hash_of_every_shard(folder):
    for entry in read_index(folder):
        assert entry.sha256 == hashlib.sha256((folder / entry.file).read_bytes()).hexdigest()
    assert not list(folder.glob("*.part"))


def test_only_missing_shards_are_made(folder):
    made = []

    def make(number):
        made.append(number)
        return shard(number), 2

    assert missing_shards(folder, 5) == [3, 4]
    make_shards(folder, numbers=missing_shards(folder, 5), make=make, after=lambda: None)

    assert made == [3, 4]
    assert missing_shards(folder, 5) == []


def test_a_shard_that_was_being_written_is_made_again(folder):
    (folder / "shard-00003.safetensors.part").write_bytes(b"half of it")
    (folder / "shard-00004.safetensors").write_bytes(b"no line in the index yet")

    assert missing_shards(folder, 5) == [3, 4]
    assert len(ShardReader(folder)) == 6


def test_a_folder_that_was_never_begun_misses_everything(tmp_path):
    assert missing_shards(tmp_path / "none", 2) == [0, 1]
    (tmp_path / "index.jsonl").touch()
    assert missing_shards(tmp_path, 2) == [0, 1]
    with pytest.raises(UserError, match="is empty; run its encode recipe first"):
        ShardReader(tmp_path)


def test_a_folder_without_an_index_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"holds no encoded clips .* run its encode recipe first"):
        ShardReader(tmp_path)


@pytest.mark.parametrize("line", ["{", '{"file": "a"}', "[]", json.dumps({"file": "a", "clips": 1, "x": 2})])
def test_a_damaged_index_is_one_clear_line(folder, line):
    with (folder / "index.jsonl").open("a") as file:
        file.write(line + "\n")

    with pytest.raises(UserError, match=r"index\.jsonl is damaged"):
        ShardReader(folder)


@pytest.mark.parametrize("content", [None, b"", b"half of it"])
def test_a_missing_or_damaged_shard_is_one_clear_line(folder, content):
    path = folder / "shard-00001.safetensors"
    path.unlink() if content is None else path.write_bytes(content)

    with pytest.raises(UserError, match=r"shard-00001\.safetensors is missing or damaged; remove its line"):
        ShardReader(folder)


def test_windows_of_clips_come_with_the_prompts_of_their_scenes(tmp_path):
    encoded_clips(tmp_path, frames=8)
    clips = EncodedClips(tmp_path)

    batch = clips.batch(64, 4, seeded())
    again = clips.batch(64, 4, seeded())

    assert batch.latents.shape == (64, 4, 4, 4, 2)
    assert torch.equal(batch.latents, again.latents) and batch.prompts.first == again.prompts.first
    assert all(batch.prompts.first)
    changed = [a != b for a, b in zip(batch.prompts.first, batch.prompts.second, strict=True)]
    assert (batch.prompts.parts.any(dim=1) <= torch.tensor(changed)).all()


def test_at_least_a_quarter_of_the_windows_begin_with_their_clip(tmp_path):
    encoded_clips(tmp_path, frames=8)
    clips = EncodedClips(tmp_path)
    starts = torch.stack([clips.reader.slice("latents", clip, slice(0, 1)) for clip in range(4)])

    batch = clips.batch(400, 4, seeded())

    first = (batch.latents[:, None, :1] == starts[None]).flatten(2).all(dim=2).any(dim=1)
    assert 0.3 < first.float().mean() < 0.5  # a quarter, and a fifth of the others by chance


def test_clips_shorter_than_what_is_asked_for_are_refused(tmp_path):
    encoded_clips(tmp_path, frames=8)

    with pytest.raises(UserError, match=r"clips of 9 latent frames are asked for; .* has clips of 8"):
        EncodedClips(tmp_path).batch(1, 9, seeded())


def test_a_folder_that_is_not_finished_is_not_trained_on(tmp_path):
    encoded_clips(tmp_path, clips=6)
    lines = (tmp_path / "index.jsonl").read_text().splitlines()
    (tmp_path / "index.jsonl").write_text("\n".join(lines[:2]) + "\n")

    with pytest.raises(UserError, match="holds 4 of 6 clips; run its recipe again"):
        EncodedClips(tmp_path)


def test_a_full_disk_leaves_no_half_shard_and_no_line(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # bytes a file may have: the nearest thing to it
    try:
        with pytest.raises(UserError, match=r"shard-00003\.safetensors cannot be written"):
            write_shard(folder, 3, shard(3), 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
