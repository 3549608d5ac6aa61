import pytest
import torch

from causvid.flow.losses import (
    critic_loss,
    dmd_gradient,
    dmd_loss,
    flow_matching_loss,
    ode_regression_loss,
)
from causvid.flow.schedule import add_noise

SHAPE = (2, 3, 4, 6, 6)


def clips(count, dtype=torch.float64):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_there_is_nothing_to_learn_where_the_critic_agrees_with_the_teacher():
    x0, teacher = clips(2)

    gradient, normaliser = dmd_gradient(x0, teacher, teacher)

    assert (gradient == 0).all()
    assert (normaliser > 0).all()


def test_the_normaliser_is_the_students_mean_distance_from_the_teacher_per_sample():
    x0, critic, teacher = clips(3)

    gradient, normaliser = dmd_gradient(x0, critic, teacher)

    torch.testing.assert_close(normaliser, (x0 - teacher).abs().mean((1, 2, 3, 4)))
    torch.testing.assert_close(gradient[1], (critic[1] - teacher[1]) / normaliser[1])


def test_the_loss_hands_the_student_exactly_the_gradient_over_the_number_of_elements():
    x0, gradient = clips(2)
    x0.requires_grad_()

    loss = dmd_loss(x0, gradient)
    loss.backward()

    torch.testing.assert_close(x0.grad, gradient / x0.numel())
    torch.testing.assert_close(loss.detach(), 0.5 * gradient.square().mean())


def test_under_a_mask_the_kept_elements_share_the_whole_gradient():
    x0, gradient = clips(2)
    x0.requires_grad_()
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) < 0.3

    dmd_loss(x0, gradient, mask=mask).backward()

    torch.testing.assert_close(x0.grad, gradient * mask / mask.sum())


def test_scaling_everything_alike_changes_nothing():
    x0, critic, teacher = clips(3)

    once, _ = dmd_gradient(x0, critic, teacher)
    hundredfold, _ = dmd_gradient(100 * x0, 100 * critic, 100 * teacher)

    torch.testing.assert_close(once, hundredfold)


def test_a_student_that_is_its_teacher_gets_a_finite_gradient_of_0():
    x0, critic = clips(2)

    gradient, normaliser = dmd_gradient(x0, critic, x0)

    assert (normaliser == 0).all()
    assert (gradient == 0).all()


def test_no_gradient_flows_into_teacher_critic_or_through_the_score():
    x0, critic, teacher = (clip.requires_grad_() for clip in clips(3).unbind())

    gradient, _ = dmd_gradient(x0, critic, teacher)
    dmd_loss(x0, gradient).backward()

    assert not gradient.requires_grad
    assert critic.grad is None and teacher.grad is None


def test_the_critics_loss_does_not_reach_the_student():
    x0, velocity, noise = (clip.requires_grad_() for clip in clips(3).unbind())

    critic_loss(velocity, x0, noise).backward()

    assert x0.grad is None
    assert velocity.grad is not None


def test_the_critics_loss_is_flow_matching_and_0_for_an_oracle():
    x0, noise, velocity = clips(3)

    assert torch.equal(critic_loss(velocity, x0, noise), flow_matching_loss(velocity, x0, noise))
    assert critic_loss(noise - x0, x0, noise) == 0


def test_a_weight_per_frame_weighs_frames():
    x0, noise, velocity = clips(3)
    weight = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 3.0]], dtype=torch.float64)

    loss = flow_matching_loss(velocity, x0, noise, weight=weight[..., None, None, None])

    by_hand = ((velocity - (noise - x0)).square().mean((2, 3, 4)) * weight).mean()
    torch.testing.assert_close(loss, by_hand)


def test_a_weight_per_place_weighs_places():
    x0, noise, velocity = clips(3)
    weight = torch.zeros(2, 3, 1, *x0.shape[-2:], dtype=torch.float64)
    weight[:, :, :, 1, 2] = 1

    loss = flow_matching_loss(velocity, x0, noise, weight=weight)

    error = (velocity - (noise - x0)).square()[..., 1, 2]
    torch.testing.assert_close(loss, error.sum() / x0.numel())


def test_half_precision_velocities_are_compared_in_float32():
    x0, noise = clips(2, torch.float32)

    assert flow_matching_loss((noise - x0).bfloat16(), x0, noise).dtype == torch.float32


def test_regression_skips_frames_that_were_given_clean():
    predicted, x0 = clips(2)
    sigma = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.0, 0.7]])
    kept = sigma != 0

    loss = ode_regression_loss(predicted, x0, sigma)

    torch.testing.assert_close(loss, (predicted - x0)[kept].square().mean())


def test_a_batch_of_nothing_but_clean_frames_gives_0_and_no_nan():
    predicted, x0 = clips(2)
    predicted.requires_grad_()

    loss = ode_regression_loss(predicted, x0, torch.zeros(SHAPE[:2]))
    loss.backward()

    assert loss == 0
    assert (predicted.grad == 0).all()


def gaussian_x0(x_t, sigma, mean, std):
    """The clean number expected from a noisy one, when clean ones are Gaussian."""
    alpha = 1 - sigma
    return mean + alpha * std**2 / (alpha**2 * std**2 + sigma**2) * (x_t - alpha * mean)


def test_distribution_matching_finds_the_mean_and_spread_of_a_gaussian():
    rng = torch.Generator().manual_seed(0)
    mean, std = torch.tensor(0.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    optimizer = torch.optim.Adam([mean, std], lr=0.05)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        x0 = mean + std * torch.randn(8, 1, 4, 16, 16, generator=rng)
        sigma = torch.rand(8, 1, generator=rng) * 0.8 + 0.1
        level = sigma[..., None, None, None]
        z = add_noise(x0.detach(), torch.randn(x0.shape, generator=rng), sigma)
        critic = gaussian_x0(z, level, mean.detach(), std.detach())
        gradient, _ = dmd_gradient(x0, critic, gaussian_x0(z, level, 2.0, 0.5))
        optimizer.zero_grad()
        dmd_loss(x0, gradient).backward()
        optimizer.step()
        decay.step()

    assert mean.item() == pytest.approx(2.0, rel=0.01)
    assert std.item() == pytest.approx(0.5, rel=0.01)
