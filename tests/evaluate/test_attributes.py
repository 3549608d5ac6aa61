"""Whether a clip shows what was asked, read by a perfect judge."""

from dataclasses import replace

import pytest
import torch
from evaluate.judged import reading_of

from causvid.data import worlds
from causvid.errors import UserError
from causvid.evaluate.attributes import corrected, posterior, shown, switched
from causvid.evaluate.protocol import SUITES, items_of

ITEMS = items_of(SUITES["quick"])
STEADY = next(item for item in ITEMS if item.switch is None and len(item.mentioned) == 6)
CHANGING = next(item for item in ITEMS if item.switch is not None)


def wrong(reading, factor, frames):
    """The same reading, with another word in these frames."""
    changed = reading.frame[factor].clone()
    changed[frames] = changed[frames].roll(1, dims=1)
    return replace(reading, frame={**reading.frame, factor: changed})


def test_the_truth_shows_everything():
    found = shown(reading_of(STEADY), STEADY, ends=60)

    assert found.share == found.kind_by_frame == 1 and found.strict
    assert all(found.start.values()) and all(found.end.values())


def test_one_wrong_factor_costs_its_share_and_the_whole_of_strict():
    found = shown(wrong(reading_of(STEADY), "sky", slice(None)), STEADY, ends=60)

    assert found.share == pytest.approx(5 / 6) and not found.strict and not found.factors["sky"]


def test_what_a_prompt_leaves_open_is_not_asked_for():
    less = replace(STEADY, mentioned=frozenset({"kind"}))

    found = shown(wrong(reading_of(less), "sky", slice(None)), less, ends=60)

    assert found.factors == {"kind": True}
    assert shown(reading_of(less), replace(STEADY, mentioned=frozenset()), ends=60) is None


def test_deformed_frames_count_by_frame_where_the_clip_forgives_them():
    found = shown(wrong(reading_of(STEADY), "kind", slice(0, 30)), STEADY, ends=60)

    assert found.factors["kind"] and found.kind_by_frame == 0.75


def test_what_is_lost_late_is_seen_at_the_end():
    found = shown(wrong(reading_of(STEADY), "colour", slice(70, None)), STEADY, ends=40)

    assert all(found.start.values()) and found.factors["colour"]
    assert [name for name, right in found.end.items() if not right] == ["colour"]


def test_motion_is_read_in_the_windows_of_the_frames_asked_about():
    reading = reading_of(STEADY)
    late = reading.clip["motion"].clone()
    late[-4:] = late[-4:].roll(1, dims=1)
    changed = replace(reading, clip={"motion": late})

    right = worlds.FACTORS["motion"].index(STEADY.scene.motion)
    assert posterior(changed, "motion", slice(0, 60)).argmax() == right
    assert posterior(changed, "motion", slice(-60, None)).argmax() != right


def test_the_truth_switches_at_once_and_keeps_the_rest():
    found = switched(reading_of(CHANGING), CHANGING, fps=worlds.FPS)

    assert set(found.latency.values()) == {0}
    for part in (found.new, found.retained, found.kept):
        assert part and all(part.values())


def late_by(frames, factor):
    """The truth, but one changed factor shows its old value for longer."""
    reading, at = reading_of(CHANGING), CHANGING.switch
    values = reading.frame[factor].clone()
    values[at : at + frames] = values[at - 1]
    return replace(reading, frame={**reading.frame, factor: values})


def test_a_late_switch_has_its_latency_and_one_that_never_comes_has_none():
    factor = next(iter(CHANGING.scene.change[1]))

    assert switched(late_by(7, factor), CHANGING, fps=worlds.FPS).latency[factor] == 7
    never = switched(late_by(60, factor), CHANGING, fps=worlds.FPS)
    assert never.latency[factor] is None and not never.new[factor] and all(never.retained.values())


def test_what_a_switch_destroys_is_not_retained():
    kept = next(
        name for name in CHANGING.mentioned if name not in CHANGING.scene.change[1] and name != "motion"
    )

    found = switched(
        wrong(reading_of(CHANGING), kept, slice(CHANGING.switch, None)), CHANGING, fps=worlds.FPS
    )

    assert all(found.new.values()) and not found.retained[kept]


def test_what_no_prompt_told_is_kept_if_it_is_read_as_before():
    at, changed = CHANGING.scene.change
    silent = replace(CHANGING, mentioned=frozenset(), second_mentioned=frozenset(changed))
    untold = next(name for name in ("sky", "ground", "weather") if name not in changed)

    assert all(switched(reading_of(silent), silent, fps=worlds.FPS).kept.values())
    found = switched(wrong(reading_of(silent), untold, slice(at, None)), silent, fps=worlds.FPS)
    assert not found.kept[untold] and not found.retained


def test_a_switch_and_a_steady_prompt_are_measured_by_different_rules():
    with pytest.raises(UserError, match="changes mid-clip"):
        shown(reading_of(CHANGING), CHANGING, ends=10)
    with pytest.raises(UserError, match="does not change"):
        switched(reading_of(STEADY), STEADY, fps=worlds.FPS)


def test_corrected_shares_run_from_chance_to_the_truth():
    assert corrected(0.2, floor=0.2, ceiling=0.95) == 0
    assert corrected(0.95, floor=0.2, ceiling=0.95) == pytest.approx(1)
    assert corrected(0.5, floor=0.9, ceiling=0.9) is None
    assert torch.is_tensor(posterior(reading_of(STEADY), "kind"))
