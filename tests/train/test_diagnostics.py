"""Numbers that tell early: by noise level, and of what a preview shows."""

import pytest
import torch
from random_model import LAYOUT, SIGMAS
from tiny_training import inputs, seeded

from causvid.train.diagnostics import by_level, of_clips
from causvid.train.dmd import Dmd, DmdConfig


def test_errors_are_averaged_by_level_and_empty_levels_left_out():
    found = by_level(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0.1, 0.2, 0.9]))

    assert {name: float(value) for name, value in found.items()} == {"level_0.25": 2.0, "level_1": 5.0}


def test_the_critics_loss_is_the_mean_of_its_levels(tmp_path):
    config = DmdConfig(student_input="rollout", batch=6, frames=4, sigmas=SIGMAS, layout=LAYOUT)
    dmd = Dmd(config, inputs(), folder=tmp_path)

    metrics = dmd.loss("critic", dmd.batch(0, seeded()), seeded()).metrics

    levels = [float(value) for name, value in metrics.items() if name.startswith("level_")]
    assert len(levels) > 1 and min(levels) <= float(metrics["loss"]) <= max(levels)


def test_still_clips_have_no_motion_and_equal_ones_no_diversity():
    frames = torch.randint(0, 256, (1, 4, 8, 8, 3), generator=seeded(), dtype=torch.uint8)

    still = of_clips(frames[:, :1].expand(1, 4, 8, 8, 3))
    equal = of_clips(frames.expand(3, 4, 8, 8, 3))

    assert still["motion"] == 0 and still["spread"] > 0
    assert equal["diversity"] == 0 and equal["motion"] > 0
    assert of_clips(
        torch.stack([torch.zeros_like(frames[0]), torch.full_like(frames[0], 10)])
    ) == pytest.approx({"motion": 0, "diversity": 10, "spread": 5.0}, abs=0.02)
