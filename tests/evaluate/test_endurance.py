"""What is lost by the end."""

import pytest

from causvid.evaluate.endurance import CURVES, endurance, last_over_first
from causvid.evaluate.shares import with_text


def records(*, slope=0.0, start=True, end=True):
    """Four clips whose sky is shown at the start or not, and at the end."""
    found = []
    for i in range(4):
        parts = {
            "factors": {"sky": start},
            "start": {"sky": start},
            "end": {"sky": end},
            "kind_by_frame": None,
        }
        slopes = {f"{name}_drift": slope + 0.1 * i for name in CURVES}
        found.append({"id": str(i), "prompt": i, **parts, **slopes})
    return with_text(found, [])


def test_a_slope_is_set_against_the_truths_prompt_by_prompt():
    found = endurance({"truth": records(), "model": records(slope=-0.3)}, truth="truth")

    quality = found["model"]["slopes"]["quality"]
    assert quality["mean"] == pytest.approx(-0.15)
    assert quality["less_truth"] == pytest.approx(-0.3)
    assert quality["less_truth_low"] == pytest.approx(quality["less_truth_high"]), (
        "prompts' own slopes cancel"
    )
    assert found["truth"]["slopes"]["quality"]["less_truth"] == 0


def test_what_is_forgotten_by_the_end_lowers_the_ratio():
    half = records()[:2] + records(end=False)[2:]

    assert last_over_first(records())["mean"] == 1
    assert last_over_first(half)["mean"] == 0.5
    assert last_over_first(records(start=False)) is None
    found = endurance({"truth": half}, truth="truth")["truth"]
    assert found["factors_last_over_first"] == {"sky": 0.5}
