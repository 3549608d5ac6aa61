"""The arithmetic gives what was published."""

import math

import pytest
from evaluate.vbench.published import CAUSVID, COGVIDEOX, GEN3, ORDER, raw_of

from causvid.errors import UserError
from causvid.evaluate.vbench.dimensions import DIMENSIONS, check_dimensions, lane_of
from causvid.evaluate.vbench.scores import aspect, normalised, scores_of, total


def scores_in(**changes):
    """A complete row, changed."""
    return {**raw_of(CAUSVID[0]), **changes}


@pytest.mark.parametrize("row, published", [CAUSVID, COGVIDEOX, GEN3], ids=["causvid", "cogvideox", "gen3"])
def test_published_rows_lead_to_their_published_sums(row, published):
    found = scores_of(raw_of(row))

    # Raw scores were rounded to .01 before we got them.
    assert [100 * x for x in (found.quality, found.semantic, found.total)] == pytest.approx(
        published, abs=0.011
    )


def test_the_published_total_is_four_parts_quality_and_one_semantic():
    assert total(85.65, 78.75) == pytest.approx(84.27)


def test_a_raw_unit_of_smoothness_counts_most():
    def gain(name):
        more, less = scores_of(scores_in(**{name: 0.9})).total, scores_of(scores_in(**{name: 0.8})).total
        return (more - less) / 0.1

    assert gain("motion_smoothness") == pytest.approx(0.42, abs=0.005)
    assert gain("temporal_flickering") == pytest.approx(0.33, abs=0.005)
    assert gain("dynamic_degree") == pytest.approx(0.062, abs=0.0005)


def test_a_still_picture_has_a_quality_of_81():
    still = dict.fromkeys(("subject_consistency", "background_consistency", "temporal_flickering"), 1.0)
    still |= {"motion_smoothness": 1.0, "dynamic_degree": 0.0}

    found = scores_of(scores_in(**still, aesthetic_quality=0.60, imaging_quality=0.68))

    assert 100 * found.quality == pytest.approx(81.4, abs=0.05)


def test_a_frozen_frame_wins_most_of_the_competitions_temporal_quality():
    frozen = {"subject_consistency": 1.0, "background_consistency": 1.0, "motion_smoothness": 1.0}

    assert aspect("temporal_quality", frozen | {"dynamic_degree": 0.0}) == pytest.approx(3 / 3.5)


def test_the_papers_temporal_quality_needs_that_much_motion():
    steady = {"subject_consistency": 0.975, "background_consistency": 0.972, "motion_smoothness": 0.980}

    assert aspect("temporal_quality", steady | {"dynamic_degree": 0.77}) == pytest.approx(0.947, abs=1e-3)
    assert aspect("temporal_quality", steady | {"dynamic_degree": 0.58}) == pytest.approx(0.919, abs=1e-3)


def test_the_other_aspects_are_plain_means():
    assert aspect("frame_wise_quality", {"aesthetic_quality": 0.5653, "imaging_quality": 0.7459}) == (
        pytest.approx(0.6556)
    )
    assert aspect("text_alignment", {"overall_consistency": 0.24469, "clip_score": 0.31679}) == (
        pytest.approx(0.28074)
    )


def test_a_missing_dimension_is_no_zero():
    raw = scores_in()
    del raw["scene"]

    found = scores_of(raw)

    assert found.missing == ("scene",)
    assert found.semantic is None and found.total is None
    assert found.quality == pytest.approx(0.8565, abs=1e-4)


def test_an_aspect_with_a_missing_part_names_it():
    with pytest.raises(UserError, match=r"text_alignment needs .*; clip_score was not measured"):
        aspect("text_alignment", {"overall_consistency": 0.3})


def test_scaled_scores_are_not_clipped():
    assert normalised("motion_smoothness", 1.0) > 1
    assert normalised("subject_consistency", 0.1) < 0


@pytest.mark.parametrize("score", [97.5, math.nan, -1.5])
def test_what_is_no_raw_score_is_refused(score):
    with pytest.raises(UserError, match=r"color is .*at most 1"):
        scores_of({"color": score})


def test_the_table_is_that_of_the_sixteen():
    assert list(DIMENSIONS) == ORDER
    assert sum(row.weight for row in DIMENSIONS.values() if row.part == "quality") == 6.5
    assert sum(row.part == "semantic" for row in DIMENSIONS.values()) == 9


def test_unknown_dimensions_are_named_with_those_there_are():
    assert check_dimensions(["scene", "color"]) == ("color", "scene")
    with pytest.raises(UserError, match=r"no dimension 'colour'; accepted: subject_consistency"):
        check_dimensions(["colour"])


def test_five_seconds_are_long():
    assert (lane_of(4.99), lane_of(5)) == ("VBench", "VBench-Long")
