"""Converting a model leads to any layout and back without loss."""

from itertools import permutations

import pytest
import torch
from safetensors.torch import load_file
from tiny_wan import student_checkpoint, tiny_wan, wan_folder

from causvid.errors import UserError
from causvid.models.bundle import load_bundle, open_model
from causvid.models.convert import convert, write_model
from causvid.weights.layouts import LAYOUTS


def same(folder, source):
    """Whether a folder holds exactly this model."""
    found = open_model(folder)
    return found.spec == source.spec and all(
        set(found.weights[part]) == set(weights)
        and all(torch.equal(found.weights[part][name], weights[name]) for name in weights)
        for part, weights in source.weights.items()
    )


@pytest.mark.parametrize(("there", "back"), list(permutations(LAYOUTS, 2)))
def test_there_and_back_is_the_identity(tmp_path, there, back):
    source = tiny_wan(tmp_path, name="self-forcing-wan-1.3b", fps=12)
    write_model(source, tmp_path / "start", layout=back, shard=60_000)

    convert(tmp_path / "start", tmp_path / "there", layout=there)
    convert(tmp_path / "there", tmp_path / "back", layout=back)

    assert same(tmp_path / "there", source) and same(tmp_path / "back", source)


def test_a_checkpoint_becomes_a_model_of_its_own(tmp_path):
    base = wan_folder(tmp_path / "wan")
    path, weights = student_checkpoint(tmp_path / "student.pt", entries=("generator_ema",))

    made = convert(path, tmp_path / "student", base=base, name="mine")

    found = open_model(made)
    assert found.spec.name == "mine" and found.spec.is_student
    assert set(found.weights) == {"vae", "transformer"}
    assert all(torch.equal(found.weights["transformer"][name], value) for name, value in weights.items())


def test_one_part_can_be_written_alone(tmp_path):
    path, _ = student_checkpoint(tmp_path / "student.pt")

    made = convert(path, tmp_path / "alone", part="transformer", layout="original")

    assert sorted(p.name for p in made.iterdir()) == [
        "causvid.toml",
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    with pytest.raises(UserError, match="has no vae; it has transformer"):
        convert(path, tmp_path / "none", part="vae")


def test_matrices_are_cast_and_what_is_small_is_not(tmp_path):
    made = convert(wan_folder(tmp_path / "wan"), tmp_path / "half", layout="diffusers", dtype=torch.bfloat16)

    stored = load_file(made / "transformer/diffusion_pytorch_model.safetensors")
    assert stored["condition_embedder.time_proj.weight"].dtype == torch.bfloat16
    assert stored["blocks.0.scale_shift_table"].dtype == torch.float32
    assert load_bundle(made).denoiser.transformer.time_modulation.weight.dtype == torch.float32


def test_what_exists_only_here_has_no_other_layout(tmp_path):
    from random_model import random_student

    random_student().save(tmp_path / "tiny")

    with pytest.raises(UserError, match=r"text and vae of 'random' exist only here .*--part transformer"):
        convert(tmp_path / "tiny", tmp_path / "theirs", layout="diffusers")
    made = convert(tmp_path / "tiny", tmp_path / "theirs", layout="diffusers", part="transformer")
    assert (made / "transformer/config.json").is_file()


def test_an_unknown_layout_and_a_folder_of_letters_are_refused(tmp_path):
    folder = wan_folder(tmp_path / "wan")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").write_text("dear friend")

    with pytest.raises(UserError, match="accepted: ours, original, diffusers"):
        convert(folder, tmp_path / "new", layout="theirs")
    with pytest.raises(UserError, match="nothing is written over it"):
        convert(folder, tmp_path / "letters")
    assert not (tmp_path / "new").exists()


def test_a_model_that_lacks_a_weight_is_not_written(tmp_path):
    folder = wan_folder(tmp_path / "wan", shard=10**9)
    path = folder / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["decoder.conv_out.bias"]
    from safetensors.torch import save_file

    save_file(weights, path)
    with pytest.raises(UserError, match=r"lacks 'decode_raw\.leave\.bias'"):
        convert(folder, tmp_path / "new", layout="original")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["wan"]
