"""On a Gaussian the probability flow has a closed form, so errors can be measured."""

import pytest
import torch

from causvid.errors import UserError
from causvid.flow.schedule import FlowSchedule
from causvid.flow.solvers import dpm, euler, unipc

MEAN, STD = 1.5, 0.5


def velocity(x, sigma):
    """noise - x0 as expected from x, for clean numbers from a Gaussian."""
    centred = x - (1 - sigma) * MEAN
    variance = (1 - sigma) ** 2 * STD**2 + sigma**2
    return (sigma - (1 - sigma) * STD**2) * centred / variance - MEAN


def start():
    return torch.randn(4, 1, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def error(solver, steps):
    x = start()
    *_, end = solver(velocity, x, FlowSchedule(shift=3.0).grid(steps))
    return (end - (MEAN + STD * x)).abs().max().item()


def test_eulers_error_halves_with_the_step():
    assert error(euler, 64) / error(euler, 128) == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(("solver", "ratio"), [(unipc, 2.8), (dpm, 2.2)])
def test_solvers_of_second_order_fall_faster_and_are_far_closer(solver, ratio):
    # Not by 4: the last step, to sigma 0, is of first order.
    assert error(solver, 64) / error(solver, 128) > ratio
    assert error(solver, 64) < error(euler, 128)


def test_dpm_is_unipc_without_the_correction():
    grid = FlowSchedule(shift=3.0).grid(8)
    plain, corrected = (list(solver(velocity, start(), grid)) for solver in (dpm, unipc))

    torch.testing.assert_close(plain[1], corrected[1])
    assert not torch.allclose(plain[2], corrected[2], atol=1e-6)


@pytest.mark.parametrize("solver", [euler, unipc, dpm])
def test_the_first_state_is_the_noise_and_there_is_one_for_every_level(solver):
    grid, x = FlowSchedule(shift=5.0).grid(6), start()

    states = list(solver(velocity, x, grid))

    assert len(states) == 7
    assert torch.equal(states[0], x)
    assert all(state.isfinite().all() for state in states)


@pytest.mark.parametrize("solver", [euler, unipc, dpm])
def test_solving_again_from_the_same_noise_gives_the_stored_states(solver):
    grid, x = FlowSchedule(shift=5.0).grid(8), start()

    assert torch.equal(torch.stack([*solver(velocity, x, grid)]), torch.stack([*solver(velocity, x, grid)]))


@pytest.mark.parametrize("solver", [euler, unipc, dpm])
def test_one_step_from_pure_noise_is_the_predicted_clean_clip(solver):
    *_, end = solver(velocity, start(), [1.0, 0.0])

    torch.testing.assert_close(end, start() - velocity(start(), 1.0))


@pytest.mark.parametrize("solver", [euler, unipc, dpm])
def test_levels_that_do_not_fall_are_refused(solver):
    for levels in ([1.0], [0.5, 0.5], [0.2, 0.7], [1.5, 0.0], [1.0, -0.1]):
        with pytest.raises(UserError, match="falling"):
            list(solver(velocity, start(), levels))
