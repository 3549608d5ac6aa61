"""From a folder of real video files to a student that streams, on a model of Wan 2.1's shape."""

from dataclasses import replace

import pytest
import torch
from home_videos import home_videos
from safetensors import safe_open
from tiny_wan import TRANSFORMER, tiny_wan

import causvid
from causvid.models.convert import write_model
from causvid.models.spec import UMT5Config
from causvid.models.text_files import TextFiles
from causvid.train.recipe import run_encode, run_recipe, run_trajectories

umt5 = pytest.importorskip("tiny_umt5", reason="the extra wan is not installed")

LATENTS = """
vae = "{wan}"
source = {{ folder = "{home}" }}
clip = {{ frames = 9, size = [32, 48], fps = 8, decode = "here" }}
clips_per_shard = 8
"""
TRAJECTORIES = """
teacher = "{wan}"
clips = "latents"
samples = 2
samples_per_shard = 2
frames = 3
sigmas = [1.0, 0.96, 0.888889, 0.727273]
steps = 4
guidance = 3.0
"""
STAGE = """
stage = "{stage}"
steps = 2
checkpoint_every = 1
preview_every = 2
[inputs]
teacher = "{wan}"
{inputs}
{optimizers}
[{stage}]
batch = 1
layout = {{ frames_per_chunk = 1, window_frames = 3 }}
{settings}
"""
SIGMAS = "frames = 3\ncritic_steps = 1\nsigmas = [1.0, 0.96, 0.888889, 0.727273]\n"


def wan_with_text(folder):
    """As it is published in diffusers' layout, umT5 included."""
    folder.mkdir()
    text = umt5.tiny_umt5(folder)
    sizes = replace(TRANSFORMER, text_width=umt5.WIDTH)
    source = replace(
        tiny_wan(folder, sizes=sizes, text=UMT5Config()),
        text=TextFiles(weights=text.transformers, tokenizer=text.tokenizer),
    )
    return write_model(source, folder / "wan", layout="diffusers", shard=100_000)


def optimizer(role):
    return f"[optimizers.{role}]\nlr = 1e-4\nmuon_lr = 1e-3\n"


def test_a_folder_of_videos_becomes_a_student_that_streams(tmp_path, monkeypatch):
    monkeypatch.setenv("CAUSVID_CACHE", str(tmp_path / "cache"))
    names = {"wan": wan_with_text(tmp_path / "model"), "home": home_videos(tmp_path / "home")}
    runs = tmp_path / "runs"

    def run(verb, recipe, stage, **more):
        path = tmp_path / f"{stage}.toml"
        path.write_text(recipe.format(**{**names, "stage": stage, "inputs": "", "settings": "", **more}))
        return verb(str(path), out=runs / stage, device="cpu")

    run(run_encode, LATENTS, "latents")
    with safe_open(runs / "latents" / "shard-00000.safetensors", framework="pt") as shard:
        assert shard.get_slice("rows").get_dtype() == "BF16"  # umT5 computes in it: nothing is lost
        assert shard.get_slice("latents").get_shape() == [8, 3, 16, 4, 6]
    assert not (tmp_path / "cache").exists()  # rows are in the shards, not among a user's prompts

    run(run_trajectories, TRAJECTORIES, "trajectories")
    run(run_recipe, STAGE, "ode_init", optimizers=optimizer("student"))
    student = run(
        run_recipe,
        STAGE,
        "dmd",
        inputs='student = "ode_init"',
        optimizers=optimizer("student") + optimizer("critic"),
        settings=SIGMAS + 'prompts = "latents"\n',
    )

    model = causvid.load(student)
    assert (model.spec.size, model.spec.fps, model.spec.is_student) == ((32, 48), 8, True)
    clip = model.generate("a red ball", seconds=1)
    assert clip.shape == (8, 32, 48, 3) and clip.dtype == torch.uint8
