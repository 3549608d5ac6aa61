"""Optical flow by block matching."""

import pytest
import torch
from torch.nn import functional as F

from causvid.errors import UserError
from causvid.evaluate.flow import flow_both_ways, visible, warp


def texture(height=32, width=32):
    raw = torch.rand(1, 1, height + 16, width + 16, generator=torch.Generator().manual_seed(0))
    return 10 * F.avg_pool2d(F.avg_pool2d(raw, 5, stride=1, padding=2), 5, stride=1, padding=2)[0, 0]


def shifted(across, down, size=32):
    """A window of a smooth texture, moved by a fraction of a pixel."""
    base = texture()
    flow = torch.tensor([across, down]).view(1, 2, 1, 1).expand(1, 2, *base.shape)
    return warp(base[None, None], flow)[0, :, 8 : 8 + size, 8 : 8 + size]


@pytest.mark.parametrize("across, down", [(2.0, 0.0), (0.0, -3.0), (-1.0, 2.0), (1.5, 0.0), (0.0, -0.25)])
def test_a_shift_is_found_to_a_fraction_of_a_pixel(across, down):
    there, back = flow_both_ways(shifted(0.0, 0.0), shifted(-across, -down), radius=4)

    inner = there[0, :, 6:-6, 6:-6]
    assert (inner - torch.tensor([across, down])[:, None, None]).abs().mean() < 0.2
    assert (back[0, :, 6:-6, 6:-6] + torch.tensor([across, down])[:, None, None]).abs().mean() < 0.2


def test_equal_pictures_do_not_move_at_all():
    picture = shifted(0.0, 0.0)

    there, back = flow_both_ways(picture, picture, radius=3)

    assert there.abs().max() == back.abs().max() == 0


def test_featureless_pictures_do_not_move():
    grey = torch.full((2, 16, 16), 0.4)

    assert flow_both_ways(grey, grey, radius=3)[0].abs().max() == 0


def test_pairs_do_not_influence_one_another():
    pairs = [(shifted(0.0, 0.0), shifted(float(i) / 2, 1.0)) for i in range(5)]
    first, second = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))

    together, _ = flow_both_ways(first, second, radius=2)
    alone = [flow_both_ways(a, b, radius=2)[0] for a, b in pairs]

    assert torch.equal(together, torch.cat(alone))


def test_warping_along_the_flow_gives_the_other_picture():
    first, second = shifted(0.0, 0.0), shifted(-2.0, 1.0)
    _, back = flow_both_ways(first, second, radius=4)

    made = warp(first[:, None], back)

    assert (made[..., 6:-6, 6:-6] - second[:, None, 6:-6, 6:-6]).abs().max() < 0.05


def test_what_a_moving_square_covers_is_not_visible_in_both():
    ground = texture()[None]
    first, second = ground.clone(), ground.clone()
    first[:, 16:32, 8:24] = shifted(0.3, 0.2)[:, :16, :16] + 0.5
    second[:, 16:32, 12:28] = shifted(0.3, 0.2)[:, :16, :16] + 0.5

    seen = visible(*flow_both_ways(first, second, radius=5))

    assert seen[0, 18:30, 10:22].float().mean() > 0.95
    assert seen[0, 18:30, 25:27].float().mean() < 0.5


def test_a_radius_of_nothing_is_refused():
    with pytest.raises(UserError, match="radius of a flow is 0"):
        flow_both_ways(torch.zeros(1, 8, 8), torch.zeros(1, 8, 8), radius=0)
