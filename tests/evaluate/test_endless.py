"""A stream that is watched without being held."""

import json
from dataclasses import replace

import pytest
import torch
from evaluate.judged import judges_in, worlds_student

from causvid.evaluate.clips import as_clip
from causvid.evaluate.endless import summary_of
from causvid.evaluate.looks import contrast
from causvid.evaluate.protocol import SUITES, items_of
from causvid.evaluate.run import evaluate
from causvid.evaluate.watching import Watched, watch

SHORT = replace(SUITES["endless"], seconds=12.0, judge_clips=2)


def watched(spread, *, memory=None, quality=None):
    """A stream of a chunk a second, read every ten."""
    count, reads = len(spread), len(spread) // 10
    return Watched(
        time=[float(t + 1) for t in range(count)],
        spread=list(spread),
        memory=memory or [10**8] * count,
        looks={"contrast": list(spread), "sharpness": [1.0] * count, "saturation": [1.0] * count},
        read_time=[10.0 * (i + 1) for i in range(reads)],
        quality=quality or [0.9] * reads,
        text=[1.0] * reads,
    )


def test_a_steady_stream_is_steady():
    found = summary_of(watched([1.0] * 300), threshold=0.8)

    assert found["spread_is_steady"] and found["spread_least"] == found["spread_most"] == 1
    assert found["contrast_percent_a_minute"] == pytest.approx(0, abs=1e-9)
    assert found["memory_growth"] == 0 and found["failed_after_seconds"] is None
    assert found["text_first"] == found["text_last"] == 1


def test_runaway_contrast_shows_in_spread_and_slope():
    found = summary_of(watched([1 + 0.001 * t for t in range(300)]), threshold=0.8)

    assert not found["spread_is_steady"] and found["spread_most"] > 1.2
    assert found["contrast_percent_a_minute"] == pytest.approx(100 * 0.06 / 1.1495, rel=1e-3)


def test_one_bad_chunk_is_enough_to_be_unsteady():
    spread = [1.0] * 300
    spread[200] = 0.8

    found = summary_of(watched(spread), threshold=0.8)

    assert not found["spread_is_steady"] and found["spread_end"] == 1


def test_memory_that_grows_and_quality_that_collapses_are_told():
    memory = [10**8 + 10**5 * t for t in range(300)]
    found = summary_of(watched([1.0] * 300, memory=memory, quality=[0.9] * 10 + [0.1] * 20), threshold=0.8)

    assert found["memory_growth"] == pytest.approx(129.9 / 105.9 - 1)
    assert found["failed_after_seconds"] == 100


def test_a_watched_stream_ends_in_a_report_and_goes_on_where_it_was(tmp_path):
    worlds_student().save(tmp_path / "student")
    how = {"suite": SHORT, "judges": judges_in(tmp_path), "out": tmp_path / "out"}

    report = evaluate(str(tmp_path / "student"), **how)

    assert [stream["found"]["seconds"] for stream in report["streams"]] == pytest.approx([12.0, 12.0])
    curves = report["curves"][report["streams"][0]["id"]]
    assert len(curves["time"]) == len(curves["spread"]) == len(curves["memory"]) == 18
    assert curves["read_time"] == pytest.approx([10], abs=1)
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == json.loads(json.dumps(report))
    assert "every chunk should stay within 15%" in (tmp_path / "out" / "report.md").read_text()
    assert evaluate(str(tmp_path / "student"), **how) == report


def test_the_stream_that_is_watched_is_the_one_everybody_gets(tmp_path):
    student, item, made = worlds_student(), items_of(SHORT)[0], []
    seen = watch(student, item, judges_in(tmp_path), seconds=4, without=[], told=made.append)
    assert sum(made) == pytest.approx(4)

    frames = torch.cat(list(student.stream(item.text, seconds=4, seed=item.seed)))
    chunks = contrast(as_clip(frames)).split([8] * 6)
    assert seen.looks["contrast"] == pytest.approx([float(c.mean()) for c in chunks], rel=1e-5)
