"""What is asked, and the arms that answer."""

from dataclasses import replace

import pytest
import torch
from evaluate.judged import TINY_SUITE, worlds_student
from random_model import random_teacher

from causvid.data import worlds
from causvid.errors import UserError
from causvid.evaluate.arms import anchors, asked_of, model_arm
from causvid.evaluate.protocol import (
    SUITES,
    Suite,
    find_suite,
    fingerprint,
    frames_of,
    items_of,
    other_seed,
)
from causvid.generate.pipeline import Pipeline

ITEMS = items_of(TINY_SUITE)
FRAMES = frames_of(TINY_SUITE)


def clips_of(name, items=ITEMS):
    student = worlds_student()
    made = {arm.name: arm for arm in anchors(student.bundle.vae, frames=FRAMES, size=(32, 32))}
    return torch.stack(made[name].make(asked_of(made[name], items)))


def test_every_prompt_describes_a_held_out_combination():
    for item in items_of(SUITES["quick"]):
        assert worlds.is_held_out(item.scene.at(0)) and worlds.is_held_out(item.scene.at(10**6))


def test_an_item_follows_from_its_numbers_alone():
    more = items_of(replace(TINY_SUITE, samples=2, batch=7))
    ours = {item.identity: item for item in more}

    for item in ITEMS:
        assert ours[item.identity] == item


def test_prompts_samples_and_suites_have_noise_of_their_own():
    several = items_of(replace(TINY_SUITE, samples=3)) + items_of(replace(TINY_SUITE, name="other"))

    assert len({item.seed for item in several}) == len(several)


def test_what_is_asked_has_a_fingerprint():
    assert fingerprint(ITEMS) == fingerprint(items_of(TINY_SUITE))
    assert fingerprint(ITEMS) != fingerprint(ITEMS[1:])


def test_a_changing_prompt_is_expected_to_show_the_new_and_keep_the_rest():
    item = next(item for item in items_of(SUITES["quick"]) if item.switch is not None)
    at, changed = item.scene.change

    assert at == 60 and item.second_text
    before, after = item.expected(0), item.expected(at)
    assert set(before) == item.mentioned
    for name, value in changed.items():
        assert after[name] == value
    assert all(after[name] == value for name, value in before.items() if name not in changed)


def test_another_seed_shows_the_same_words_and_other_numbers():
    for item in ITEMS:
        other = other_seed(item)

        assert other.at(0) == item.scene.at(0) and other.phase != item.scene.phase


@pytest.mark.parametrize("name", ["truth", "truth_vae", "truth_frozen", "truth_blurred", "truth_shuffled"])
def test_an_anchor_is_as_long_and_as_large_as_the_truth(name):
    assert clips_of(name).shape == (len(ITEMS), FRAMES, 32, 32, 3)


def test_anchors_do_what_they_are_called():
    truth, frozen, shuffled = (clips_of(name) for name in ("truth", "truth_frozen", "truth_shuffled"))

    assert (frozen == truth[:, :1]).all()
    assert not torch.equal(shuffled, truth)
    assert torch.equal(shuffled.long().sum(dim=1), truth.long().sum(dim=1))
    steady = [i for i, item in enumerate(ITEMS) if item.switch is None]
    assert torch.equal(clips_of("other_prompt")[steady], truth[steady[1:] + steady[:1]])


def test_a_models_clip_does_not_depend_on_its_neighbours():
    arm = model_arm("model", worlds_student(), frames=FRAMES)

    items = [ITEMS[0], ITEMS[-1], ITEMS[1]]
    together = arm.make(items)
    alone = [arm.make([item])[0] for item in items[:2]]

    assert all(len(clip) == FRAMES for clip in together)
    for a, b in zip(together[:2], alone, strict=True):
        assert (a.int() - b.int()).abs().max() <= 1
    assert len({clip.sum().item() for clip in together}) == len(together)


def test_a_bidirectional_model_is_told_how_long_its_clips_may_be():
    teacher = Pipeline(random_teacher())

    with pytest.raises(UserError, match="makes clips of 24 frames, not 240; evaluate it with --seconds 3"):
        model_arm("model", teacher, frames=240)


def test_a_suite_nobody_knows_is_refused():
    with pytest.raises(UserError, match="suite is 'huge'; accepted: quick, full"):
        find_suite("huge")
    with pytest.raises(UserError, match="needs at least 2 prompts"):
        Suite(name="x", prompts=1, switches=0, samples=1, seconds=2.0, batch=1, flow_every=1)
