"""Two processes train what one process trains, share by share."""

import pytest
import torch
from rank_work import run_recipe_here
from ranks import on_ranks

from causvid.errors import UserError
from causvid.models.bundle import load_bundle
from causvid.train.parallel import ParallelConfig, Ranks
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


@pytest.mark.multiprocess
def test_two_processes_train_the_weights_of_one(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)

    assert on_ranks(2, run_recipe_here, recipe, tmp_path / "two") == [True, True]
    run_recipe(str(recipe), out=tmp_path / "one", device="cpu")

    together, alone = (load_bundle(tmp_path / run).text.state_dict() for run in ("two", "one"))
    for name, value in together.items():
        torch.testing.assert_close(value, alone[name], atol=1e-4, rtol=1e-3)


def test_processes_share_the_parts_of_a_batch():
    assert [[n for n, _ in Ranks(r, 2).shares(6)] for r in range(2)] == [[0, 2, 4], [1, 3, 5]]
    assert Ranks().shares(4) == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]
    assert [Ranks(r, 3).shares(None) for r in range(3)] == [[(0, 1.0)], [(1, 1.0)], [(2, 1.0)]]


@pytest.mark.parametrize(
    ("total", "size", "sequence"), [(2, 3, 1), (5, 2, 1), (1, 4, 2), (7, 6, 3), (3, 1, 1)]
)
def test_weights_make_the_mean_over_processes_the_mean_over_parts(total, size, sequence):
    values = torch.arange(1.0, total + 1)
    means = []
    for rank in range(size):
        shares = Ranks(rank, size, sequence).shares(total)
        means.append(sum(weight * values[n] for n, weight in shares) / len(shares))

    assert len({len(Ranks(r, size, sequence).shares(total)) for r in range(size)}) == 1
    torch.testing.assert_close(torch.stack(means).mean(), values.mean())


@pytest.mark.parametrize(
    ("asked", "processes", "found"),
    [
        ({}, 4, (4, 1)),
        ({"shard": "all"}, 4, (1, 4)),
        ({"shard": 2}, 8, (4, 2)),
        ({"shard": 2, "replicate": 3}, 6, (3, 2)),
    ],
)
def test_copies_of_weights_fill_the_processes(asked, processes, found):
    assert ParallelConfig(**asked).layout(processes) == found


@pytest.mark.parametrize(
    ("asked", "processes", "message"),
    [
        ({"shard": 3}, 4, "replicate 1 x shard 3, and there are 4 processes"),
        ({"sequence": 3}, 4, "parallel.sequence is 3; it must divide the number of processes, 4"),
        ({"shard": 0}, 1, "parallel.shard is 0; it must be 1 or more"),
        ({"offload": "all"}, 1, "shard above 1"),
    ],
)
def test_processes_that_cannot_be_laid_out_are_refused(asked, processes, message):
    with pytest.raises(UserError, match=message):
        ParallelConfig(**asked).layout(processes)


def test_alone_there_is_nothing_to_agree_on():
    module = torch.nn.Linear(2, 2)
    module(torch.ones(2)).sum().backward()
    before = [p.grad.clone() for p in module.parameters()]

    Ranks().average_gradients(module.parameters())
    Ranks().wait()

    assert all(torch.equal(p.grad, g) for p, g in zip(module.parameters(), before, strict=True))
    assert Ranks().any(True) and not Ranks().any(False)
