"""Measurements of time that the table of faults does not cover."""

import math

import pytest
import torch
from evaluate.rendered import FAULTS, dynamic_clips, scenes

from causvid.data import worlds
from causvid.errors import UserError
from causvid.evaluate.temporal import (
    bends,
    changes,
    dynamic,
    flicker,
    motion_ratio,
    seam_power,
    seam_ratio,
    second_difference_power,
    smoothness,
)


def track_of(scene, frames=60):
    path = worlds.trajectory(scene, frames)
    return torch.stack([torch.from_numpy(path.x[0]), torch.from_numpy(path.y[0])], dim=1).float()


def test_a_steady_ramp_has_no_second_difference_and_noise_has_six_fourths_of_its_variance():
    everywhere = torch.ones(40, 16, 16, dtype=torch.bool)
    ramp = torch.linspace(0, 1, 40)[:, None, None, None].expand(40, 3, 16, 16)
    noise = 0.01 * torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    assert second_difference_power(ramp, everywhere) < 1e-12
    assert second_difference_power(ramp + noise, everywhere) == pytest.approx(1.5e-4, rel=0.1)


def test_excess_flicker_looks_at_static_pixels_only():
    clip = torch.zeros(6, 3, 8, 8)
    clip[:, :, :4] = torch.rand(6, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    static = torch.ones(6, 8, 8, dtype=torch.bool)
    static[:, :4] = False

    assert second_difference_power(clip, static) == 0
    assert math.isnan(second_difference_power(clip, torch.zeros_like(static)))


def test_following_the_flow_predicts_a_moving_object_better_than_a_cross_fade():
    found = smoothness(dynamic_clips(1)[0][:12], radius=4)

    assert found.warped > found.plain


def test_a_clip_too_short_to_measure_is_refused():
    with pytest.raises(UserError, match="flicker needs clips of at least 2 frames; this one has 1"):
        flicker(torch.zeros(1, 3, 8, 8))


def test_second_differences_find_a_seam_where_the_motion_only_changes_its_direction():
    there_and_back = torch.cat([torch.arange(16.0), torch.arange(16.0).flip(0) - 1, torch.arange(16.0)])
    uneven = there_and_back + 0.01 * torch.rand(48, generator=torch.Generator().manual_seed(0))
    clip = (uneven / 16)[:, None, None, None].expand(-1, 3, 4, 4)

    assert seam_ratio(changes(clip), 16) == pytest.approx(1, abs=0.1)
    assert seam_ratio(bends(clip), 16) > 10


def test_a_stride_that_shows_is_not_mistaken_for_chunks_that_show():
    curve = torch.rand(97, generator=torch.Generator().manual_seed(0)) + 5
    curve[::4] *= 2

    assert seam_ratio(curve, 12) > 1.5
    assert seam_ratio(curve, 12, among=4) == pytest.approx(1, abs=0.05)
    curve[::12] *= 2
    assert seam_ratio(curve, 12, among=4) == pytest.approx(2, abs=0.1)


def test_a_beat_stands_out_in_the_spectrum():
    jitter = torch.rand(96, generator=torch.Generator().manual_seed(0))
    beat = jitter + 3 * (torch.arange(96) % 12 == 0)

    assert seam_power(beat, 12) > 20 * seam_power(jitter, 12)
    assert math.isnan(seam_power(jitter[:12], 12))


@pytest.mark.parametrize("motion", worlds.FACTORS["motion"])
def test_the_right_motion_has_ratio_one_and_a_frozen_one_next_to_none(motion):
    truth = track_of(scenes(1, motion=(motion,))[0])
    frozen = truth[:1].expand(60, 2)

    assert motion_ratio(truth, truth, noise=0.05).score == 1
    still = motion_ratio(frozen, truth, noise=0.05)
    assert still.score == 1 if motion == "still" else still.score < 0.2


def test_twice_and_half_the_motion_are_equally_wrong():
    truth = track_of(scenes(1, motion=("sweep",))[0])

    more = motion_ratio(truth * 2, truth, noise=0)
    less = motion_ratio(truth, truth * 2, noise=0)

    assert more.ratio == pytest.approx(2, rel=1e-4)
    assert more.score == pytest.approx(less.score) == pytest.approx(0.5, rel=1e-4)


def test_a_moving_clip_is_dynamic_and_a_frozen_one_is_not():
    clip = dynamic_clips(1, frames=24)[0]

    assert dynamic(clip, fps=12, radius=4)
    assert not dynamic(FAULTS["frozen"](clip), fps=12, radius=4)
