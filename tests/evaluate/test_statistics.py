"""Intervals, differences and hypotheses."""

import numpy as np
import pytest

from causvid.errors import UserError
from causvid.evaluate.statistics import bootstrap, difference, estimate, holm, is_equivalent, table_of

FAST = {"draws": 1000}


def scores(*, runs=1, prompts=48, samples=2, seed=0, prompt_spread=0.12, noise=0.05, mean=0.7):
    rng = np.random.default_rng(seed)
    hard = prompt_spread * rng.standard_normal((1, prompts, 1))
    return mean + hard + noise * rng.standard_normal((runs, prompts, samples))


def test_the_same_seed_gives_the_same_interval():
    table = scores()

    assert estimate(table, seed=3, **FAST) == estimate(table, seed=3, **FAST)
    assert estimate(table, seed=3, **FAST) != estimate(table, seed=4, **FAST)


def test_an_interval_is_as_wide_as_theory_says():
    table = scores(prompts=200, samples=1)

    found = estimate(table, **FAST)

    assert found.low < found.mean < found.high
    expected = 2 * 1.96 * table.std() / 200**0.5
    assert found.high - found.low == pytest.approx(expected, rel=0.15)


def test_more_samples_of_few_prompts_do_not_make_up_for_prompts():
    few = estimate(scores(prompts=8, samples=64, noise=0.05), **FAST)
    many = estimate(scores(prompts=256, samples=2, noise=0.05), **FAST)

    assert many.high - many.low < 0.4 * (few.high - few.low)


def test_what_training_runs_differ_in_counts():
    table = scores(runs=3, prompts=100, samples=2, prompt_spread=0.01, noise=0.01)
    apart = table + np.array([-0.1, 0.0, 0.1])[:, None, None]

    assert bootstrap(apart, seed=0, draws=500).std() > 5 * bootstrap(table, seed=0, draws=500).std()


def test_pairing_takes_the_difficulty_of_prompts_out():
    a = scores(prompt_spread=0.3, noise=0.01)
    b = a - 0.02 + 0.01 * np.random.default_rng(1).standard_normal(a.shape)

    found = difference(a, b, **FAST)

    assert found.estimate.excludes(0) and found.estimate.mean == pytest.approx(0.02, abs=0.005)
    assert found.better > 0.99 and found.p < 0.01
    assert not estimate(a, **FAST).excludes(b.mean()), "unpaired, the two cannot be told apart"


def test_no_difference_is_not_significant_and_not_equivalent_either_until_it_is_small_enough():
    a = scores(noise=0.05)
    b = scores(noise=0.05, prompt_spread=0) - 0.7 + a

    found = difference(a, b, **FAST)

    assert not found.estimate.excludes(0) and found.p > 0.05
    assert not is_equivalent(a, b, margin=0.005, **FAST)
    assert is_equivalent(a, b, margin=0.05, **FAST)


def test_holm_corrects_for_how_many_hypotheses_there_are():
    corrected = holm({"H1": 0.01, "H2": 0.04, "H3": 0.03})

    assert corrected == pytest.approx({"H1": 0.03, "H2": 0.06, "H3": 0.06})
    assert holm({"H1": 0.9, "H2": 0.8}) == pytest.approx({"H1": 1.0, "H2": 1.0})


def test_a_missing_score_is_an_error_and_not_left_out():
    table = table_of({(0, 0): 1.0, (1, 0): 0.5}, prompts=3, samples=1)

    with pytest.raises(UserError, match="1 of 3 scores are missing"):
        estimate(table)


def test_tables_that_cannot_be_paired_are_refused():
    with pytest.raises(UserError, match=r"\(1, 48, 2\) and \(1, 48, 1\) cannot be paired"):
        difference(scores(), scores(samples=1))


def test_a_margin_of_nothing_is_refused():
    with pytest.raises(UserError, match="margin of an equivalence is 0"):
        is_equivalent(scores(), scores(), margin=0)
