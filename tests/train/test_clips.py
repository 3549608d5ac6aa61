"""Windows of clips know where their object is."""

import torch

from causvid.data import worlds
from causvid.train.clips import near_object


def test_the_places_near_the_object_are_those_its_pictures_show():
    scenes = [worlds.scene(seed, split="train", frames=48) for seed in range(8)]
    offsets = [0, 1, 2, 3, 0, 1, 2, 3]

    near = near_object(scenes, offsets, torch.zeros(8, 6, 16, 8, 8))

    _, mask = worlds.render(
        scenes,
        24,
        start=[4 * o for o in offsets],
        size=(64, 64),
        weather_weight=0.0,
        device=torch.device("cpu"),
    )
    shown = mask.view(8, 6, 4, 8, 8, 8, 8).amax(dim=(2, 4, 6))[:, :, None] > 0.5
    assert (near & shown).sum() >= 0.98 * shown.sum()
    assert near.sum() <= 2 * shown.sum()
