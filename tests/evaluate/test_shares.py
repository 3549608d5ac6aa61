"""What factors add up to, and what a judge that misreads the truth is no judge of."""

import pytest

from causvid.data import worlds
from causvid.evaluate.shares import attributes, dropped, reliability, with_switch, with_text

LABELS = {name: values[0] for name, values in worlds.FACTORS.items()}


def check(**read):
    return {"read": {**LABELS, **read}, "labels": LABELS, "kind_by_frame": 0.99}


def steady(number, *, kind_by_frame=1.0, **right):
    parts = dict.fromkeys(("factors", "start", "end"), right)
    return {"id": str(number), "prompt": number, "kind_by_frame": kind_by_frame, **parts}


def test_a_judge_is_reliable_where_it_reads_the_truth():
    untold = {**check(), "kind_by_frame": None}
    checks = [check()] * 17 + [untold] + [check(sky="night")] * 2

    found = reliability(checks)

    assert found["sky"] == 0.9 and found["kind"] == 1 and found["kind_by_frame"] == pytest.approx(0.99)
    assert dropped(found) == ["sky"]


def test_what_is_dropped_counts_neither_for_nor_against_a_clip():
    records = [steady(0, kind=True, sky=False), steady(1, sky=True)]

    found = with_text(records, ["sky"])

    assert found[0]["text"] == found[0]["strict"] == 1 and found[1]["text"] is None
    assert with_text(records, [])[0]["text"] == 0.5


def test_shares_are_of_the_same_clips_of_the_truth():
    arms = {
        "model": [steady(i, kind=i < 3, kind_by_frame=0.4) for i in range(4)],
        "truth_vae": [steady(i, kind=True, kind_by_frame=0.8) for i in range(4)],
        "teacher": [steady(i, kind=i < 2) for i in range(4)],
    }

    found = attributes(arms, model="model", teacher="teacher", judge={"kind": 0.9})

    assert found["kind"]["accuracy"] == found["kind"]["of_ground_truth"] == 0.75
    assert found["kind"]["of_teacher"] == 1.5 and found["kind"]["dropped"]
    assert found["kind_by_frame"]["of_ground_truth"] == pytest.approx(0.5)
    assert found["kind_by_frame"]["of_ground_truth_interval"] == pytest.approx([0.5, 0.5])
    assert "sky" not in found


def test_a_change_counts_as_seen_within_two_chunks_or_not():
    switch = {
        "latency": {"sky": 5, "weather": 24},
        "new": {"sky": True, "weather": False},
        "kept": {"kind": True},
        "retained": {},
    }

    found = with_switch([{"id": "0", "prompt": 0, "switch": switch}], [], chunk=12, fps=12)[0]

    assert found["switch_within_two_chunks"] == 0.5 and found["switch_latency_frames"] == 24
    assert found["switch_latency_seconds"] == 2 and found["switch_retained"] is None
    alone = with_switch([{"id": "0", "prompt": 0, "switch": switch}], ["weather"], chunk=12, fps=12)[0]
    assert alone["switch_within_two_chunks"] == alone["switch_new"] == 1
    none = with_switch([{"id": "0", "prompt": 0, "switch": switch}], ["sky", "weather"], chunk=12, fps=12)[0]
    assert none["switch_seen"] is None


def test_a_change_that_never_comes_has_no_latency():
    switch = {"latency": {"sky": None}, "new": {"sky": False}, "kept": {}, "retained": {}}

    found = with_switch([{"id": "0", "prompt": 0, "switch": switch}], [], chunk=12, fps=12)[0]

    assert found["switch_seen"] == found["switch_within_two_chunks"] == 0
    assert found["switch_latency_frames"] is None
