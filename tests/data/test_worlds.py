"""The captioned domain: what it promises to training and to evaluation."""

import random
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from causvid.data.worlds import (
    FACTORS,
    Scene,
    caption,
    is_held_out,
    render,
    render_numpy,
    scene,
    trajectories,
    trajectory,
    vocabulary,
)
from causvid.data.worlds.motion import TOP_SPEED
from causvid.data.worlds.words import CHANGES, COLOURS, KINDS, MOTIONS, PLACES, STOPS, TAGS, TURNS, UNNAMED
from causvid.errors import UserError


def one_of_each_kind() -> list[Scene]:
    return [replace(scene(seed), kind=kind) for seed, kind in enumerate(FACTORS["kind"])]


def test_a_seed_is_always_the_same_scene_and_the_same_pixels():
    assert scene(7, change_probability=1.0) == scene(7, change_probability=1.0)
    assert scene(7) != scene(8)
    torch.testing.assert_close(render([scene(7)], 4), render([scene(7)], 4), rtol=0, atol=0)


def test_torch_and_numpy_draw_the_same_picture():
    for shown in one_of_each_kind():
        ours = (render([shown], 6, start=3, size=(40, 64))[0][0] * 127.5 + 127.5).movedim(1, 3).numpy()
        theirs = render_numpy(shown, 6, start=3, size=(40, 64))

        assert theirs.dtype == np.uint8
        assert np.abs(ours - theirs).max() <= 1


def test_a_batch_is_its_clips_side_by_side():
    scenes = [scene(seed, change_probability=0.5) for seed in range(8)]
    starts = [5 * row - 10 for row in range(8)]

    pixels, mask = render(scenes, 4, start=starts, size=(32, 32))

    for row, shown in enumerate(scenes):
        alone = render([shown], 4, start=starts[row], size=(32, 32))
        torch.testing.assert_close((pixels[row], mask[row]), (alone[0][0], alone[1][0]), rtol=0, atol=1e-5)


def test_a_later_start_continues_the_same_clip():
    shown = [scene(3, change_probability=1.0)]

    torch.testing.assert_close(render(shown, 24)[0][:, 16:], render(shown, 8, start=16)[0], rtol=0, atol=1e-5)


def test_pixels_and_masks_stay_in_range():
    pixels, mask = render([scene(seed) for seed in range(24)], 3)

    assert pixels.shape == (24, 3, 3, 64, 64) and mask.shape == (24, 3, 1, 64, 64)
    assert pixels.dtype == mask.dtype == torch.float32
    assert pixels.min() >= -1 and pixels.max() <= 1
    assert mask.min() >= 0 and mask.max() <= 1


def test_training_never_shows_a_held_out_combination_and_shows_every_pair_of_values():
    seen = [scene(seed, change_probability=0.3) for seed in range(2000)]
    labels = [shown.at(frame) for shown in seen for frame in (0, 59)]

    assert not any(is_held_out(label) for label in labels)
    for one, other in combinations(FACTORS, 2):
        pairs = {(label[one], label[other]) for label in labels}
        assert len(pairs) == len(FACTORS[one]) * len(FACTORS[other])


def test_held_out_scenes_stay_held_out_when_they_change():
    for seed in range(100):
        shown = scene(seed, split="heldout", change_probability=1.0)
        assert is_held_out(shown.at(0)) and is_held_out(shown.at(59))


def test_an_eighth_of_the_combinations_is_held_out_evenly():
    held = [
        (colour, kind, ground)
        for colour in FACTORS["colour"]
        for kind in FACTORS["kind"]
        for ground in FACTORS["ground"]
        if is_held_out({"colour": colour, "kind": kind, "ground": ground})
    ]

    assert len(held) == 18
    for axis, factor in enumerate(("colour", "kind")):
        assert all(sum(entry[axis] == value for entry in held) == 3 for value in FACTORS[factor])


@pytest.mark.parametrize("motion", FACTORS["motion"])
def test_the_object_is_in_view_and_slow_at_every_frame(motion):
    scenes = [replace(scene(seed), motion=motion) for seed in range(200)]
    for aspect in (1.0, 1.75):
        path = trajectories(scenes, 120, start=-60, aspect=aspect)

        assert (path.x - path.radius > 0).all() and (path.x + path.radius < aspect).all()
        assert (path.y - path.radius > 0).all() and (path.y + path.radius < 1).all()
        assert max(np.abs(np.diff(path.x)).max(), np.abs(np.diff(path.y)).max()) <= TOP_SPEED * 1.01


def test_no_part_of_an_object_touches_the_border():
    scenes = [replace(scene(seed), kind=kind) for kind in FACTORS["kind"] for seed in range(12)]
    mask = render(scenes, 12, weather_weight=0.0)[1]
    inner = mask.clone()
    inner[..., 1:-1, 1:-1] = 0

    assert inner.max() < 0.5


@pytest.mark.parametrize("motion", FACTORS["motion"])
def test_every_motion_repeats_after_its_period(motion):
    shown = replace(scene(1), motion=motion, period=30.0)
    once, again = trajectory(shown, 30), trajectory(shown, 30, start=30)

    for name in ("x", "y", "radius"):
        np.testing.assert_allclose(getattr(once, name), getattr(again, name), atol=1e-9)


def test_weather_repeats_after_its_period():
    for weather in ("rain", "snow"):
        shown = replace(scene(1), motion="still", weather=weather, shower_period=60.0)
        torch.testing.assert_close(render([shown], 3)[0], render([shown], 3, start=60)[0], rtol=0, atol=1e-4)


def test_the_mask_finds_the_object_where_the_trajectory_says_it_is():
    scenes = [replace(scene(seed), kind="ball") for seed in range(8)]
    path = trajectories(scenes, 5)
    mask = render(scenes, 5, weather_weight=0.0)[1][:, :, 0].numpy()
    place = (np.arange(64) + 0.5) / 64
    area = mask.sum((2, 3))

    np.testing.assert_allclose((mask.sum(2) * place).sum(2) / area, path.x, atol=0.002)
    np.testing.assert_allclose((mask.sum(3) * place).sum(2) / area, path.y, atol=0.002)
    np.testing.assert_allclose(area / 64**2, np.pi * path.radius**2, rtol=0.02)


def test_a_change_switches_labels_at_its_frame_and_never_kind_or_motion():
    for seed in range(100):
        shown = scene(seed, change_probability=1.0, frames=60)
        switch, changed = shown.change
        before, after = shown.at(switch - 1), shown.at(switch)

        assert switch % 12 == 0 and 0 < switch < 60
        assert {name for name in FACTORS if before[name] != after[name]} == set(changed)
        assert set(changed) <= {"colour", "sky", "ground", "weather"} and len(changed) in (1, 2)


def test_a_change_is_drawn_within_four_frames_of_its_switch():
    plain = replace(scene(2), sky="day", weather="clear")
    turning = replace(plain, change=(12, {"sky": "night", "weather": "snow"}))
    after = replace(plain, sky="night", weather="snow")
    drawn = render([turning], 24)[0]

    torch.testing.assert_close(drawn[:, :12], render([plain], 12)[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(drawn[:, 15:], render([after], 9, start=15)[0], rtol=0, atol=1e-5)


def test_a_switch_can_be_chosen_but_only_at_a_chunk():
    assert scene(0, change_probability=1.0, switch=24).change[0] == 24
    with pytest.raises(UserError, match="multiple of 12"):
        scene(0, change_probability=1.0, switch=20)
    with pytest.raises(UserError, match="no room"):
        scene(0, change_probability=1.0, frames=12)


def test_sizes_the_vae_could_not_take_are_refused():
    for size in ((60, 64), (64, 60), (64, 32), (0, 0)):
        with pytest.raises(UserError, match="multiples of 8"):
            render([scene(0)], 1, size=size)


def says(text: str, phrases) -> bool:
    return any(f" {phrase} " in f" {text.replace(',', '')} " for phrase in phrases)


def phrases_of(factor: str, value: str) -> list[str]:
    """Every phrase that tells this value and no other."""
    things = [name for kind in KINDS.values() for name in kind] + list(UNNAMED)
    if factor == "kind":
        return list(KINDS[value])
    if factor == "colour":
        turned = [f"{thing} {turn}" for thing in things for turn in TURNS]
        return [f"{word} {thing}" for word in COLOURS[value] for thing in things] + [
            f"{thing} {word}" for word in COLOURS[value] for thing in turned
        ]
    if factor == "motion":
        return [phrase for pair in MOTIONS[value] for phrase in pair]
    ends = (
        [stop for stops in STOPS.values() for stop in stops]
        if (factor, value) == ("weather", "clear")
        else []
    )
    return [*PLACES[factor][value], *TAGS[factor][value], *CHANGES[factor][value], *ends]


def test_a_caption_tells_what_it_mentions_and_nothing_false():
    rng = random.Random(0)
    for seed in range(1500):
        shown = scene(seed, change_probability=0.5)
        part = seed % 2
        labels = shown.at(59 if part else 0)
        told = caption(shown, rng, part=part)

        for factor in told.mentioned:
            assert says(told.text, phrases_of(factor, labels[factor])), told
        for factor in ("kind", "colour", "motion"):
            assert factor in told.mentioned or not says(told.text, phrases_of(factor, labels[factor])), told
            for other in set(FACTORS[factor]) - {labels[factor]}:
                assert not says(told.text, phrases_of(factor, other)), told
        for factor in ("sky", "ground", "weather"):
            for other in set(FACTORS[factor]) - {labels[factor]}:
                assert not says(told.text, PLACES[factor][other]), told


def test_a_full_second_caption_tells_what_changed():
    rng = random.Random(0)
    for seed in range(200):
        shown = scene(seed, change_probability=1.0)
        assert caption(shown, rng, part=1).mentioned >= set(shown.change[1])


def test_about_half_of_the_captions_tell_everything():
    rng = random.Random(0)
    told = [caption(scene(seed), rng).mentioned for seed in range(1000)]

    assert 0.45 < np.mean([mentioned == set(FACTORS) for mentioned in told]) < 0.65
    assert np.mean(["kind" in mentioned for mentioned in told]) > 0.95


def test_a_caption_tells_exactly_what_it_is_asked_to():
    told = caption(scene(0), random.Random(0), mention=["kind", "sky"])

    assert told.mentioned == {"kind", "sky"}
    with pytest.raises(UserError, match="weight"):
        caption(scene(0), random.Random(0), mention=["weight"])


def test_captions_use_the_vocabulary_and_all_of_its_content_words():
    rng, used = np.random.default_rng(0), set()
    for seed in range(3000):
        shown = scene(seed, change_probability=0.5)
        used |= {word.strip(",") for part in (0, 1) for word in caption(shown, rng, part=part).text.split()}

    assert used <= set(vocabulary())
    assert set(vocabulary()) - used <= {"but", "into", "later"}
    assert 120 <= len(vocabulary()) <= 160
