"""However a training is laid over processes, it is the same training; and it survives losing them."""

import json

import pytest
import torch
from rank_work import STAGES, TWO, configured, prepare, run_until_the_disk_is_full, train_all, train_one
from ranks import on_ranks
from tiny_training import ALONE, Words, loop, trained

from causvid.models.bundle import load_bundle
from causvid.train.runs import Run
from causvid.train.stage import WHOLE

pytestmark = pytest.mark.multiprocess
OF_THE_MACHINE = ("seconds", "machine")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """Every stage in one process."""
    folder = tmp_path_factory.mktemp("alone")
    train_all(ALONE, data, folder, [(name, "plain") for name in STAGES])
    return folder / "plain"


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    """Every stage in two processes, in every way."""
    folder = tmp_path_factory.mktemp("together")
    on_ranks(2, train_all, data, folder, TWO)
    return folder


def said(folder):
    """Every number a run wrote down, by step and name."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {f"{line['step']} {k}": v for line in lines for k, v in line.items() if k not in OF_THE_MACHINE}


def ends(folder, name):
    saved = Run(folder, configured(name, "plain")).latest()
    kinds = {
        role: {**saved["modules"][role], **saved["optimizers"][role]["ema"]} for role in saved["modules"]
    }
    return {f"{role}.{key}": value for role, table in kinds.items() for key, value in table.items()}


def same(folder, other, name):
    assert said(folder) == pytest.approx(said(other), rel=1e-6, abs=1e-9)
    weights, others = ends(folder, name), ends(other, name)
    assert weights.keys() == others.keys()
    for key, value in weights.items():
        torch.testing.assert_close(value, others[key], atol=1e-6, rtol=1e-6, msg=key)


@pytest.mark.parametrize(("name", "layout"), TWO)
def test_two_processes_train_what_one_trains(alone, together, name, layout):
    same(together / layout / name, alone / name, name)


@pytest.mark.parametrize("name", ["teacher", "dmd rollout"])
def test_a_model_from_sharded_weights_is_the_whole_one(alone, together, name):
    models = [load_bundle(folder / name).denoiser.state_dict() for folder in (together / "sharded", alone)]

    for key, value in models[0].items():
        torch.testing.assert_close(value, models[1][key], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "processes", "layout"),
    [("teacher", 4, "copies"), ("ode_init", 1, "plain"), ("dmd rollout", 3, "sharded")],
)
def test_a_process_may_be_killed_and_any_number_go_on(data, alone, tmp_path, name, processes, layout):
    out = tmp_path / "run"
    on_ranks(2, train_one, data, out, name, "sharded", 1, may_die=True)
    assert list((out / "checkpoints").glob("*/complete.json"))
    assert not (out / "export").exists()

    if processes == 1:
        train_one(ALONE, data, out, name, layout)
    else:
        on_ranks(processes, train_one, data, out, name, layout)

    same(out, alone / name, name)


class Stopped(Words):
    def batch(self, step, rng, share=WHOLE):
        if step == 3:
            raise RuntimeError("stopped here")
        return super().batch(step, rng, share)


def test_a_full_disk_ends_a_run_with_one_line_and_the_last_checkpoint_stays(tmp_path):
    config = loop(steps=8, checkpoint_every=2, ranks=2)
    with pytest.raises(RuntimeError, match="stopped here"):
        trained(Stopped(), tmp_path / "run", config)

    messages = on_ranks(2, run_until_the_disk_is_full, tmp_path / "run", config)

    for message in messages:
        assert "step_000004 cannot be written" in message and "\n" not in message
    run = Run(tmp_path / "run", config)
    assert run.latest()["step"] == 2
    assert trained(Words(), tmp_path / "run", config).latest()["step"] == 8
