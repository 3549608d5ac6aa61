"""Files of weights: read one tensor at a time, written whole, and every damage one clear line."""

import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from causvid.errors import UserError
from causvid.weights.files import open_weights, weights_file, weights_of
from causvid.weights.store import fresh_folder, write_weights


def tensors():
    rng = torch.Generator().manual_seed(0)
    return {
        "wide.weight": torch.randn(40, 3, generator=rng),
        "half.weight": torch.randn(7, 5, generator=rng).bfloat16(),
        "half.bias": torch.randn(3, generator=rng).half(),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 4),
        "turned": torch.randn(6, 4, generator=rng).T,
    }


def same(found, expected):
    return list(found) == list(expected) and all(
        found[name].dtype == expected[name].dtype and torch.equal(found[name], expected[name])
        for name in expected
    )


def complaint(path, **how):
    with pytest.raises(UserError) as error:
        open_weights(path, **how)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def shards(tmp_path):
    write_weights(tmp_path, "model", weights_of(tensors(), path=tmp_path), shard=200)
    return tmp_path


def test_what_is_written_is_what_is_read(tmp_path):
    path = write_weights(tmp_path, "model", weights_of(tensors(), path=tmp_path))

    assert path == tmp_path / "model.safetensors"
    assert same({name: open_weights(path)[name] for name in tensors()}, tensors())
    assert same({name: open_weights(tmp_path)[name] for name in tensors()}, tensors())


def test_our_files_are_read_by_the_reference_library_and_the_other_way_round(tmp_path):
    ours = write_weights(tmp_path, "ours", weights_of(tensors(), path=tmp_path))
    plain = {name: tensor.contiguous() for name, tensor in tensors().items()}
    save_file(plain, tmp_path / "theirs.safetensors")
    theirs = open_weights(tmp_path / "theirs.safetensors")

    assert same({name: load_file(ours)[name] for name in plain}, plain)
    assert same({name: theirs[name] for name in plain}, plain)
    with safe_open(ours, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_large_model_becomes_shards_and_their_index(shards):
    names = sorted(path.name for path in shards.iterdir())
    found = open_weights(shards)

    assert names[-1] == "model.safetensors.index.json" and len(names) > 2
    assert names[0] == f"model-00001-of-{len(names) - 1:05}.safetensors"
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors().items())
    assert len(found) == len(tensors())


def test_shapes_are_known_before_anything_is_read(shards):
    found = open_weights(shards)

    assert found.shapes == {name: tuple(tensor.shape) for name, tensor in tensors().items()}
    assert found.stored["half.weight"].dtype == torch.bfloat16


def test_large_tensors_are_cast_when_they_are_read_and_small_ones_are_not(tmp_path):
    found = weights_of(tensors(), path=tmp_path).cast(torch.float64, least=10)

    assert found["wide.weight"].dtype == found["half.weight"].dtype == torch.float64
    assert found["half.bias"].dtype == torch.float16
    assert found["count"].dtype == torch.int64


def test_a_missing_shard_is_named(shards):
    gone = sorted(shards.glob("*-of-*"))[1]
    gone.unlink()

    assert f"lacks {gone.name}, which model.safetensors.index.json asks for" in complaint(shards)


def test_shards_without_their_index_are_not_guessed_at(shards):
    (shards / "model.safetensors.index.json").unlink()

    assert "holds shards without their index" in complaint(shards)


def test_an_index_that_points_elsewhere_is_refused(shards, tmp_path):
    index = shards / "model.safetensors.index.json"
    for content in ({"weight_map": {"count": "../secret.safetensors"}}, {"weight_map": 3}, {}, []):
        index.write_text(json.dumps(content))
        assert "not an index of shards" in complaint(index)


def test_a_shard_that_lacks_a_tensor_is_named(shards):
    index = shards / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["more"] = content["weight_map"]["count"]
    index.write_text(json.dumps(content))

    assert "lacks 'more', which model.safetensors.index.json says it holds" in complaint(shards)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("kept", [0, 3, 9, 100, 700])
def test_a_truncated_file_is_one_clear_line(tmp_path, suffix, kept):
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save(tensors(), path)
    else:
        save_file({name: tensor.contiguous() for name, tensor in tensors().items()}, path)
    path.write_bytes(path.read_bytes()[:kept])

    assert "is damaged" in complaint(path)


def test_flipped_bytes_never_give_anything_but_a_clear_line(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"generator": {"a": torch.zeros(4)}}, path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            open_weights(path)
        except UserError as error:
            assert "\n" not in str(error)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_code_inside_a_checkpoint_is_not_run(tmp_path):
    torch.save({"generator": {"a": torch.zeros(2)}, "extra": Bomb(tmp_path / "ran")}, tmp_path / "model.pt")

    assert "holds more than tensors; nothing in it was run" in complaint(tmp_path / "model.pt")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_before_memory_maps_is_read(tmp_path):
    torch.save({"a": torch.arange(3.0)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    assert torch.equal(open_weights(tmp_path / "old.pth")["a"], torch.arange(3.0))


def test_the_averaged_student_is_meant_unless_another_entry_is_named(tmp_path):
    path = tmp_path / "model.pt"
    entries = {
        name: {"a": torch.full((2,), i)} for i, name in enumerate(("generator", "critic", "generator_ema"))
    }
    torch.save({**entries, "step": 600}, path)

    assert open_weights(path).entry == "generator_ema"
    assert open_weights(path)["a"].tolist() == [2, 2]
    assert open_weights(path, entry="critic")["a"].tolist() == [1, 1]
    assert "has no 'teacher'; it has generator, critic, generator_ema" in complaint(path, entry="teacher")


def test_a_checkpoint_without_weights_is_one_clear_line(tmp_path):
    for content, message in (([1, 2], "but list"), ({"step": 3}, "no weights that are known by name")):
        torch.save(content, tmp_path / "model.pt")
        assert message in complaint(tmp_path / "model.pt")


def test_what_is_missing_or_ambiguous_is_said(tmp_path):
    assert "does not exist" in complaint(tmp_path / "none.safetensors")
    assert "holds no weights; looked for *.safetensors" in complaint(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "one.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "two.safetensors")
    assert "several sets of weights (one.safetensors, two.safetensors)" in complaint(tmp_path)
    assert weights_file(tmp_path, stem="two") == tmp_path / "two.safetensors"


def test_a_write_that_fails_leaves_nothing_behind(tmp_path):
    def fail():
        raise OSError("no space left on device")

    weights = weights_of(tensors(), path=tmp_path)
    weights.stored["count"].__dict__["read"] = fail
    with pytest.raises(OSError, match="no space"):
        with fresh_folder(tmp_path / "new", marks=("model.toml",)) as folder:
            write_weights(folder, "model", weights)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_not_written_over(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").write_text("dear friend")

    for target, message in (("letters", "is no model"), ("letters/dear.txt", "is a file")):
        with pytest.raises(UserError, match=message):
            with fresh_folder(tmp_path / target, marks=("model.toml",)):
                raise AssertionError("nothing is begun")
    assert [path.name for path in tmp_path.iterdir()] == ["letters"]
