"""Verdicts on scores drawn so that the truth of each hypothesis is known."""

import numpy as np
import pytest

from causvid.evaluate.tables.results import Results
from causvid.evaluate.tables.verdicts import Comparison, Hypothesis, judged

RNG = np.random.default_rng(0)
DIFFICULTY = RNG.normal(0, 20, size=60)


def run(level, *, spread=2.0):
    """One training's records: the level, how hard each prompt is, and noise."""
    noise = RNG.normal(0, spread, size=60)
    return [
        {"id": f"{p:04d}-0", "prompt": p, "sample": 0, "FQ": level + DIFFICULTY[p] + noise[p]}
        for p in range(60)
    ]


RESULTS = Results(
    {
        "short": {
            "high": [run(63), run(63.5), run(62.5)],
            "low": [run(60), run(60.4), run(59.8)],
            "teacher": [run(63)],
            "noisy": [run(62, spread=40)],
            "exact": [run(63, spread=0.1)],
            "the same": [run(63.1, spread=0.1)],
        }
    }
)


def verdict(better, worse, **how):
    test = Comparison(better=better, worse=worse, metric="FQ", **how)
    (found,) = judged([Hypothesis(name="H", claim="", paper="", tests=(test,))], RESULTS)
    return found


def test_a_clear_difference_is_supported_and_its_opposite_refuted():
    assert verdict("high", "low")["verdict"] == "supported"
    assert verdict("low", "high")["verdict"] == "refuted"
    assert verdict("low", "high", lower=True)["verdict"] == "supported"


def test_what_noise_hides_is_unresolved():
    found = verdict("high", "noisy")

    assert found["verdict"] == "unresolved"
    assert found["tests"][0]["low"] < 0 < found["tests"][0]["high"]


def test_an_arm_that_is_not_there_has_no_verdict():
    found = verdict("high", "nobody")

    assert found["verdict"] == "not measured" and found["p_holm"] is None
    assert not found["tests"][0]["measured"]


def test_no_worse_by_a_margin_is_weaker_than_better():
    assert verdict("exact", "the same")["verdict"] == "refuted"
    assert verdict("exact", "the same", margin=1.0)["verdict"] == "supported"
    assert verdict("exact", "the same")["tests"][0]["matches"] is True
    assert verdict("high", "low")["tests"][0]["matches"] is False


def test_a_claim_of_two_parts_needs_both_and_a_part_that_does_not_decide_is_only_printed():
    good, bad = (Comparison(better=a, worse=b, metric="FQ") for a, b in (("high", "low"), ("high", "noisy")))
    aside = Comparison(better="low", worse="high", metric="FQ", decides=False)

    both, one = judged(
        [
            Hypothesis(name="both", claim="", paper="", tests=(good, bad)),
            Hypothesis(name="one", claim="", paper="", tests=(good, aside)),
        ],
        RESULTS,
    )

    assert both["verdict"] == "unresolved" and one["verdict"] == "supported"
    assert one["p_holm"] == pytest.approx(2 * one["tests"][0]["p"])


def test_the_only_seed_of_a_teacher_meets_every_seed_of_a_student():
    a, b = RESULTS.paired("short", "high", "teacher", "FQ")

    assert a.shape == b.shape == (3, 60, 1)
    assert (b[0] == b[1]).all() and not (a[0] == a[1]).all()


def test_only_clips_on_which_both_are_defined_are_compared():
    holes = [{**record, "FQ": None} if record["prompt"] < 10 else record for record in run(60)]
    results = Results({"short": {"a": [run(61), run(61)], "b": [holes]}})

    a, b = results.paired("short", "a", "b", "FQ")

    assert a.shape == b.shape == (2, 50, 1)


def test_a_mean_has_the_mean_of_every_seed():
    found = RESULTS.mean("short", "high", "FQ")

    assert len(found["seeds"]) == 3
    assert found["mean"] == pytest.approx(sum(found["seeds"]) / 3)
    assert found["low"] < found["mean"] < found["high"]
    assert RESULTS.mean("short", "high", "TQ") is None
