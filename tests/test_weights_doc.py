"""What docs/weights.md tells people to type works, on small folders of the formats it names."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pages import blocks_of, commands_of
from safetensors.torch import save
from tiny_hub import fetched, files_of
from tiny_wan import TRANSFORMER, student_checkpoint, tiny_wan

from causvid.cli import main
from causvid.data.footage import read_video
from causvid.models.bundle import open_model
from causvid.models.convert import write_model
from causvid.models.spec import UMT5Config
from causvid.models.text_files import TextFiles
from causvid.models.vae_taehv import TAEHVConfig, TAEHVDecoder

umt5 = pytest.importorskip("tiny_umt5", reason="the extra wan is not installed")
PAGE = Path(__file__).parents[1] / "docs/weights.md"
COMMANDS = commands_of(PAGE)
ELSEWHERE = (["models", "pull"], ["bench", "wan2.1-t2v-1.3b"])
"""What needs a network or hours, by its first words: pull and bench have tests of their own."""
HUB = {"self-forcing-wan-1.3b": "gdhe17/Self-Forcing", "causvid-wan-1.3b": "tianweiy/CausVid"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with everything that the page speaks of, the hub's cache included."""
    monkeypatch.setenv("CAUSVID_CACHE", str(tmp_path / "prompts"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    sizes = replace(TRANSFORMER, text_width=umt5.WIDTH)
    (tmp_path / "umt5").mkdir()
    text = umt5.tiny_umt5(tmp_path / "umt5")
    source = replace(
        tiny_wan(tmp_path, sizes=sizes, text=UMT5Config()),
        text=TextFiles(weights=text.transformers, tokenizer=text.tokenizer),
    )
    for name, layout in (("Wan2.1-T2V-1.3B-Diffusers", "diffusers"), ("Wan2.1-T2V-1.3B", "original")):
        folder = write_model(source, tmp_path / name, layout=layout, shard=100_000)
        (folder / "causvid.toml").unlink()  # as others publish it
        fetched(tmp_path / "hub", f"Wan-AI/{name}", files_of(folder))
    for name, entry in (("self_forcing_dmd.pt", "generator_ema"), ("model.pt", "generator")):
        student_checkpoint(tmp_path / name, sizes=sizes, entries=(entry,))
    fetched(
        tmp_path / "hub",
        "gdhe17/Self-Forcing",
        {"checkpoints/self_forcing_dmd.pt": (tmp_path / "self_forcing_dmd.pt").read_bytes()},
    )
    decoder = TAEHVDecoder(TAEHVConfig(widths=(16, 12, 8, 8))).state_dict()
    small = {key.replace("layers.", "decoder.", 1): value for key, value in decoder.items()}
    fetched(tmp_path / "hub", "lightx2v/Autoencoders", {"taew2_1.safetensors": save(small)})
    return tmp_path


def shorter(words):
    """The same command for a few small pictures, in few steps where it makes them in many."""
    if words[0] != "generate":
        return words
    kept = words[: words.index("--size")] + words[words.index("--size") + 2 :] if "--size" in words else words
    steps = ["--steps", "3"] if words[1].startswith("Wan") and "--steps" not in words else []
    return [*kept, *steps, "--size", "32x32", "--seconds", "0.3"]


def test_the_commands_work_in_their_order(here, capsys):
    ran = [words for words in COMMANDS if words[:2] not in ELSEWHERE]
    for words in ran:
        assert main(shorter(words)) == 0, (words, capsys.readouterr().err)

    clips = [words[words.index("-o") + 1] for words in ran if words[0] == "generate"]
    assert len(clips) == len(set(clips)) > 5
    assert all(len(read_video(clip)) == 5 for clip in clips)
    assert open_model("mine").spec.name == "my-student" and open_model("mine").spec.is_student
    assert open_model("transformer-only").parts == ["transformer"]
    half = open_model("diffusers").weights["transformer"].stored.values()
    assert {tensor.dtype for tensor in half if tensor.numbers >= 4096} == {torch.bfloat16}


@pytest.mark.parametrize("text", [text for kind, text in blocks_of(PAGE) if kind == "python"])
def test_the_python_works(here, text):
    exec(compile(text, PAGE.name, "exec"), {})

    assert open_model("copy").parts == ["transformer", "vae", "text"]


def test_what_is_left_out_above_is_on_the_page():
    assert all(any(words[:2] == left for words in COMMANDS) for left in ELSEWHERE)


def test_the_scripts_it_names_are_there():
    named = re.findall(r"python (\S+\.py)", PAGE.read_text())

    assert named and all((PAGE.parents[1] / name).is_file() for name in named)
