"""The paper's scores in shape, where the right answer is known."""

import pytest
import torch
from evaluate.judged import reading_of

from causvid.evaluate.protocol import SUITES, items_of
from causvid.evaluate.tables.composite import (
    around_object,
    realism,
    steadiness,
    with_scores,
    without_object,
)
from causvid.evaluate.verifiers import Reading


def record(**changes):
    whole = {"subject": 1.0, "background": 1.0, "smoothness": 1.0, "motion_score": 0.0, "quality": 0.8}
    return {**whole, "text": 0.75, "embedding": [0.0, 0.0], **changes}


def test_a_frozen_clip_gets_three_parts_of_three_and_a_half_and_a_perfect_one_all():
    frozen, perfect = with_scores([record(), record(motion_score=1.0)], [record()])

    assert frozen["TQ"] == pytest.approx(100 * 3 / 3.5) and perfect["TQ"] == pytest.approx(100)
    assert frozen["TA"] == 75


def test_frame_quality_is_the_mean_of_quality_and_realism():
    (found,) = with_scores([record()], [record(embedding=[3.0, 4.0])])

    assert found["FQ"] == pytest.approx(100 * (0.8 + found["realism"]) / 2)


def test_a_score_that_is_not_defined_is_none():
    (found,) = with_scores([record(motion_score=None, text=None)], [record()])

    assert found["TQ"] is None and found["TA"] is None and found["FQ"] is not None


def test_the_truth_is_as_real_as_the_truth_and_what_is_far_away_is_not():
    cloud = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    truth = [{"embedding": row.tolist()} for row in cloud]
    far = [{"embedding": (row + 20).tolist()} for row in cloud[:5]]

    assert sum(realism(truth, truth)) / 200 == pytest.approx(0.5, abs=0.02)
    assert realism(far, truth) == [0.0] * 5


def test_steady_features_are_one_and_opposite_ones_nothing():
    one = torch.tensor([[1.0, 0.0]])

    assert steadiness(one.repeat(4, 1)) == pytest.approx(1)
    assert steadiness(torch.cat([one, -one, one, -one])) == pytest.approx((0 + 0.5 + 0) / 3)
    assert steadiness(one) == 1


def watched(x, y, radius, *, frames=24):
    read = reading_of(items_of(SUITES["quick"])[0], frames=frames)
    path = torch.tensor([[x, y, radius]]).repeat(frames, 1)
    return Reading(read.frame, read.clip, path, read.quality, read.embeddings)


def test_the_object_is_cut_out_around_its_centre_and_painted_over():
    clip = torch.zeros(24, 3, 32, 64)
    clip[:, :, 6:10, 38:42] = 1  # centred 0.25 down and 1.25 across, in heights
    reading = watched(1.25, 0.25, 0.1)

    near, rest = around_object(clip, reading), without_object(clip, reading)

    assert near[:, :, 12:20, 24:40].mean() > 0.9 and near[:, :, :4].max() == 0
    assert near.mean() > 4 * clip.mean()
    assert rest.max() == 0
