"""Published folders and checkpoints of Wan 2.1 and its students are opened for what they are."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_wan import AUTOENCODER, TRANSFORMER, student_checkpoint, tiny_wan, wan_folder

from causvid.errors import UserError
from causvid.models.bundle import load_bundle
from causvid.models.sizes import transformer_sizes, vae_sizes
from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.models.wan import PRESETS, released
from causvid.nn.text import TextTokens
from causvid.nn.transformer import TransformerConfig, VideoTransformer

KEYS = Path(__file__).parents[1] / "reference/keys"


def output(bundle):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 16, 4, 4, generator=rng)
    text = TextTokens(torch.randn(1, 5, 12, generator=rng), torch.tensor([5]))
    latents = bundle.denoiser(x, torch.full((1, 2), 0.5), text)
    return latents if bundle.vae is None else bundle.vae.decode(latents)


def expected(folder):
    """What the weights give without ever having been on disk."""
    source = tiny_wan(folder)
    transformer, vae = VideoTransformer(TRANSFORMER), WanVAE(AUTOENCODER)
    transformer.load_state_dict(dict(source.weights["transformer"]))
    vae.load_state_dict(dict(source.weights["vae"]))
    with torch.no_grad():
        rng = torch.Generator().manual_seed(0)
        x = torch.randn(1, 2, 16, 4, 4, generator=rng)
        text = TextTokens(torch.randn(1, 5, 12, generator=rng), torch.tensor([5]))
        velocity = transformer(x, torch.full((1, 2), 0.5), text)
        return vae.decode(x - 0.5 * velocity)


def complaint(name, **how):
    with pytest.raises(UserError) as error:
        load_bundle(name, **how)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("layout", ["ours", "diffusers", "original"])
def test_a_folder_of_any_layout_gives_the_same_model(tmp_path, layout):
    loaded = load_bundle(wan_folder(tmp_path / "wan", layout=layout))

    assert torch.equal(output(loaded), expected(tmp_path))
    assert loaded.spec == tiny_wan(tmp_path).spec
    assert not any(p.requires_grad for part in loaded.parts().values() for p in part.parameters())


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_a_folder_that_others_wrote_is_taken_for_the_wan_of_its_size(tmp_path, layout):
    folder = wan_folder(tmp_path / "mine", layout=layout)
    (folder / "causvid.toml").unlink()

    spec = load_bundle(folder).spec

    preset = replace(PRESETS["wan2.1-t2v-1.3b"], name="mine", transformer=TRANSFORMER, vae=AUTOENCODER)
    assert spec == preset
    assert (spec.fps, spec.size, spec.steps, spec.guidance, spec.schedule.shift) == (16, (480, 832), 50, 6, 8)


def test_the_shift_a_folder_states_for_its_sampler_is_kept(tmp_path):
    folder = wan_folder(tmp_path / "wan")
    (folder / "causvid.toml").unlink()
    (folder / "scheduler/scheduler_config.json").write_text('{"flow_shift": 3}')

    assert load_bundle(folder).spec.schedule.shift == 3.0


def test_without_a_config_everything_but_the_heads_is_read_off_the_shapes(tmp_path):
    folder = wan_folder(tmp_path / "wan", layout="original")
    (folder / "config.json").unlink()

    assert load_bundle(folder).spec.transformer == replace(TRANSFORMER, heads=1)


def test_a_config_that_contradicts_the_weights_is_refused(tmp_path):
    folder = wan_folder(tmp_path / "wan")
    for part, key, value, message in (
        ("transformer", "num_layers", 3, "says layers 3, the weights have 2"),
        ("vae", "base_dim", 8, "says width 8, the weights have 4"),
    ):
        path = folder / part / "config.json"
        before = path.read_text()
        path.write_text(json.dumps({**json.loads(before), key: value}))
        assert message in complaint(folder)
        path.write_text(before)


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_config_that_is_no_table_is_one_clear_line(tmp_path, content):
    folder = wan_folder(tmp_path / "wan")
    (folder / "vae/config.json").write_text(content)

    assert "config.json" in complaint(folder)


def test_a_folder_without_an_autoencoder_is_a_transformer_alone(tmp_path):
    folder = wan_folder(tmp_path / "wan", layout="original")
    (folder / "Wan2.1_VAE.pth").unlink()

    loaded = load_bundle(folder)

    assert list(loaded.parts()) == ["transformer"]
    assert loaded.spec.vae is None


def test_a_missing_shard_is_named(tmp_path):
    folder = wan_folder(tmp_path / "wan")
    shard = sorted((folder / "transformer").glob("*-of-*"))[1]
    shard.unlink()

    assert shard.name in complaint(folder)


def test_weights_in_the_wrong_place_are_named(tmp_path):
    folder = wan_folder(tmp_path / "wan", layout="original", shard=10**9)
    vae = torch.load(folder / "Wan2.1_VAE.pth", weights_only=True)
    save_file(vae, folder / "diffusion_pytorch_model.safetensors")

    assert "holds a vae, not a transformer" in complaint(folder)


def test_a_missing_weight_and_one_of_another_shape_are_named(tmp_path):
    folder = wan_folder(tmp_path / "wan", shard=10**9)
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    whole = load_file(path)

    save_file({k: v for k, v in whole.items() if k != "blocks.1.ffn.net.2.bias"}, path)
    assert "lacks 'layers.1.ffn.down.bias'" in complaint(folder)
    save_file({**whole, "blocks.1.ffn.net.2.bias": torch.zeros(5)}, path)
    assert "'layers.1.ffn.down.bias' has shape (5,)" in complaint(folder)


def test_an_image_to_video_model_is_said_to_be_one(tmp_path):
    folder = wan_folder(tmp_path / "wan", layout="original", shard=10**9)
    path = folder / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(path), "img_emb.proj.0.weight": torch.zeros(2)}, path)

    assert "image-to-video" in complaint(folder)


def test_mixed_precision_is_loaded_as_float32(tmp_path):
    folder = wan_folder(tmp_path / "wan", shard=10**9)
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    save_file({k: v.bfloat16() if "attn1" in k else v for k, v in load_file(path).items()}, path)

    loaded = load_bundle(folder)

    assert {p.dtype for part in loaded.parts().values() for p in part.parameters()} == {torch.float32}
    torch.testing.assert_close(output(loaded), expected(tmp_path), atol=0.2, rtol=0)


def test_a_type_of_numbers_is_for_matrix_products_alone(tmp_path):
    loaded = load_bundle(wan_folder(tmp_path / "wan"), dtype=torch.bfloat16)
    transformer = loaded.denoiser.transformer

    assert transformer.layers[0].ffn.up.weight.dtype == torch.bfloat16
    assert transformer.layers[0].modulation.dtype == transformer.out.weight.dtype == torch.float32
    assert loaded.vae.dtype == torch.float32


@pytest.mark.parametrize(
    ("entries", "wrapped", "known"),
    [
        (("generator", "critic"), "model.", "causvid-wan-1.3b"),
        (("generator", "generator_ema", "critic"), "model._fsdp_wrapped_module.", "self-forcing-wan-1.3b"),
        (("generator_ema",), "_fsdp_wrapped_module.model._orig_mod.", "self-forcing-wan-1.3b"),
    ],
)
def test_a_checkpoint_on_top_of_a_folder_is_a_student(tmp_path, entries, wrapped, known, capsys):
    folder = wan_folder(tmp_path / "wan")
    path, weights = student_checkpoint(tmp_path / "student.pt", entries=entries, wrapped=wrapped)

    loaded = load_bundle(path, base=folder)

    found = loaded.denoiser.transformer.state_dict()
    assert all(torch.equal(found[name], value) for name, value in weights.items())
    assert loaded.vae is not None and loaded.spec.is_student
    assert loaded.spec == replace(PRESETS[known], name="student", transformer=TRANSFORMER, vae=AUTOENCODER)
    assert f"sampled as {known} is" in capsys.readouterr().err


def test_a_base_that_is_a_student_says_how_to_sample(tmp_path):
    base = wan_folder(tmp_path / "wan", name="self-forcing-wan-1.3b")
    path, _ = student_checkpoint(tmp_path / "student.pt", entries=("generator",))

    assert load_bundle(path, base=base).spec.sigmas == PRESETS["self-forcing-wan-1.3b"].sigmas


def test_a_checkpoint_without_a_base_is_a_transformer_and_says_so(tmp_path, capsys):
    path, _ = student_checkpoint(tmp_path / "student.pt")

    assert list(load_bundle(path).parts()) == ["transformer"]
    assert "holds a transformer alone; --base" in capsys.readouterr().err


def test_a_checkpoint_and_a_base_of_different_sizes_do_not_belong_together(tmp_path):
    path, _ = student_checkpoint(tmp_path / "student.pt")
    base = tiny_wan(tmp_path)
    from causvid.models.wan import open_checkpoint

    larger = replace(base, spec=replace(base.spec, transformer=replace(TRANSFORMER, layers=3)))
    with pytest.raises(UserError, match=r"has layers 2, its base .* has 3"):
        open_checkpoint(path, base=larger)


def test_a_base_goes_with_a_checkpoint_only(tmp_path):
    assert "--base goes with a checkpoint" in complaint(wan_folder(tmp_path / "wan"), base="tiny")


@pytest.mark.parametrize("size", ["1.3B", "14B"])
@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_the_sizes_of_the_released_transformers_are_read_off_their_shapes(size, layout):
    from causvid.weights.layouts import translate

    content = json.loads((KEYS / f"wan2.1_t2v_{size}_dit_{layout}.json").read_text())
    shapes = {
        translate(key, source=layout, target="ours"): tuple(shape) for key, shape in content["keys"].items()
    }

    found = transformer_sizes(shapes, {}, where="it")

    width, layers, heads, ffn = (1536, 30, 12, 8960) if size == "1.3B" else (5120, 40, 40, 13824)
    assert found == TransformerConfig(width=width, layers=layers, heads=heads, ffn=ffn)
    assert released(f"wan2.1-t2v-{size.lower()}").transformer == found
    with torch.device("meta"):
        network = VideoTransformer(found)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_the_sizes_of_the_released_autoencoder_are_read_off_its_shapes(layout):
    from causvid.weights.layouts_vae import blocks_of, translate

    content = json.loads((KEYS / f"wan2.1_vae_{layout}.json").read_text())["keys"]
    blocks = blocks_of(content)
    shapes = {
        translate(key, source=layout, target="ours", blocks=blocks): tuple(shape)
        for key, shape in content.items()
    }

    assert vae_sizes(shapes, {}, where="it") == WanVAEConfig()


def test_latents_of_other_channels_need_their_statistics(tmp_path):
    with torch.device("meta"):
        config = WanVAEConfig(width=4, latent_channels=4, mean=(0.0,) * 4, std=(2.0,) * 4)
        shapes = {key: tuple(value.shape) for key, value in WanVAE(config).state_dict().items()}

    with pytest.raises(UserError, match="4 latent channels whose mean and deviation are unknown"):
        vae_sizes(shapes, {}, where="it")
    said = {"latents_mean": [0.0] * 4, "latents_std": [2.0] * 4}
    assert vae_sizes(shapes, said, where="it") == config
