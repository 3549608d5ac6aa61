"""What a training will take is worked out from the training itself, on networks without numbers."""

from dataclasses import replace

import pytest
import torch
from random_model import SPEC, random_teacher
from tiny_training import encoded_clips, inputs, loop

from causvid.cli import main
from causvid.config import plain, to_toml
from causvid.errors import UserError
from causvid.models.bundle import load_bundle
from causvid.train.dmd import Dmd, DmdConfig
from causvid.train.forecast import Hardware, forecast
from causvid.train.parallel import ParallelConfig
from causvid.train.teacher import Period, Teacher, TeacherConfig
from causvid.train.unreal import try_pass, unreal_bundle

UNREAL = {"teacher": replace(SPEC, layout=None, sigmas=(), guidance=2.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    encoded_clips(folder / "latents")
    random_teacher().save(folder / "parts")
    return folder


def teacher(folder, *, bundles=None, batch=2, layers=2):
    periods = (Period(until=9, frames=4, batch=batch),)
    config = TeacherConfig(transformer=replace(SPEC.transformer, layers=layers), periods=periods)
    return Teacher(config, bundles or inputs(), folder=folder)


def unreal(folder, *, layers=2, **changes):
    spec = replace(UNREAL["teacher"], transformer=replace(SPEC.transformer, layers=layers))
    with torch.device("meta"):
        return teacher(folder, bundles={"teacher": unreal_bundle(spec)}, layers=layers, **changes)


def looked_at(stage, *, role="teacher", processes=1, **changes):
    config = replace(loop(role, steps=4), **changes)
    return forecast(stage, config, hardware=Hardware(processes=processes, gpu="h100"), micro=2)


def test_operations_are_those_of_the_real_step(folder):
    from torch.utils.flop_counter import FlopCounterMode

    real, rng = teacher(folder), torch.Generator().manual_seed(0)
    with FlopCounterMode(display=False) as counted:
        real.loss("teacher", real.batch(0, rng), rng).value.backward()

    guessed = try_pass(unreal(folder), "teacher", step=0).flops

    assert guessed == pytest.approx(
        counted.get_total_flops(), rel=0.1
    )  # kernels of attention are counted so or so


def test_twice_the_clips_are_twice_the_work_and_more_memory(folder):
    one, two = (try_pass(unreal(folder, batch=n), "teacher", step=0) for n in (2, 4))

    assert two.flops == pytest.approx(2 * one.flops, rel=0.05)
    assert two.bytes > one.bytes


def test_recomputed_layers_hold_less_and_work_more(folder):
    kept = looked_at(unreal(folder, batch=16, layers=8))
    again = looked_at(
        unreal(folder, batch=16, layers=8), parallel=ParallelConfig(checkpoint_activations="layer")
    )

    assert again.memory["pass"] < 0.8 * kept.memory["pass"]
    assert 1.2 * kept.flops < again.flops < 1.4 * kept.flops


def test_sharded_weights_are_a_share_and_a_checkpoint_is_the_same(folder):
    whole, halves = (
        looked_at(unreal(folder), processes=2, parallel=ParallelConfig(shard=shard)) for shard in (1, 2)
    )

    for kind in ("weights", "optimisers", "averages"):
        assert halves.memory[kind] == pytest.approx(whole.memory[kind] / 2)
    assert halves.checkpoint == whole.checkpoint


def test_two_processes_on_one_clip_do_less_of_its_work_each(folder):
    """Not half: what is done for the text is done by both, and here that is much."""
    alone = looked_at(unreal(folder, batch=16), processes=2, ranks=1)
    shared = looked_at(unreal(folder, batch=16), processes=2, ranks=1, parallel=ParallelConfig(sequence=2))

    assert 0.5 * alone.flops < shared.flops < 0.75 * alone.flops
    assert shared.memory["pass"] < alone.memory["pass"]


def test_a_rollout_is_tried_with_all_its_networks(folder):
    with torch.device("meta"):
        config = DmdConfig(
            student_input="rollout", batch=2, frames=4, sigmas=(1.0, 0.5), critic_steps=2, layout=SPEC.layout
        )
        stage = Dmd(config, {"teacher": unreal_bundle(UNREAL["teacher"])}, folder=folder)
    optimizers = dict.fromkeys(("student", "critic"), loop().optimizers["text"])

    found = looked_at(stage, optimizers=optimizers)

    assert {"student", "critic", "teacher"} <= found.networks.keys()
    assert found.flops > 0 and found.memory["pass"] > 0 and found.seconds > 0
    assert all(p.is_meta for module in stage.trainable.values() for p in module.parameters())


def recipe(folder):
    stage = {"transformer": plain(SPEC.transformer), "periods": [{"until": 9, "frames": 4, "batch": 2}]}
    table = {
        "stage": "teacher",
        "steps": 4,
        "inputs": {"teacher": "parts"},
        "optimizers": {"teacher": {"lr": 1e-3}},
    }
    path = folder / "mine.toml"
    path.write_text(to_toml({**table, "teacher": stage}))
    return str(path)


def test_a_dry_run_says_what_it_takes_and_leaves_nothing(folder, capsys):
    out = folder / "run"

    status = main(
        ["train", recipe(folder), "--out", str(out), "--dry-run", "--processes", "2", "--gpu", "h100"]
    )

    said = capsys.readouterr().out
    assert status == 0 and not out.exists()
    assert 'stage = "teacher"' in said and "4 samples: 2 ranks x 2 samples x 1 accumulated" in said
    assert all(word in said for word in ("fits in 80.0 GB", "TFLOP", "estimate", "checkpoints of"))


def test_a_dry_run_stops_at_what_would_stop_the_training(folder, capsys):
    words = ["--dry-run", "--set", "teacher.clips=nothing"]

    assert main(["train", recipe(folder), "--out", str(folder / "run"), *words]) == 2
    assert "nothing" in capsys.readouterr().err


@pytest.mark.parametrize(("gpu", "processes"), [("c64", 1), ("h100", 0)])
def test_hardware_nobody_knows_is_refused(gpu, processes):
    with pytest.raises(UserError, match=r"known: b200|must be 1 or more"):
        Hardware(processes=processes, gpu=gpu)


def test_training_is_measured_for_a_model_by_name(folder, capsys):
    words = ["--size", "32x16", "--frames", "2", "--steps", "1", "--warmup", "0", "--dtype", "float32"]

    assert main(["bench", "train", str(folder / "parts"), *words, "--device", "cpu", "--json"]) == 0

    import json

    found = json.loads(capsys.readouterr().out)
    assert found["tokens_per_step"] == 4 and found["tokens_per_second"] > 0 and found["mfu"] is None
    assert sum(found["time"].values()) == pytest.approx(1, abs=0.01)
    assert found["parameters"] == sum(p.numel() for p in load_bundle(folder / "parts").denoiser.parameters())
