"""Paths of the renderer, found again."""

import pytest
import torch
from evaluate.rendered import scenes

from causvid.data import worlds
from causvid.errors import UserError
from causvid.evaluate.trajectories import families, fit, jump_threshold, jumps, likeliest, measured

MOTIONS = worlds.FACTORS["motion"]


def path_of(scene, frames=120, *, noise=0.004, seed=0):
    """What a tracker sees of it."""
    path = worlds.trajectory(scene, frames)
    lines = [torch.from_numpy(x[0]).float() for x in (path.x, path.y, path.radius)]
    drawn = torch.randn(frames, 3, generator=torch.Generator().manual_seed(seed))
    return torch.stack(lines, dim=1) + noise * drawn


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_family_of_a_noisy_path_is_the_one_it_was_drawn_from(motion):
    for scene in scenes(3, motion=(motion,)):
        assert likeliest(path_of(scene, 60)).family == motion


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_is_told_in_windows_from_readings_that_waver(motion):
    drift = 0.02 * torch.sin(torch.arange(120) / 9 + torch.arange(3)[:, None]).T
    for scene in scenes(3, motion=(motion,)):
        told = families(path_of(scene, noise=0.01) + drift * torch.tensor([1, 1, 0.5]))

        assert told.shape == (4, len(MOTIONS)) and told.sum(dim=1).allclose(torch.ones(4))
        assert told.mean(dim=0).argmax() == MOTIONS.index(motion)


@pytest.mark.parametrize("motion", MOTIONS[:-1])
def test_period_and_phase_are_those_of_the_scene(motion):
    scene = scenes(1, motion=(motion,))[0]

    found = fit(path_of(scene), motion)

    assert found.period == pytest.approx(scene.period, abs=0.3)
    assert abs((found.phase - scene.phase + 0.5) % 1 - 0.5) < 0.05
    assert found.error == pytest.approx(0.004 * 6**0.5, rel=0.3), "only the tracker's noise is left"


def test_the_wrong_family_leaves_most_of_the_motion():
    sweep = path_of(scenes(1, motion=("sweep",))[0])

    assert fit(sweep, "bounce").error > 5 * fit(sweep, "sweep").error
    assert measured(sweep, "bounce")["family_right"] == 0 and measured(sweep, "sweep")["family_right"] == 1


def test_a_steady_turn_has_no_period_error_and_a_slowing_one_has():
    scene = scenes(1, motion=("circle",))[0]
    steady = path_of(scene, noise=0.001)
    clock = torch.linspace(0, 1, 120) ** 1.3 * 119
    slowing = path_of(scene, 240, noise=0)[clock.round().long()]

    assert measured(steady, "circle")["period_error"] < 0.01
    assert measured(steady, "circle")["phase_slip"] < 0.01
    assert measured(slowing, "circle")["period_error"] > 0.1


def test_a_jump_is_counted_once_and_the_truth_has_none():
    path = path_of(scenes(1, motion=("sweep",))[0])
    torn = torch.cat([path[:40], path[40:] + torch.tensor([0.3, 0, 0])])
    threshold = jump_threshold([path])

    assert jumps(path, threshold) == 0 and jumps(torn, threshold) == 1


def test_short_paths_say_nothing_and_unknown_families_are_refused():
    path = path_of(scenes(1, motion=("still",))[0], 12)

    assert set(measured(path, "still")) == {"path"} and families(path).unique().numel() == 1
    with pytest.raises(UserError, match="a path of 12 frames cannot be fitted with 'still'"):
        fit(path, "still")
    with pytest.raises(UserError, match="accepted: 24 frames or more, still, sweep"):
        fit(path_of(scenes(1, motion=("still",))[0]), "zigzag")
