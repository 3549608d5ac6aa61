"""What docs/data.md tells people to type makes a student of a folder of videos, on a model like Wan 2.1."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from home_videos import home_videos
from safetensors import safe_open
from tiny_wan import TRANSFORMER, tiny_wan

from causvid.cli import main
from causvid.data.footage import read_video
from causvid.models.bundle import open_model
from causvid.models.convert import write_model
from causvid.models.spec import UMT5Config
from causvid.models.text_files import TextFiles

umt5 = pytest.importorskip("tiny_umt5", reason="the extra wan is not installed")

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
RECIPES = {text.split()[1].rstrip(":"): text for kind, text in BLOCKS if kind == "toml"}
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for kind, text in BLOCKS
    if kind == "bash"
    for line in text.splitlines()
]
LAYOUT = "layout={frames_per_chunk=1, window_frames=3}"
SMALLER = {
    "mine.toml": ["clip.frames=9", "clip.size=[32, 48]", "clip.fps=8", "clips_per_shard=8"],
    "solve.toml": ["samples=2", "samples_per_shard=2", "frames=3", "steps=4", "levels=inserted"],
    "start.toml": ["steps=2", f"ode_init.{LAYOUT}"],
    "student.toml": ["steps=2", "dmd.critic_steps=1", "dmd.frames=3", f"dmd.{LAYOUT}"],
}
"""What each recipe says otherwise for a few pictures."""


def wan_with_text(folder):
    """As it is published in diffusers' layout, umT5 included."""
    if (folder / "wan").exists():
        return folder / "wan"
    folder.mkdir()
    text = umt5.tiny_umt5(folder)
    sizes = replace(TRANSFORMER, text_width=umt5.WIDTH)
    source = replace(
        tiny_wan(folder, sizes=sizes, text=UMT5Config()),
        text=TextFiles(weights=text.transformers, tokenizer=text.tokenizer),
    )
    return write_model(source, folder / "wan", layout="diffusers", shard=100_000)


def type_all(folder, *, decode):
    """The commands of the page, in `folder`, which is the working folder and has videos in "videos"."""
    model = wan_with_text(folder / "model")
    for name, text in RECIPES.items():
        (folder / name).write_text(text.replace("wan2.1-t2v-1.3b", str(model)))
    smaller = {**SMALLER, "mine.toml": [*SMALLER["mine.toml"], f"clip.decode={decode}"]}
    for words in COMMANDS:
        more = [part for pair in smaller.get(words[1], []) for part in ("--set", pair)]
        seconds = ["--seconds", "1"] if words[0] == "generate" else []
        assert main([*words, *more, *seconds]) == 0, words


def test_a_folder_of_videos_becomes_a_student_that_streams(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CAUSVID_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    home_videos(tmp_path / "videos")

    type_all(tmp_path, decode="here")

    assert (
        len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1
    )  # the prompt that was typed, no caption
    with safe_open(tmp_path / "runs/mine/latents/shard-00000.safetensors", framework="pt") as shard:
        assert shard.get_slice("rows").get_dtype() == "BF16"  # umT5 computes in it: nothing is lost
        assert shard.get_slice("latents").get_shape() == [8, 3, 16, 4, 6]
    spec = open_model("runs/mine/student").spec
    assert (spec.size, spec.fps, spec.is_student) == ((32, 48), 8, True)
    clip = read_video("first.mp4")
    assert clip.shape == (8, 256, 384, 3) and clip.dtype == torch.uint8  # shown eight times as large
    assert "8 of 13 videos give 16 clips; 2 more look like another" in capsys.readouterr().out
