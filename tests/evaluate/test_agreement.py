"""Student and teacher, from the same noise."""

import pytest
import torch
from evaluate.judged import TINY_SUITE, worlds_student

from causvid.data import worlds
from causvid.evaluate.agreement import energy, kappas, psnr
from causvid.evaluate.protocol import items_of

LABELS = {name: values[0] for name, values in worlds.FACTORS.items()}


def test_equal_clips_agree_and_a_known_error_has_its_decibels():
    frames = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)

    assert psnr(frames, frames) == 100
    assert psnr(frames, frames + 51) == pytest.approx(-20 * torch.tensor(0.2).log10().item(), abs=1e-3)


def test_words_that_are_always_the_same_agree_and_independent_ones_do_not():
    def clips(*skies):
        return [{"read": {**LABELS, "sky": sky}} for sky in skies]

    days = clips("day", "night", "day", "night")

    assert kappas(list(zip(days, days, strict=True)))["sky"] == 1
    assert kappas(list(zip(days, clips("day", "day", "night", "night"), strict=True)))["sky"] == 0
    assert kappas(list(zip(days, days, strict=True)))["kind"] is None


def test_energy_is_lowest_where_the_teacher_wants_to_stay():
    teacher, item = worlds_student(layout=None, sigmas=()), items_of(TINY_SUITE)[0]
    rng = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (24, 16, 32, 3), generator=rng, dtype=torch.uint8)
    grey = torch.full_like(noise, 128)

    assert energy(teacher, grey, item) == energy(teacher, grey, item), "the noise is the item's"
    assert energy(teacher, grey, item) != energy(teacher, noise, item)
