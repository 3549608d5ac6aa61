"""What a run writes down: where it comes from, and random numbers that are a function of the step."""

import sys
from dataclasses import replace

import pytest
import torch

from causvid.errors import UserError
from causvid.train.optim import OptimizerConfig
from causvid.train.runs import Meter, keep_config, provenance, step_rng


def test_the_numbers_of_a_step_depend_on_seed_rank_and_step_alone():
    def draw(*key):
        return torch.randn(4, generator=step_rng(*key))

    assert torch.equal(draw(1, 2, 3), draw(1, 2, 3))
    different = [draw(1, 2, 3), draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4), draw(2, 1, 3), draw(3, 2, 1)]
    assert len({tuple(values.tolist()) for values in different}) == len(different)


def test_the_command_is_recorded_without_anybodys_folders(monkeypatch):
    arguments = [
        "train",
        "tiny/text",
        "--out",
        "/home/somebody/runs/text",
        "--set",
        "clips=/data/private/clips",
    ]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/causvid", *arguments])

    assert provenance()["command"] == "causvid train tiny/text --out text --set clips=clips"


def test_a_machine_without_git_can_train(monkeypatch):
    monkeypatch.setenv("PATH", "")

    assert provenance()["commit"] == "unknown"


def test_a_meter_gives_means_and_starts_again():
    meter = Meter()
    meter.add({"loss": torch.tensor(1.0), "rate": 2})
    meter.add({"loss": 3.0})

    assert meter.read() == {"loss": 2.0, "rate": 2.0}
    assert meter.read() == {}


def test_a_folder_begun_before_a_key_existed_goes_on_with_its_default(tmp_path):
    path, config = tmp_path / "config.toml", OptimizerConfig(lr=1.0)
    keep_config(path, config)
    path.write_text(path.read_text().replace("clip = 1.0\n", ""))

    keep_config(path, config)
    with pytest.raises(UserError, match=r"clip is 1\.0 there and 2\.0 here"):
        keep_config(path, replace(config, clip=2.0))
