"""What frames look like, and how that changes."""

import math

import pytest
import torch
from evaluate.rendered import dynamic_clips

from causvid.errors import UserError
from causvid.evaluate.clips import as_clip, as_frames, box_blur
from causvid.evaluate.looks import (
    Failure,
    contrast,
    drift,
    endpoint_drop,
    kaplan_meier,
    saturation,
    sharpness,
    time_to_failure,
    windows,
)


def test_pictures_become_clips_and_the_same_pictures_again():
    frames = torch.arange(2 * 16 * 8 * 3, dtype=torch.int64).remainder(256).to(torch.uint8).view(2, 16, 8, 3)

    assert torch.equal(as_frames(as_clip(frames)), frames)


def test_grey_has_no_saturation_and_pure_colours_have_it_all():
    grey, red = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1

    assert float(saturation(grey)) == 0 and float(saturation(red)) == pytest.approx(1, abs=2e-3)


def test_half_black_and_half_white_has_the_contrast_of_a_half():
    split = torch.zeros(1, 3, 4, 4)
    split[..., :2] = 1

    assert float(contrast(split)) == pytest.approx(0.5, abs=1e-6)


def test_blur_takes_sharpness_away_frame_by_frame():
    clip = dynamic_clips(1, frames=12)[0]

    assert (sharpness(box_blur(clip, 3)) < 0.8 * sharpness(clip)).all()
    assert sharpness(torch.full((2, 3, 8, 8), 0.3)).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_windows_are_means_and_a_rest_is_dropped():
    assert windows(torch.arange(11.0), 4).tolist() == [1.5, 5.5]
    assert windows(torch.arange(16.0).view(8, 2), 4).tolist() == [[3, 4], [11, 12]]
    with pytest.raises(UserError, match="a clip of 3 frames has no window of 4"):
        windows(torch.arange(3.0), 4)


def test_drift_is_the_slope_in_percent_of_the_mean_a_second():
    rising = 2 + 0.1 * torch.arange(11)

    assert drift(rising, seconds=1) == pytest.approx(100 * 0.1 / 2.5)
    assert drift(rising, seconds=0.5) == pytest.approx(2 * 100 * 0.1 / 2.5)
    assert drift(torch.ones(5), seconds=1) == 0
    assert math.isnan(drift(torch.ones(1), seconds=1)) and math.isnan(drift(torch.zeros(5), seconds=1))


def test_the_endpoint_drop_is_what_was_lost():
    assert endpoint_drop(torch.tensor([1.0, 1.0, 0.5, 0.2, 0.4]), size=2) == pytest.approx(0.7)


def test_a_failure_is_three_bad_windows_in_a_row():
    curve = torch.tensor([1, 0, 0, 1, 0, 0, 0, 1.0])

    assert time_to_failure(curve, threshold=0.5, seconds=2) == Failure(8, True)
    assert time_to_failure(curve[:6], threshold=0.5, seconds=2) == Failure(12, False)


def test_a_clip_that_was_watched_less_long_counts_as_long_as_it_was_watched():
    survival = kaplan_meier([Failure(1, True), Failure(2, False), Failure(3, True), Failure(4, False)])

    assert survival.seconds == (1, 3)
    assert survival.alive == pytest.approx((0.75, 0.375))
    assert survival.at(0.5) == 1 and survival.at(3.5) == pytest.approx(0.375) and survival.median == 3


def test_without_failures_all_survive():
    survival = kaplan_meier([Failure(5, False)] * 3)

    assert survival.at(100) == 1 and survival.median is None
