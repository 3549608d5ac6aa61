"""The table of faults: every instrument moves for what it is about and stays for the rest."""

import math

import pytest
from evaluate.rendered import FAULTS, FPS, dynamic_clips

from causvid.evaluate.looks import drift, saturation, sharpness, windows
from causvid.evaluate.temporal import changes, flicker, seam_ratio, smoothness, warp_error

RADIUS = 4


def measured(clip):
    per_second = {name: windows(f(clip), FPS) for name, f in (("sat", saturation), ("sharp", sharpness))}
    short = clip[:12]
    return {
        "flicker": flicker(clip),
        "smooth": smoothness(short, radius=RADIUS).warped,
        "warp": warp_error(short, radius=RADIUS),
        "seam": seam_ratio(changes(clip), 16),
        **{name: drift(curve, seconds=1) for name, curve in per_second.items()},
    }


@pytest.fixture(scope="module")
def table():
    """Means over clips, a row per fault."""
    rows = {}
    for name, fault in FAULTS.items():
        each = [measured(fault(clip)) for clip in dynamic_clips(2, frames=60)]
        rows[name] = {key: sum(one[key] for one in each) / len(each) for key in each[0]}
    return rows


def test_flicker_and_smoothness_fall_with_noise_and_unsteady_light(table):
    for metric in ("flicker", "smooth"):
        column = {name: row[metric] for name, row in table.items()}
        assert column["noise"] < column["gain"] < column["none"]


def test_warp_error_rises_with_noise_and_unsteady_light(table):
    assert table["noise"]["warp"] > table["gain"]["warp"] > table["none"]["warp"]


def test_a_frozen_clip_is_perfect_in_time_and_blur_improves_it(table):
    frozen, blur, none = table["frozen"], table["blur"], table["none"]

    assert (frozen["flicker"], frozen["smooth"], frozen["warp"]) == pytest.approx((1, 1, 0), abs=1e-6)
    assert blur["flicker"] > none["flicker"] and blur["warp"] < none["warp"]


def test_only_the_seam_ratio_sees_stalls_and_skips(table):
    assert table["duplicate"]["seam"] == 0
    assert table["skip"]["seam"] > 2
    assert math.isnan(table["frozen"]["seam"])
    for name in ("none", "blur", "noise", "gain", "saturation", "slow blur"):
        assert 0.8 < table[name]["seam"] < 1.2
    for name in ("duplicate", "skip"):
        assert abs(table[name]["flicker"] - table["none"]["flicker"]) < 0.003


def test_only_slopes_see_slow_changes(table):
    none = table["none"]

    assert table["saturation"]["sat"] > none["sat"] + 1
    assert table["slow blur"]["sharp"] < none["sharp"] - 3
    for name in ("blur", "noise", "gain", "duplicate", "skip"):
        assert abs(table[name]["sat"] - none["sat"]) < 0.8
        assert abs(table[name]["sharp"] - none["sharp"]) < 2.5
    for name in ("saturation", "slow blur"):
        assert abs(table[name]["flicker"] - none["flicker"]) < 0.005
