import pytest
import torch

from causvid.errors import UserError
from causvid.flow.schedule import (
    FlowSchedule,
    add_noise,
    bell_weight,
    draw_logit_normal,
    draw_sigma,
    noise_from_velocity,
    noise_from_x0,
    score_from_x0,
    velocity_from_x0,
    x0_from_velocity,
)

SHIFTS = [0.5, 1.0, 3.0, 5.0, 8.0]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clips(dtype=torch.float32):
    x0, noise = torch.randn(2, 2, 3, 4, 4, 4, generator=generator(), dtype=dtype)
    sigma = torch.tensor([[0.25, 0.5, 1.0], [0.02, 0.9, 0.757]], dtype=dtype)
    return x0, noise, sigma


@pytest.mark.parametrize("shift", SHIFTS)
def test_sigma_rises_from_0_to_1_and_has_an_inverse(shift):
    schedule, u = FlowSchedule(shift=shift), torch.linspace(0, 1, 1001, dtype=torch.float64)

    sigma = schedule.sigma(u)

    assert sigma[0] == 0 and sigma[-1] == 1
    assert (sigma.diff() > 0).all()
    torch.testing.assert_close(schedule.inverse(sigma), u, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("shift", "steps", "places", "published"),
    [
        (5.0, 4, [0, 1, 2, 3], [1.0, 0.9375, 0.833333, 0.625]),
        (8.0, 4, [0, 1, 2, 3], [1.0, 0.96, 0.888889, 0.727273]),
        (8.0, 50, [0, 36, 44], [1.0, 0.756757, 0.521739]),
        (5.0, 48, [0, 12, 24, 36], [1.0, 0.9375, 0.833333, 0.625]),
    ],
)
def test_the_published_lists_lie_on_the_grid(shift, steps, places, published):
    grid = FlowSchedule(shift=shift).grid(steps)

    assert [grid[i] for i in places] == pytest.approx(published, abs=5e-7)
    assert len(grid) == steps + 1 and grid[-1] == 0


def test_a_shift_or_a_number_of_steps_that_makes_no_sense_is_refused():
    for shift in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match="above 0"):
            FlowSchedule(shift=shift)
    with pytest.raises(UserError, match="at least 1"):
        FlowSchedule().grid(0)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_velocity_noise_and_clean_latents_lead_to_one_another(dtype, close):
    x0, noise, sigma = clips(dtype)
    x_t, velocity = add_noise(x0, noise, sigma), noise - x0

    def same(found, wanted):
        torch.testing.assert_close(found, wanted, atol=close, rtol=close)

    same(x0_from_velocity(x_t, velocity, sigma), x0)
    same(noise_from_velocity(x_t, velocity, sigma), noise)
    same(velocity_from_x0(x_t, x0, sigma), velocity)
    same(noise_from_x0(x_t, x0, sigma), noise)
    same(score_from_x0(x_t, x0, sigma) * sigma[..., None, None, None], -noise)


def test_half_precision_comes_out_as_if_it_had_been_float32_all_along():
    x0, noise, sigma = clips()
    x0, noise = x0.bfloat16(), noise.bfloat16()

    x_t = add_noise(x0, noise, sigma)

    assert x_t.dtype == torch.float32
    assert torch.equal(x_t, add_noise(x0.float(), noise.float(), sigma))
    assert x0_from_velocity(x_t.bfloat16(), x0, sigma).dtype == torch.float32


def test_a_clean_frame_stays_bit_for_bit_clean_and_a_noise_frame_pure_noise():
    x0, noise, _ = clips()
    sigma = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])

    x_t = add_noise(x0, noise, sigma)

    assert torch.equal(x_t[sigma == 0], x0[sigma == 0])
    assert torch.equal(x_t[sigma == 1], noise[sigma == 1])


def test_noised_unit_variance_has_variance_of_the_two_squares():
    x0, noise = torch.randn(2, 4, 1, 16, 64, 64, generator=generator())
    sigma = torch.tensor([[0.1], [0.4], [0.7], [0.95]])

    measured = add_noise(x0, noise, sigma).var((1, 2, 3, 4))

    torch.testing.assert_close(measured, ((1 - sigma) ** 2 + sigma**2).flatten(), rtol=0.02, atol=0)


def test_a_training_level_is_the_same_for_all_frames_of_a_clip_only():
    sigma = draw_sigma(64, 5, schedule=FlowSchedule(shift=8.0), rng=generator())

    assert sigma.shape == (64, 5)
    assert (sigma == sigma[:, :1]).all()
    assert len(sigma[:, 0].unique()) > 32
    assert sigma.min() >= 0.02 and sigma.max() <= 0.98


@pytest.mark.parametrize(("shift", "share"), [(8.0, 0.140), (5.0, 0.092)])
def test_the_known_share_of_draws_is_clamped_at_the_top(shift, share):
    sigma = draw_sigma(100_000, 1, schedule=FlowSchedule(shift=shift), rng=generator())

    at_the_top = (sigma == sigma.max()).double().mean().item()

    assert at_the_top == pytest.approx(share, abs=0.004)


def test_unclamped_draws_are_uniform_before_the_shift():
    schedule = FlowSchedule(shift=5.0)

    u = schedule.inverse(draw_sigma(100_000, 1, schedule=schedule, rng=generator(), low=0.0, high=1.0))

    counts = torch.histc(u, bins=10, min=0, max=1)
    assert (counts / counts.sum() - 0.1).abs().max() < 0.005


def test_logit_normal_draws_are_symmetric_before_the_shift_and_repeatable():
    schedule = FlowSchedule(shift=3.0)

    sigma = draw_logit_normal(100_000, schedule=schedule, rng=generator())

    logit = schedule.inverse(sigma).logit()
    assert logit.mean().abs() < 0.02
    assert logit.std() == pytest.approx(1, abs=0.02)
    assert torch.equal(sigma, draw_logit_normal(100_000, schedule=schedule, rng=generator()))


def test_the_bell_weight_has_mean_1_over_the_levels_and_is_0_at_pure_noise():
    schedule = FlowSchedule(shift=5.0)
    levels = torch.tensor(schedule.grid(1000)[:-1], dtype=torch.float64)

    weight = bell_weight(levels, schedule=schedule)

    assert weight.mean().item() == pytest.approx(1)
    assert weight[0].item() == pytest.approx(0, abs=1e-12)
    assert weight.argmax() == (levels - 0.5).abs().argmin()
