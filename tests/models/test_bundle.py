"""Model folders: what is saved is what is loaded, whole or not at all, and damage is one clear line."""

import shutil

import pytest
import torch
from random_model import SIGMAS, random_student, random_teacher
from safetensors.torch import load_file, save_file

from causvid.config import read_toml, to_toml
from causvid.errors import UserError
from causvid.models import bundle as bundles
from causvid.models.bundle import Bundle, find, load_bundle
from causvid.models.convert import convert
from causvid.models.spec import ModelSpec


@pytest.fixture
def folder(tmp_path):
    random_student().save(tmp_path / "model")
    return tmp_path / "model"


def output(bundle):
    x = torch.randn(1, 2, 4, 4, 2, generator=torch.Generator().manual_seed(0))
    latents = bundle.denoiser(x, torch.full((1, 2), 0.5), bundle.text(["a red ball"]))
    return bundle.vae.decode(latents)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_loaded_model_says_exactly_what_the_saved_one_said(folder):
    saved, loaded = random_student(), load_bundle(folder)

    assert loaded.spec == saved.spec
    assert torch.equal(output(loaded), output(saved))


def test_a_loaded_model_is_frozen_and_in_evaluation_mode(folder):
    for part in load_bundle(folder).parts().values():
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())


def test_weights_stored_in_half_the_bytes_are_loaded_as_float32(tmp_path):
    random_student().save(tmp_path / "half", dtype=torch.bfloat16)
    random_student().save(tmp_path / "full")

    stored = load_file(tmp_path / "half" / "transformer.safetensors")
    loaded, exact = load_bundle(tmp_path / "half"), load_bundle(tmp_path / "full")

    assert stored["layers.0.ffn.up.weight"].dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for part in loaded.parts().values() for p in part.parameters())
    assert torch.equal(loaded.vae.latent_std, exact.vae.latent_std)
    torch.testing.assert_close(output(loaded), output(exact), atol=0.2, rtol=0)
    assert not torch.equal(output(loaded), output(exact))


def test_a_bundle_may_hold_an_autoencoder_alone(tmp_path):
    whole = random_student()
    spec = ModelSpec(name="eyes", fps=8, size=(32, 16), vae=whole.spec.vae)
    Bundle(spec=spec, vae=whole.vae).save(tmp_path / "eyes")

    loaded = load_bundle(tmp_path / "eyes")

    assert list(loaded.parts()) == ["vae"]
    assert loaded.text is None and loaded.denoiser is None


def test_saving_again_replaces_the_model(folder):
    random_teacher().save(folder)

    assert load_bundle(folder).spec.layout is None
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_a_save_that_fails_leaves_the_old_model_whole(folder, monkeypatch):
    before = output(load_bundle(folder))

    def full_disk(tensors, path):
        path.write_bytes(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(bundles, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        random_teacher().save(folder)
    monkeypatch.undo()

    assert torch.equal(output(load_bundle(folder)), before)
    random_teacher().save(folder)
    assert load_bundle(folder).spec.layout is None


def test_a_folder_that_holds_something_else_is_not_written_over(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-a-friend.txt").write_text("dear friend")

    with pytest.raises(UserError, match="is no model; nothing is written over it"):
        random_student().save(tmp_path / "letters")

    assert (tmp_path / "letters" / "to-a-friend.txt").read_text() == "dear friend"


def test_missing_weights_are_one_clear_line(folder):
    (folder / "text.safetensors").unlink()

    with pytest.raises(UserError) as error:
        load_bundle(folder)
    assert "text.safetensors is missing; model.toml asks for it" in one_line(error)


@pytest.mark.parametrize("kept", [0, 5, 2000])
def test_truncated_weights_are_one_clear_line(folder, kept):
    path = folder / "transformer.safetensors"
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(UserError) as error:
        load_bundle(folder)
    assert "transformer.safetensors is damaged" in one_line(error)


def test_weights_of_another_kind_of_file_are_one_clear_line(folder):
    (folder / "vae.safetensors").write_bytes(b"PK\x03\x04" + bytes(5000))

    with pytest.raises(UserError) as error:
        load_bundle(folder)
    assert "vae.safetensors is damaged or not a safetensors file" in one_line(error)


def exchanged(folder, change):
    path = folder / "transformer.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(UserError) as error:
        load_bundle(folder)
    return one_line(error)


def test_a_weight_of_another_shape_is_named_with_both_shapes(folder):
    def shorten(tensors):
        tensors["out.bias"] = tensors["out.bias"][:3].clone()

    message = exchanged(folder, shorten)

    assert "'out.bias' has shape (3,)" in message and "model.toml asks for (16,)" in message


def test_a_missing_weight_is_named(folder):
    assert "lacks 'out.bias'" in exchanged(folder, lambda tensors: tensors.pop("out.bias"))


def test_a_foreign_weight_is_named(folder):
    message = exchanged(folder, lambda tensors: tensors.update({"blocks.0.bias": torch.zeros(2)}))

    assert "holds 'blocks.0.bias', which model.toml does not know" in message


def test_exchanged_weights_are_noticed(folder):
    message = exchanged(folder, lambda tensors: tensors["out.bias"].add_(1))

    assert "differs from the sha256 in model.toml" in message


def test_an_unknown_key_in_model_toml_is_named_with_a_suggestion(folder):
    table = read_toml(folder / "model.toml")
    table["layuot"] = table.pop("layout")
    (folder / "model.toml").write_text(to_toml(table))

    with pytest.raises(UserError) as error:
        load_bundle(folder)
    assert "unknown key 'layuot'. Did you mean 'layout'?" in one_line(error)


def test_a_model_toml_that_is_no_toml_is_one_clear_line(folder):
    (folder / "model.toml").write_text("{}")

    with pytest.raises(UserError, match="is not valid TOML"):
        load_bundle(folder)


def test_a_name_nobody_knows_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"no model 'tinny': it is neither a known name \(tiny"):
        load_bundle("tinny")
    with pytest.raises(UserError, match="no model"):
        load_bundle(tmp_path)


def test_a_run_stands_for_the_model_it_exported(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run" / "export")

    assert find(tmp_path / "run") == tmp_path / "run" / "export"
    assert find(folder) == folder


@pytest.mark.parametrize("sigmas", [(0.5, 0.75), (1.0, 0.5, 0.5), (1.2, 0.5), (1.0, 0.0)])
def test_noise_levels_that_do_not_fall_from_one_to_above_zero_are_refused(sigmas):
    with pytest.raises(UserError, match="they must fall from at most 1 to above 0"):
        random_student(sigmas=sigmas)


def test_a_student_is_a_causal_model_with_few_levels():
    assert random_student().spec.is_student
    assert not random_teacher().spec.is_student
    assert not random_student(sigmas=()).spec.is_student
    assert random_student().spec.sigmas == SIGMAS


def test_provenance_is_kept_for_each_part(tmp_path):
    spec = random_student().spec.with_provenance("vae", {"steps": 3}).with_provenance("text", {"steps": 5})
    random_student(provenance=spec.provenance).save(tmp_path / "model")

    assert load_bundle(tmp_path / "model").spec.provenance == {"vae": {"steps": 3}, "text": {"steps": 5}}


def test_a_part_that_is_trained_on_keeps_how_it_was_made_before():
    spec = random_student().spec
    for steps in (1, 2, 3):
        spec = spec.with_provenance("student", {"steps": steps})

    assert {part: facts["steps"] for part, facts in spec.provenance.items()} == {
        "student": 3,
        "student_before": 2,
        "student_before_before": 1,
    }


def test_a_converted_model_is_the_same_under_its_new_name(folder, tmp_path):
    copy = convert(folder, tmp_path / "copy", name="mine", dtype=torch.float32)

    assert load_bundle(copy).spec.name == "mine"
    assert torch.equal(output(load_bundle(copy)), output(load_bundle(folder)))


def test_a_part_can_stand_on_another_model(folder, tmp_path):
    before = load_bundle(folder)
    random_teacher().save(tmp_path / "base")

    convert(folder, tmp_path / "arm", part="transformer", base=tmp_path / "base")

    arm, base = load_bundle(tmp_path / "arm"), load_bundle(tmp_path / "base")
    assert sorted(path.name for path in (tmp_path / "arm").iterdir()) == [
        "model.toml",
        "transformer.safetensors",
    ]
    assert arm.spec == before.spec
    for part, same in {"transformer": before, "vae": base, "text": base}.items():
        for key, value in arm.parts()[part].state_dict().items():
            assert torch.equal(value, same.parts()[part].state_dict()[key]), key
