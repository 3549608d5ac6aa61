"""Whatever is wrong with a model's files: one line, status 2, nothing run, nothing half-written."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from command_line import left_in
from safetensors.torch import load_file, save_file
from tiny_wan import TRANSFORMER, random_weights, student_checkpoint, wan_folder

from causvid.cli import main
from causvid.models.bundle import open_model
from causvid.models.convert import convert
from causvid.nn.transformer import VideoTransformer
from causvid.weights.names import TEXT, VAE

STEM = "diffusion_pytorch_model"
SHARD = f"transformer/{STEM}-00002-of-00004.safetensors"
WHOLE = f"vae/{STEM}.safetensors"


class Bomb:
    """What unpickling would make a folder, if it were run."""

    def __reduce__(self):
        return (os.mkdir, ("ran",))


def header(path):
    """A safetensors file's table, and the numbers after it."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_table(change):
    """A damage: the table of the file is changed, its numbers are not."""

    def damage(path):
        table, numbers = header(path)
        text = json.dumps(change(table)).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)

    return damage


def entry(table, **changes):
    name = next(name for name in table if name != "__metadata__")
    return {**table, name: {**table[name], **changes}}


def named(change):
    """A damage: tensors under other names."""
    return lambda path: save_file(change(load_file(path)), path)


def exchange_parts(path):
    shutil.copy(path.parents[1] / WHOLE, path.parents[1] / "transformer" / f"{STEM}.safetensors")
    for shard in path.parent.glob("*-of-*"):
        shard.unlink()
    (path.parent / f"{STEM}.safetensors.index.json").unlink()


FOLDERS = {
    "a missing shard": (SHARD, lambda path: path.unlink(), f"lacks {STEM}-00002-of-00004.safetensors"),
    "a shard cut off": (SHARD, lambda path: path.write_bytes(path.read_bytes()[:-1]), "is damaged"),
    "an empty file": (WHOLE, lambda path: path.write_bytes(b""), "is damaged"),
    "zeros": (WHOLE, lambda path: path.write_bytes(bytes(path.stat().st_size)), "is damaged"),
    "a header longer than the file": (
        WHOLE,
        lambda path: path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:]),
        "is damaged",
    ),
    "a header that is no JSON": (
        WHOLE,
        lambda path: path.write_bytes(path.read_bytes().replace(b'{"', b"{!", 1)),
        "is damaged",
    ),
    "a header that is a list": (WHOLE, with_table(lambda table: [1, 2]), "is damaged"),
    "numbers that overlap": (WHOLE, with_table(lambda t: entry(t, data_offsets=[0, 4])), "is damaged"),
    "numbers beyond the end": (WHOLE, with_table(lambda t: entry(t, data_offsets=[0, 10**12])), "is damaged"),
    "a shape of more numbers than there are": (
        WHOLE,
        with_table(lambda t: entry(t, shape=[2**31, 2**31])),
        "is damaged",
    ),
    "a kind of number that nobody knows": (WHOLE, with_table(lambda t: entry(t, dtype="Q7")), "is damaged"),
    "an index cut off": (
        f"transformer/{STEM}.safetensors.index.json",
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        "is damaged or not an index of shards",
    ),
    "a web page": (WHOLE, lambda path: path.write_text("<!DOCTYPE html>"), "is damaged"),
    "an autoencoder for a transformer": (SHARD, exchange_parts, "holds a vae, not a transformer"),
    "an adapter for weights": (
        WHOLE,
        named(lambda old: {"diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.zeros(4, 4)}),
        "is neither a Wan 2.1 transformer nor its autoencoder",
    ),
    "a weight too many": (
        WHOLE,
        named(lambda old: {**old, "decoder.conv_out.scale_weight": torch.ones(1)}),
        "'decoder.conv_out.scale_weight' is not a weight of the diffusers layout",
    ),
    "a weight too few": (
        WHOLE,
        named(lambda old: {name: value for name, value in old.items() if name != "quant_conv.bias"}),
        "lacks 'to_posterior.bias'",
    ),
    "sizes that contradict the weights": (
        "transformer/config.json",
        lambda path: path.write_text(path.read_text().replace('"ffn_dim": 64', '"ffn_dim": 8960')),
        "config.json says ffn 8960, the weights have 64",
    ),
}
"""Where, what is done to it, what is said."""


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder whose transformer is in four shards and whose autoencoder is in one file."""
    folder = tmp_path_factory.mktemp("good")
    wan_folder(folder / "wan", shard=100_000)
    shutil.rmtree(folder / "wan/vae")
    shutil.copytree(wan_folder(folder / "whole", shard=10**9) / "vae", folder / "wan/vae")
    return folder / "wan"


@pytest.fixture
def here(good, tmp_path, monkeypatch):
    """An empty working folder beside a good model; it may be damaged."""
    shutil.copytree(good, tmp_path / "wan")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(words, capsys):
    """What is said in the one line, after the command has ended with status 2."""
    status = main(words)
    printed = capsys.readouterr()
    assert status == 2 and printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("causvid: "), printed.err
    return lines[0]


@pytest.mark.parametrize("case", FOLDERS)
def test_a_damaged_folder_is_one_line_and_nothing_is_written(case, here, capsys):
    place, damage, message = FOLDERS[case]
    damage(here / "wan" / place)

    for words in (["convert", "wan", "new"], ["convert", "wan", "new", "--layout", "original"]):
        said = refused(words, capsys)
        assert message in said and "wan/" in said
    assert left_in(here) == ["wan"]


def save_module(path):
    torch.save(random_weights(lambda: VideoTransformer(TRANSFORMER)), path)


CHECKPOINTS = {
    "code beside the weights": (
        lambda path: torch.save({"generator": {"a": torch.zeros(2)}, "args": Bomb()}, path),
        "holds more than tensors; nothing in it was run",
    ),
    "code for weights": (
        lambda path: torch.save(Bomb(), path),
        "holds more than tensors; nothing in it was run",
    ),
    "code in the old format": (
        lambda path: torch.save({"a": Bomb()}, path, _use_new_zipfile_serialization=False),
        "holds more than tensors; nothing in it was run",
    ),
    "a whole module": (save_module, "holds more than tensors; nothing in it was run"),
    "the critic alone": (
        lambda path: student_checkpoint(path, entries=("critic",)),
        "holds no weights that are known by name (generator_ema, generator, model, state_dict)",
    ),
    "a student of another size": (
        lambda path: student_checkpoint(path, sizes=replace(TRANSFORMER, ffn=80)),
        "has ffn 80, its base wan has 64",
    ),
    "an archive of something else": (lambda path: path.write_bytes(b"PK\x03\x04letters"), "is damaged"),
    "text": (lambda path: path.write_text("dear friend"), "is damaged or"),
}
"""What a file named student.pt holds, and what is said."""


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_bad_checkpoint_is_one_line_and_nothing_of_it_is_run(case, here, capsys):
    make, message = CHECKPOINTS[case]
    make(here / "student.pt")

    said = refused(["convert", "student.pt", "new", "--base", "wan"], capsys)

    assert message in said and "student.pt" in said
    assert left_in(here) == ["student.pt", "wan"]  # a bomb would have made the folder `ran`


@pytest.mark.parametrize("name", [VAE, TEXT])
def test_code_in_a_part_of_the_release_is_not_run_either(name, here, capsys):
    convert("wan", here / "release", layout="original")
    torch.save({"a": torch.zeros(2), "b": Bomb()}, here / "release" / name)

    assert "nothing in it was run" in refused(["convert", "release", "new"], capsys)
    assert left_in(here) == ["release", "wan"]


def test_files_of_both_precisions_are_converted_as_they_are_and_cast_where_that_is_asked(here):
    index = json.loads((here / f"wan/transformer/{STEM}.safetensors.index.json").read_text())["weight_map"]
    for shard in sorted(set(index.values())):
        path = here / "wan/transformer" / shard
        tensors = load_file(path)
        save_file({n: v.bfloat16() if "attn" in n else v for n, v in tensors.items()}, path)

    kept = open_model(convert("wan", here / "kept", layout="original")).weights["transformer"]
    cast = open_model(convert("wan", here / "cast", dtype=torch.float32)).weights["transformer"]

    for name, value in open_model("wan").weights["transformer"].items():
        assert value.dtype == (torch.bfloat16 if ".video." in name or ".text." in name else torch.float32)
        assert kept[name].dtype == value.dtype and torch.equal(kept[name], value)
        assert torch.equal(cast[name].to(value.dtype), value)
        assert cast[name].dtype == torch.float32 or value.numel() < 4096


def test_a_copy_that_fails_half_way_leaves_what_was_there(here, capsys):
    convert("wan", here / "copy")
    before = {path.name: path.read_bytes() for path in (here / "copy").iterdir()}
    (here / "wan" / SHARD).unlink()

    refused(["convert", "wan", "copy"], capsys)

    assert {path.name: path.read_bytes() for path in (here / "copy").iterdir()} == before
    assert left_in(here) == ["copy", "wan"]
