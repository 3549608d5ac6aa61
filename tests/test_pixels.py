"""Rounding between [-1, 1] and 0 to 255."""

import torch

from causvid.pixels import from_uint8, to_uint8


def test_every_byte_survives_the_way_to_the_model_and_back():
    frames = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 1, 16, 16, 3)

    assert torch.equal(to_uint8(from_uint8(frames)), frames)


def test_the_ends_of_the_range_are_black_and_white():
    video = torch.tensor([-5.0, -1.0, 0.0, 1.0, 7.0]).view(1, 5, 1, 1, 1).expand(1, 5, 3, 2, 2)

    assert to_uint8(video)[0, :, 0, 0, 0].tolist() == [0, 0, 128, 255, 255]


def test_a_video_is_not_changed_by_looking_at_it():
    video = torch.zeros(1, 1, 3, 2, 2)
    to_uint8(video)
    assert video.abs().max() == 0
