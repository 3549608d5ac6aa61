"""What is reached, missed, or not measured."""

from causvid.evaluate.targets import targets


def report(*, seconds=30.0, slope=-0.1, **attributes):
    rows = {name: {"of_ground_truth": share, "of_teacher": None} for name, share in attributes.items()}
    end = {"slopes": {"quality": {"less_truth": slope}}, "text_last_over_first": {"mean": 0.95}}
    return {
        "suite": {"seconds": seconds},
        "attributes": rows,
        "endurance": {"model": end},
        "switches": {"model": {"switch_within_two_chunks": {"mean": 0.8}}},
    }


def reached(found):
    return {row["what"]: row["reached"] for row in targets(found, model="model")}


def test_a_target_is_reached_missed_or_not_measured():
    found = reached(report(sky=0.98, kind=0.5))

    assert found["sky, of the truth's"] is True and found["kind, of the truth's"] is False
    assert found["motion, of the truth's"] is None
    assert found["changes seen within two chunks"] is False
    assert found["unmentioned kept through a change"] is None
    assert found["quality's slope less the truth's, %/s"] is True


def test_what_the_judge_cannot_read_is_not_measured():
    unreadable = report(sky=0.98)
    unreadable["attributes"]["sky"] |= {"dropped": True, "of_teacher": 0.5}

    assert reached(unreadable)["sky, of the truth's"] is None
    assert "sky, of the teacher's" not in reached(unreadable)


def test_slopes_are_judged_in_long_clips_alone():
    assert reached(report(slope=-0.3))["quality's slope less the truth's, %/s"] is False
    assert not any("slope" in what for what in reached(report(seconds=10.0, slope=-0.3)))
