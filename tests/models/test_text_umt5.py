"""Wan's text encoder around transformers' network: cleaning, rows, what is loaded when, and bad files."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tiny_umt5 import tiny_umt5

from causvid.errors import UserError
from causvid.models.prompt_cache import PromptCache, prompt_folder
from causvid.models.text import TextEncoder
from causvid.models.text_umt5 import UMT5Text, clean, fingerprint

ROWS = 8
PROMPTS = ["a red ball", "", "the blue box on the sand"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_umt5(tmp_path_factory.mktemp("umt5"))


def encoder(files, *, weights=None, cache=None, dtype=torch.float32, **how) -> UMT5Text:
    return UMT5Text(
        weights or files.transformers, files.tokenizer, rows=ROWS, cache=cache, dtype=dtype, **how
    )


def copied(path: Path, folder: Path) -> Path:
    return Path(shutil.copytree(path, folder / path.name))


@pytest.mark.parametrize(
    ("prompt", "cleaned"),
    [
        ("  a red\n\tball　on sand ", "a red ball on sand"),
        ("salt &amp; sand", "salt & sand"),
        ("salt &amp;amp; sand&amp;nbsp;", "salt & sand"),
        ("schÃ¶n", "schön"),
        ("a “red” ball", 'a "red" ball'),
        ("红球，沙滩", "红球,沙滩"),
        (" \n", ""),
    ],
)
def test_a_prompt_is_cleaned_as_wan_cleans_it(prompt, cleaned):
    assert clean(prompt) == cleaned


def test_it_is_a_text_encoder_that_knows_all_words(files):
    text = encoder(files)

    assert isinstance(text, TextEncoder)
    assert text.unknown_words("a flibbertigibbet") == []
    assert not text.loaded


def expected_rows(files):
    """What transformers makes of the prompts in one batch, padded and masked as Wan does it."""
    ids = torch.tensor([[3, 4, 6, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0], [9, 5, 7, 8, 9, 10, 1, 0]])
    mask = (ids != 0).long()
    with torch.no_grad():
        return files.model(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]


@pytest.mark.parametrize("kind", ["transformers", "shards", "release"])
def test_rows_are_those_of_transformers_with_padding_and_mask(files, kind):
    found = encoder(files, weights=getattr(files, kind))(PROMPTS)

    assert found.lengths.tolist() == [4, 1, 7]
    assert (found.tokens[0, 4:] == 0).all()
    torch.testing.assert_close(found.tokens, expected_rows(files), atol=2e-6, rtol=1e-6)


def test_what_shapes_do_not_say_is_read_from_the_configuration(tmp_path):
    files = tiny_umt5(tmp_path, farthest=4)

    torch.testing.assert_close(encoder(files)(PROMPTS).tokens, expected_rows(files), atol=2e-6, rtol=1e-6)
    released = encoder(files, weights=files.release)(PROMPTS).tokens
    assert not torch.allclose(released, expected_rows(files), atol=1e-3)


def test_a_long_prompt_is_cut_and_still_ends(files):
    long, cut = "a red ball on the sand a blue box", "a red ball on the sand a"

    found = encoder(files)([long, cut])

    assert found.lengths.tolist() == [ROWS, ROWS]
    assert torch.equal(found.tokens[0], found.tokens[1])


def test_a_prompt_means_the_same_in_every_batch(files):
    text = encoder(files)

    assert torch.equal(text(PROMPTS).tokens[2:], text(PROMPTS[2:]).tokens)


def test_half_precision_is_computed_in_it_and_comes_back_in_float32(files):
    found, exact = encoder(files, dtype=torch.bfloat16)(PROMPTS).tokens, encoder(files)(PROMPTS).tokens

    assert found.dtype == torch.float32
    assert torch.equal(found, found.bfloat16().float())
    assert (found - exact).norm() / exact.norm() < 3e-2


def test_a_cached_prompt_needs_no_encoder(files, tmp_path):
    cache = PromptCache(tmp_path / "prompts")
    first = encoder(files, cache=cache, dtype=torch.bfloat16)
    encoded = first(PROMPTS)

    second = encoder(files, cache=cache, dtype=torch.bfloat16)
    again = second(["  a  red ball", *PROMPTS[1:]])

    assert first.loaded
    assert not second.loaded
    assert torch.equal(again.tokens, encoded.tokens)
    assert torch.equal(again.lengths, encoded.lengths)


def test_with_an_identity_cached_prompts_need_no_files(files, tmp_path):
    cache = PromptCache(tmp_path / "prompts")
    encoded = encoder(files, cache=cache, identity="somebody/umt5@1")(PROMPTS)

    gone = UMT5Text(
        tmp_path / "gone",
        tmp_path,
        identity="somebody/umt5@1",
        rows=ROWS,
        dtype=torch.float32,
        cache=cache,
    )

    assert torch.equal(gone(PROMPTS).tokens, encoded.tokens)
    with pytest.raises(UserError, match="does not exist"):
        gone(["a blue ball"])


def test_another_encoder_precision_or_length_is_another_entry(files, tmp_path):
    cache, other = PromptCache(tmp_path / "prompts"), tiny_umt5(tmp_path, seed=1)
    short = UMT5Text(files.transformers, files.tokenizer, rows=4, cache=cache, dtype=torch.float32)

    everybody = [
        encoder(files, cache=cache),
        encoder(other, cache=cache),
        encoder(files, cache=cache, dtype=torch.bfloat16),
        short,
    ]
    rows = [text(PROMPTS[2:]).tokens for text in everybody]

    assert len(list(cache.folder.iterdir())) == len(everybody)
    assert not any(torch.equal(rows[0], different) for different in rows[1:])


def test_a_fingerprint_goes_by_content_and_not_by_place(files, tmp_path):
    elsewhere = fingerprint(copied(files.shards, tmp_path), files.tokenizer)

    assert elsewhere == fingerprint(files.shards, files.tokenizer)
    assert elsewhere != fingerprint(files.transformers, files.tokenizer)


def test_freed_memory_comes_back_with_the_next_new_prompt(files, tmp_path):
    text = encoder(files, cache=PromptCache(tmp_path / "prompts"))
    encoded = text(PROMPTS[:1])

    text.free()
    assert not text.loaded
    assert torch.equal(text(PROMPTS[:1]).tokens, encoded.tokens)
    assert not text.loaded
    text(["a blue ball"])
    assert text.loaded


def test_a_damaged_entry_is_made_again(files, tmp_path):
    cache = PromptCache(tmp_path / "prompts")
    encoded = encoder(files, cache=cache)(PROMPTS[:1])
    (entry,) = cache.folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:40])

    assert torch.equal(encoder(files, cache=cache)(PROMPTS[:1]).tokens, encoded.tokens)
    assert [path.suffix for path in cache.folder.iterdir()] == [".safetensors"]
    unread = encoder(files, cache=cache)
    unread(PROMPTS[:1])
    assert not unread.loaded


def test_a_cache_that_cannot_be_written_is_said_before_anything_is_loaded(files, tmp_path):
    (tmp_path / "file").write_text("in the way")
    text = encoder(files, cache=PromptCache(tmp_path / "file" / "prompts"))

    with pytest.raises(UserError, match=r"cannot be kept in .*Set CAUSVID_CACHE"):
        text(PROMPTS)
    assert not text.loaded


def test_prompts_are_kept_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CAUSVID_CACHE", raising=False)
    assert prompt_folder() == tmp_path / "causvid" / "prompts"
    monkeypatch.setenv("CAUSVID_CACHE", str(tmp_path / "mine"))
    assert prompt_folder() == tmp_path / "mine" / "prompts"


@pytest.mark.parametrize("package", ["ftfy", "tokenizers", "transformers"])
def test_a_missing_package_is_said_with_the_extra_that_brings_it(files, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(UserError, match=rf"needs {package}, .*causvid\[wan\]"):
        encoder(files)(PROMPTS)


def test_a_missing_tokenizer_is_said_with_where_it_belongs(files, tmp_path):
    with pytest.raises(UserError, match=r"tokenizer\.json does not exist.*google/umt5-xxl"):
        UMT5Text(files.transformers, tmp_path, cache=None)(PROMPTS)


def test_missing_weights_are_said(files, tmp_path):
    for cache in (None, PromptCache(tmp_path / "prompts")):
        with pytest.raises(UserError, match=r"absent\.pth.* (does|do) not exist"):
            encoder(files, weights=tmp_path / "absent.pth", cache=cache)(PROMPTS)


def test_a_damaged_tokenizer_is_said(files, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")

    with pytest.raises(UserError, match=r"tokenizer\.json is damaged or no tokenizer"):
        UMT5Text(files.transformers, tmp_path, cache=None)(PROMPTS)


def test_a_missing_shard_is_named(files, tmp_path):
    shards = copied(files.shards, tmp_path)
    gone = sorted(shards.glob("*-of-*.safetensors"))[1]
    gone.unlink()

    for cache in (None, PromptCache(tmp_path / "prompts")):
        with pytest.raises(UserError, match=gone.name):
            encoder(files, weights=shards, cache=cache)(PROMPTS)


def test_missing_and_misshapen_weights_are_named(files, tmp_path):
    weights = torch.load(files.release, weights_only=True)
    lacking = {name: value for name, value in weights.items() if name != "blocks.1.norm2.weight"}
    torch.save(lacking, tmp_path / "lacking.pth")
    torch.save({**weights, "norm.weight": torch.zeros(3)}, tmp_path / "odd.pth")

    with pytest.raises(UserError, match=r"block\.1\.layer\.1\.layer_norm.* it is missing"):
        encoder(files, weights=tmp_path / "lacking.pth")(PROMPTS)
    with pytest.raises(UserError, match=r"final_layer_norm.*has shape \(3,\).*has \(16,\)"):
        encoder(files, weights=tmp_path / "odd.pth")(PROMPTS)


def test_a_damaged_or_impossible_configuration_is_said(files, tmp_path):
    folder = copied(files.transformers, tmp_path)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, "feed_forward_proj": "no-such-thing"}))

    with pytest.raises(UserError, match="transformers rejects the text encoder's configuration"):
        encoder(files, weights=folder)(PROMPTS)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        encoder(files, weights=folder)(PROMPTS)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    files = tiny_umt5(tmp_path)
    weights = torch.load(files.release, weights_only=True)
    torch.save(
        {**weights, "token_embedding.weight": weights["token_embedding.weight"][:5]}, tmp_path / "few.pth"
    )

    with pytest.raises(UserError, match="gives token 6 and the text encoder knows 5"):
        encoder(files, weights=tmp_path / "few.pth")(PROMPTS)
