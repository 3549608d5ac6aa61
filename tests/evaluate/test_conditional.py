"""What a prompt leaves open, drawn rightly and narrowly."""

import numpy as np
import pytest
import torch

from causvid.data import worlds
from causvid.evaluate.conditional import by_factor, compared, continuous, law, uniform_test
from causvid.evaluate.protocol import SUITES, items_of
from causvid.evaluate.variety import variety

ITEMS = items_of(SUITES["diversity"])


def true_records(narrow=False):
    """What a perfect judge reads of the truth; or of its first sample alone."""
    first = {item.prompt: item for item in reversed(ITEMS)}
    shown = [first[item.prompt] if narrow else item for item in ITEMS]
    return [
        {"id": item.identity, "prompt": item.prompt, "read": other.scene.at(0)}
        for item, other in zip(ITEMS, shown, strict=True)
    ]


def test_what_is_told_stays_and_the_rest_is_drawn_anew_but_never_both_held_out():
    for prompt in range(8):
        scenes = [item.scene.at(0) for item in ITEMS if item.prompt == prompt]
        told = next(item.mentioned for item in ITEMS if item.prompt == prompt)

        assert len(told) == 3 and "kind" in told
        assert all(len({labels[name] for labels in scenes}) == 1 for name in told)
        assert len({tuple(labels.items()) for labels in scenes}) > 4
        if {"colour", "ground"} - told:
            assert not any(map(worlds.is_held_out, scenes))


def test_the_law_leaves_held_out_combinations_out():
    told = {"kind": "ball", "colour": "red"}
    missing = [
        g for g in worlds.FACTORS["ground"] if worlds.is_held_out({**told, "ground": g, "kind": "ball"})
    ]

    chances = law("ground", told)

    assert len(missing) == 1 and chances[worlds.FACTORS["ground"].index(missing[0])] == 0
    assert sorted(chances)[1:] == pytest.approx([1 / 3] * 3)
    assert law("sky", told) == pytest.approx([0.25] * 4)


def test_the_truth_obeys_the_law_and_a_narrow_model_does_not():
    asked = {item.identity: item for item in ITEMS}

    truth, narrow = (by_factor(true_records(narrow), asked) for narrow in (False, True))

    assert set(truth) == {"colour", "motion", "sky", "ground", "weather"}
    for name, row in truth.items():
        assert row["entropy_ratio"] == pytest.approx(1, abs=0.15) and row["p"] > 0.005
        assert narrow[name]["entropy_ratio"] == 0 and narrow[name]["p"] < 0.001
        assert narrow[name]["missing"] > 0.4 and narrow[name]["kl"] > 0.5


def test_a_fair_die_has_no_excess():
    rng = np.random.default_rng(1)
    fair = [np.full(4, 0.25)] * 40
    counts = [rng.multinomial(16, chances).tolist() for chances in fair]

    found = compared(counts, fair)

    assert found["entropy_ratio"] == pytest.approx(1, abs=0.03)
    assert abs(found["kl"]) < 0.03 and abs(found["missing"]) < 0.02 and found["p"] > 0.01


def test_even_numbers_pass_and_narrow_ones_fail():
    even = uniform_test(((np.arange(100) + 0.5) / 100).tolist(), low=0.0, high=1.0)
    narrow = uniform_test((0.5 + 0.1 * (np.arange(100) / 100 - 0.5)).tolist(), low=0.0, high=1.0)

    assert even["ks"] == pytest.approx(0.005) and even["p"] > 0.99 and even["w1"] < 1e-9
    assert narrow["p"] < 1e-6 and narrow["w1"] == pytest.approx(0.225, abs=0.01)


def test_only_what_moves_as_told_has_a_phase():
    moving = {"family": "sweep", "family_right": 1.0, "phase": 0.2, "period": 30.0, "radius": 0.25}
    records = [moving, {**moving, "family_right": 0.0}, {**moving, "family": "still"}, {"family": "sweep"}]

    assert continuous(records)["phase"]["clips"] == 1


def test_a_narrow_model_has_less_variety_than_its_teacher():
    def records(scale, seed):
        rng = torch.Generator().manual_seed(seed)
        return [
            {"prompt": i // 16, "embedding": (scale * torch.randn(8, generator=rng)).tolist()}
            for i in range(128)
        ]

    arms = {"model": records(0.5, 0), "teacher": records(1.0, 1), "truth": records(1.0, 2)}

    found = variety(arms, truth="truth", teacher="teacher")

    assert found["model"]["vendi_of_teacher"] < 0.75 and found["truth"]["recall_of_truth"] is None
    assert found["model"]["recall_of_teacher"] < 0.5 < found["truth"]["recall_of_teacher"]
    assert variety({"truth": arms["truth"][:1]}, truth="truth", teacher=None) == {}
