"""Random models of any size: made tensor by tensor, the same in a file and in memory, and well scaled."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_wan import AUTOENCODER, TRANSFORMER

from causvid.flow.chunks import ChunkLayout
from causvid.models.bundle import load_bundle, open_model
from causvid.models.random_weights import fill, random_source
from causvid.models.wan import released
from causvid.nn.text import TextTokens
from causvid.nn.transformer import TransformerConfig, VideoTransformer

SCRIPT = Path(__file__).parents[2] / "scripts/random_wan.py"
SMALL = ("--width", "48", "--heads", "4", "--layers", "2", "--ffn", "64", "--vae-width", "4")


@pytest.fixture(scope="module")
def make():
    return runpy.run_path(str(SCRIPT))["main"]


@pytest.mark.parametrize("layout", ["diffusers", "original", "ours"])
def test_the_script_writes_a_folder_that_is_opened_as_any_other(make, tmp_path, capsys, layout):
    make([str(tmp_path / "wan"), *SMALL, "--layout", layout, "--dtype", "bfloat16", "--shard", "2000000"])

    source = open_model(tmp_path / "wan")

    assert capsys.readouterr().out.strip() == str(tmp_path / "wan")
    assert source.spec.name == "wan2.1-t2v-1.3b" and source.spec.vae == AUTOENCODER
    assert source.spec.transformer == TransformerConfig(width=48, heads=4, layers=2, ffn=64)
    stored = source.weights["transformer"].stored
    assert stored["text_in.up.weight"].dtype == torch.bfloat16
    assert stored["layers.0.video.query_norm.weight"].dtype == torch.float32
    for part in source.weights:
        assert all(value.any() and value.isfinite().all() for value in source.weights[part].values())


def test_the_same_seed_gives_the_same_model_in_a_file_and_in_memory(make, tmp_path):
    make([str(tmp_path / "wan"), *SMALL, "--seed", "3"])
    sizes = load_bundle(tmp_path / "wan").spec.transformer

    filled = fill(VideoTransformer(sizes), seed=3).state_dict()

    written = open_model(tmp_path / "wan").weights["transformer"]
    assert all(torch.equal(written[name], value) for name, value in filled.items())
    other = fill(VideoTransformer(sizes), seed=4).state_dict()
    assert not any(torch.equal(other[name], value) for name, value in filled.items())


def test_what_goes_through_keeps_its_size():
    network = fill(VideoTransformer(replace(TRANSFORMER, layers=6)), seed=0)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 16, 8, 8, generator=rng)
    text = TextTokens(torch.randn(1, 5, 12, generator=rng), torch.tensor([5]))

    velocity = network(x, torch.full((1, 3), 0.5), text, mask=ChunkLayout(frames_per_chunk=1).mask(3))

    assert 0.1 < velocity.std() < 10


def test_nothing_is_made_before_it_is_read(tmp_path):
    source = random_source(released("wan2.1-t2v-14b"), tmp_path, seed=0, dtype=torch.bfloat16)

    stored = source.weights["transformer"].stored
    assert sum(tensor.numbers for tensor in stored.values()) == 14_288_491_584
    assert source.weights["transformer"]["layers.39.modulation"].shape == (1, 6, 5120)
