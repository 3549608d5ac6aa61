"""Two processes train what one process trains, share by share."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import causvid
from causvid.errors import UserError
from causvid.models.bundle import load_bundle
from causvid.train.parallel import Ranks
from causvid.train.recipe import run_recipe

RECIPE = """
stage = "text"
seed = 1
steps = 3
ranks = 2
checkpoint_every = 2
log_every = 1

[optimizers.text]
lr = 1e-2
muon_lr = 1e-2
ema = 0.9

[text]
width = 16
layers = 1
heads = 2
rows = 12
batch = 4
"""

TRAIN = """
import sys
from pathlib import Path

import torch

from causvid.train import parallel
from causvid.train.recipe import run_recipe

torch.set_num_threads(1)
exported = run_recipe(sys.argv[1], out=Path(sys.argv[2]), device="cpu")
assert (exported / "model.toml").exists()  # on every rank, or the next stage of a chain would find nothing
parallel.stop()
"""


def train_in_two_processes(recipe, out):
    """As torchrun starts them. Returns what each of them printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    package = str(Path(causvid.__file__).parents[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": package}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(recipe), str(out)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)
    return said


@pytest.mark.multiprocess
def test_two_processes_train_the_weights_of_one_and_only_the_first_one_talks(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)

    said = train_in_two_processes(recipe, tmp_path / "two")
    run_recipe(str(recipe), out=tmp_path / "one", device="cpu")

    together, alone = (load_bundle(tmp_path / run).text.state_dict() for run in ("two", "one"))
    for name, value in together.items():
        torch.testing.assert_close(value, alone[name], atol=1e-4, rtol=1e-3)
    assert "3/3 steps" in said[0] and "steps" not in said[1]


def test_processes_share_the_parts_of_a_batch():
    assert [list(Ranks(r, 2).shares(6)) for r in range(2)] == [[0, 2, 4], [1, 3, 5]]
    assert list(Ranks().shares(4)) == [0, 1, 2, 3]
    assert [list(Ranks(r, 3).shares(None)) for r in range(3)] == [[0], [1], [2]]


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(UserError, match="the recipe has ranks = 2; 3 processes cannot share that evenly"):
        Ranks(0, 3).shares(2)
    with pytest.raises(UserError, match="4 processes cannot share that evenly"):
        Ranks(0, 4).shares(2)


def test_alone_there_is_nothing_to_agree_on():
    module = torch.nn.Linear(2, 2)
    module(torch.ones(2)).sum().backward()
    before = [p.grad.clone() for p in module.parameters()]

    Ranks().average_gradients(module.parameters())
    Ranks().wait()

    assert all(torch.equal(p.grad, g) for p, g in zip(module.parameters(), before, strict=True))
    assert Ranks().any(True) and not Ranks().any(False)
