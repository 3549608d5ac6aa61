"""A Wan model with its umT5: from a prompt to frames, and the text encoder in every layout."""

import shutil
from dataclasses import replace

import pytest
import torch
from tiny_wan import TRANSFORMER, student_checkpoint, tiny_wan

import causvid
from causvid.config import read_toml
from causvid.errors import UserError
from causvid.models.bundle import load_bundle, open_model
from causvid.models.convert import convert, write_model
from causvid.models.spec import UMT5Config
from causvid.models.text_files import TextFiles
from causvid.models.text_umt5 import UMT5Text

umt5 = pytest.importorskip("tiny_umt5", reason="the extra wan is not installed")
SIZES = replace(TRANSFORMER, text_width=umt5.WIDTH)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder in diffusers' layout with all parts, and the umT5 in it."""
    monkeypatch.setenv("CAUSVID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CAUSVID_THREADS", "1")
    (tmp_path / "umt5").mkdir()
    text = umt5.tiny_umt5(tmp_path / "umt5")
    source = replace(
        tiny_wan(tmp_path, sizes=SIZES, size=(32, 16), steps=2, clip_frames=2, text=UMT5Config()),
        text=TextFiles(weights=text.transformers, tokenizer=text.tokenizer),
    )
    return write_model(source, tmp_path / "wan", layout="diffusers")


def rows(folder):
    return load_bundle(folder).text(["a red ball"]).tokens


def test_the_text_encoder_of_a_folder_is_found_and_only_opened_when_needed(made):
    text = load_bundle(made).text

    assert isinstance(text, UMT5Text) and not text.loaded
    assert text(["a red ball"]).tokens.shape == (1, 512, umt5.WIDTH)


@pytest.mark.parametrize("layout", ["ours", "original", "diffusers"])
def test_the_text_encoder_is_the_same_in_every_layout(made, tmp_path, layout):
    there = convert(made, tmp_path / "there", layout=layout)
    back = convert(there, tmp_path / "back", layout="diffusers")

    assert torch.equal(rows(there), rows(made)) and torch.equal(rows(back), rows(made))
    assert open_model(there).spec == open_model(made).spec


def test_our_folder_says_that_it_has_one_and_misses_it(made, tmp_path):
    ours = convert(made, tmp_path / "ours")
    assert read_toml(ours / "model.toml")["text"]["kind"] == "umt5"

    shutil.rmtree(ours / "text_encoder")
    with pytest.raises(UserError, match=r"lacks text_encoder; model\.toml asks for it"):
        load_bundle(ours)


def test_a_loaded_model_is_saved_with_its_text_encoder(made, tmp_path):
    load_bundle(made).save(tmp_path / "saved")

    assert torch.equal(rows(tmp_path / "saved"), rows(made))


def test_the_text_encoder_can_be_written_alone_or_left_out(made, tmp_path):
    alone = convert(made, tmp_path / "text", part="text", layout="diffusers")
    without = convert(made, tmp_path / "vae", part="vae")

    assert (alone / "text_encoder/model.safetensors").is_file() and not (alone / "transformer").exists()
    assert open_model(without).parts == ["vae"]


def test_the_teacher_makes_a_clip_of_a_prompt(made):
    pipeline = causvid.Pipeline.from_pretrained(made)

    frames = pipeline.generate("a red ball", seed=1)

    assert frames.shape == (5, 32, 16, 3) and frames.dtype == torch.uint8


def test_a_student_on_top_of_it_streams(made, tmp_path):
    path, _ = student_checkpoint(tmp_path / "student.pt", sizes=SIZES, entries=("generator_ema",))
    pipeline = causvid.load(path, base=made)

    chunks = list(
        pipeline.stream("a red ball", seconds=20 / 16, size=(32, 16), prompts_at={0.9: "a blue box"})
    )

    assert [len(chunk) for chunk in chunks] == [9, 11]


def test_a_saved_pipeline_is_what_was_loaded(made, tmp_path):
    pipeline = causvid.Pipeline.from_pretrained(made, torch_dtype=torch.float32)
    pipeline.save_pretrained(tmp_path / "saved")
    again = causvid.Pipeline.from_pretrained(tmp_path / "saved")

    assert (tmp_path / "saved/model_index.json").is_file()
    assert again.spec == pipeline.spec
    assert torch.equal(again.generate("a blue box"), pipeline.generate("a blue box"))


def test_a_pipeline_that_exists_only_here_is_saved_as_ours(tmp_path):
    from random_model import random_student

    pipeline = causvid.Pipeline(random_student())
    pipeline.save_pretrained(tmp_path / "saved")

    again = causvid.Pipeline.from_pretrained(tmp_path / "saved").to("cpu")
    assert (tmp_path / "saved/model.toml").is_file()
    assert torch.equal(again.generate("a red ball", seconds=1), pipeline.generate("a red ball", seconds=1))
