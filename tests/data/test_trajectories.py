"""Stored trajectories: found by number, one prompt may have many seeds."""

import pytest
import torch
from tiny_training import seeded

from causvid.data.latents import write_shard
from causvid.data.trajectories import TrajectoryReader
from causvid.errors import UserError


def samples(number, *, clean=False):
    def draw(*shape):
        return torch.randn(*shape, generator=seeded(number)).half()

    stored = {"states": draw(2, 3, 4, 4, 4, 2), "x0": draw(2, 4, 4, 4, 2), "seeds": torch.tensor([7, number])}
    return stored | ({"clean": draw(2, 4, 4, 4, 2)} if clean else {})


@pytest.fixture
def folder(tmp_path):
    for number in range(2):
        write_shard(tmp_path, number, samples(number), 2)
    return tmp_path


def test_samples_come_back_as_they_were_stored_in_the_order_asked_for(folder):
    read = TrajectoryReader(folder).read([3, 0])

    assert torch.equal(read.states, torch.stack([samples(1)["states"][1], samples(0)["states"][0]]).float())
    assert torch.equal(read.x0, torch.stack([samples(1)["x0"][1], samples(0)["x0"][0]]).float())
    assert read.clean is None


def test_a_prompt_that_occurs_twice_keeps_both_samples(folder):
    read = TrajectoryReader(folder).read([0, 2])

    assert read.seeds == [7, 7]
    assert not torch.equal(read.states[0], read.states[1])


def test_the_past_of_causal_teachers_is_read_too(tmp_path):
    write_shard(tmp_path, 0, samples(0, clean=True), 2)

    assert torch.equal(
        TrajectoryReader(tmp_path).read([1]).clean, samples(0, clean=True)["clean"][1:].float()
    )


def test_a_batch_is_a_function_of_its_random_source(folder):
    reader = TrajectoryReader(folder)

    assert torch.equal(reader.batch(5, seeded()).states, reader.batch(5, seeded()).states)
    assert reader.batch(40, seeded()).seeds != reader.batch(40, seeded(1)).seeds


def test_samples_that_are_missing_are_counted(folder):
    TrajectoryReader(folder).expect(4)
    with pytest.raises(UserError, match="holds 4 of 6"):
        TrajectoryReader(folder).expect(6)
