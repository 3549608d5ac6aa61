"""Distances and diversity, on Gaussians whose answers are known."""

import pytest
import torch

from causvid.errors import UserError
from causvid.evaluate.distribution import (
    Projection,
    coverage,
    frechet_distance,
    frechet_distance_at_infinity,
    mean_pairwise_distance,
    median_squared_distance,
    squared_mmd,
    vendi,
)


def gaussian(n, d, *, seed, scale=1.0, shift=0.0):
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def test_a_set_has_no_distance_from_itself():
    x = gaussian(64, 8, seed=0)

    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_a_shift_and_a_shrinking_add_up():
    """For Gaussians of standard deviations s and 1: d (shift^2 + (1 - s)^2)."""
    x = gaussian(20_000, 4, seed=0)

    assert frechet_distance(0.7 * x + 0.5, x) == pytest.approx(4 * (0.25 + 0.09), rel=0.02)


def test_the_distance_does_not_care_which_set_is_which_or_how_space_is_turned():
    a, b = gaussian(100, 6, seed=0), gaussian(100, 6, seed=1, scale=0.5)
    turn, _ = torch.linalg.qr(gaussian(6, 6, seed=2))

    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-4)


def test_few_samples_inflate_the_distance_and_extrapolation_takes_most_of_it_away():
    a, b = gaussian(512, 16, seed=0), gaussian(512, 16, seed=1)

    plain = frechet_distance(a, b)
    far = frechet_distance_at_infinity(
        a, b, rng=torch.Generator().manual_seed(0), sizes=(128, 256, 512), draws=8
    )

    assert plain > 0.2 and abs(far) < 0.5 * plain


def test_extrapolation_needs_enough_samples():
    a = gaussian(100, 4, seed=0)

    with pytest.raises(UserError, match="needs 2048 samples and two sizes; there are 100"):
        frechet_distance_at_infinity(a, a, rng=torch.Generator())


def test_the_discrepancy_of_equal_distributions_is_about_zero_and_grows_with_a_shift():
    a, b = gaussian(512, 16, seed=0), gaussian(512, 16, seed=1)

    assert abs(squared_mmd(a, b)) < 0.02
    assert squared_mmd(a + 0.5, b) > 10 * abs(squared_mmd(a, b))


def test_a_shrunken_gaussian_loses_recall_and_keeps_precision():
    real = gaussian(512, 16, seed=0)

    same, narrow = (coverage(gaussian(512, 16, seed=1, scale=s), real) for s in (1.0, 0.7))

    assert same.recall > 0.8 and narrow.recall < 0.4
    assert same.precision > 0.8 and narrow.precision > 0.99
    assert narrow.density > same.density
    assert same.coverage > 0.9 and narrow.coverage > 0.9, "coverage is known to be blind"


def test_a_fixed_bandwidth_sees_a_shrunken_gaussian_and_ones_own_does_not():
    h = median_squared_distance(gaussian(512, 8, seed=9))

    def mean_vendi(scale, bandwidth):
        sets = [gaussian(16, 8, seed=s, scale=scale) for s in range(20)]
        return sum(vendi(x, bandwidth=bandwidth(x)) for x in sets) / len(sets)

    assert mean_vendi(0.7, lambda x: h) < 0.75 * mean_vendi(1.0, lambda x: h)
    own = [mean_vendi(scale, median_squared_distance) for scale in (1.0, 0.7)]
    assert own[0] == pytest.approx(own[1], rel=1e-3)


def test_copies_count_as_one_sample_and_strangers_as_many():
    strangers = 100 * torch.eye(8)

    assert vendi(strangers[:1].repeat(8, 1), bandwidth=1.0) == pytest.approx(1)
    assert vendi(strangers, bandwidth=1.0) == pytest.approx(8)
    assert mean_pairwise_distance(strangers) == pytest.approx(100 * 2**0.5)


def test_a_projection_keeps_the_directions_in_which_the_truth_varies():
    real = gaussian(200, 6, seed=0) * torch.tensor([5.0, 0.1, 3.0, 0.1, 0.1, 0.1])

    kept = Projection.of(real, dimensions=2)(real)

    assert kept.shape == (200, 2)
    assert kept.var(dim=0).sum() > 0.99 * real.double().var(dim=0).sum()


def test_too_few_samples_are_refused():
    with pytest.raises(UserError, match="there are 4 samples; this comparison needs more than 5"):
        coverage(gaussian(4, 2, seed=0), gaussian(9, 2, seed=0))
