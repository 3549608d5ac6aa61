"""`causvid evaluate` from a model to a report, with judges that were never trained."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from evaluate.judged import TINY_SUITE, judges_in, save_judges, worlds_student

from causvid.commands.evaluation import evaluate
from causvid.errors import UserError
from causvid.evaluate.run import measure
from causvid.evaluate.summary import distances, mean_of, survival

ANCHORS = {
    "truth",
    "truth_vae",
    "truth_frozen",
    "truth_blurred",
    "truth_shuffled",
    "other_prompt",
    "other_seed",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A measured student: (folder, report, judges)."""
    folder = tmp_path_factory.mktemp("evaluation")
    judges = judges_in(folder / "judges")
    report = measure({"model": worlds_student()}, judges, suite=TINY_SUITE, out=folder / "out")
    return folder / "out", report, judges


def test_every_table_has_the_model_and_all_seven_anchors(finished):
    _, report, _ = finished

    for table in ("arms", "switches", "distances", "survival"):
        assert set(report[table]) == {"model", *ANCHORS}


def test_every_factor_has_its_share_and_its_interval(finished):
    _, report, _ = finished

    assert "kind_by_frame" in report["attributes"]
    for row in report["attributes"].values():
        assert {"accuracy", "low", "high", "of_ground_truth", "of_teacher", "judge", "dropped"} <= set(row)
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
        assert row["of_teacher"] is None


def test_every_clip_of_the_truth_is_in_the_confusion_matrices(finished):
    _, report, _ = finished

    for table in report["judge"]["confusion"].values():
        total = sum(count for row in table.values() for count in row.values())
        assert total == report["judge"]["clips"] == TINY_SUITE.prompts + TINY_SUITE.judge_clips


def test_the_anchors_frame_the_scale_as_they_should(finished):
    _, report, _ = finished
    arms = report["arms"]

    assert arms["truth_frozen"]["flicker"]["mean"] == 1
    assert arms["truth_shuffled"]["flicker"]["mean"] < arms["truth"]["flicker"]["mean"] < 1
    assert arms["truth_blurred"]["sharpness"]["mean"] < arms["truth"]["sharpness"]["mean"]


def test_the_folder_holds_what_was_asked_and_every_clips_record(finished):
    out, report, judges = finished

    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["sha256"] == report["hashes"] == {"model": report["hashes"]["model"], **judges.hashes}
    assert [item["text"] for item in manifest["items"]]
    for arm in ("model", *ANCHORS):
        lines = (out / "scores" / f"{arm}.jsonl").read_text().splitlines()
        assert {json.loads(line)["id"] for line in lines} == {item["id"] for item in manifest["items"]}
        assert (out / "sheets" / f"{arm}.png").stat().st_size > 0
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(report))
    text = (out / "report.md").read_text()
    assert "| model |" in text and "truth_frozen" in text and "TA* = " in text


def test_a_report_says_what_is_lost_open_causal_and_doubted(finished):
    out, report, _ = finished

    assert report["causality"]["model"]["holds"]
    assert set(report["endurance"]) == set(report["judge"]["disagreements"]) | set(report["arms"])
    assert report["variety"] == report["open"] == {}, "one clip of a prompt says nothing of variety"
    assert "agreement" not in report
    text = (out / "report.md").read_text()
    for title in ("Beginning and end", "Paths", "Causality", "Where the judge is doubted"):
        assert f"## {title}" in text
    assert "Dropped from all text scores" in text and "Beside the teacher" not in text


def test_a_teacher_is_set_beside_and_what_prompts_leave_open_is_counted(tmp_path):
    models = {"model": worlds_student(), "teacher": worlds_student(layout=None, sigmas=(), guidance=2.0)}
    suite = replace(
        TINY_SUITE, prompts=2, switches=0, samples=4, tells="part", anchors=("truth", "truth_vae")
    )

    report = measure(models, judges_in(tmp_path / "judges"), suite=suite, out=tmp_path / "out")

    assert set(report["arms"]) == {"model", "teacher", "truth", "truth_vae"}
    assert not report["causality"]["teacher"]["holds"]
    found = report["agreement"]
    assert found["psnr"]["mean"] > 0 and found["energy_ratio"]["mean"] > 0 and set(found["kappa"])
    assert report["variety"]["model"]["vendi"] >= 1 and report["variety"]["teacher"]["vendi_of_teacher"] == 1
    assert all(row["clips"] % 4 == 0 for row in report["open"]["truth"]["factors"].values())
    for row in report["attributes"].values():
        assert row["of_teacher"] is None or row["of_teacher"] >= 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Beside the teacher" in text and "What prompts leave open" in text


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(finished, tmp_path):
    out, report, judges = finished
    scores = out / "scores" / "model.jsonl"
    lines = scores.read_text().splitlines(keepends=True)
    scores.write_text(lines[0] + lines[1][:20])
    (out / "scores" / "other_seed.jsonl").unlink()

    again = measure({"model": worlds_student()}, judges, suite=TINY_SUITE, out=out)

    assert again["arms"]["model"] == report["arms"]["model"]
    assert again["arms"]["other_seed"] == report["arms"]["other_seed"]


def test_a_folder_of_another_question_is_refused(finished):
    out, _, judges = finished
    other = worlds_student()
    with torch.no_grad():
        next(other.bundle.denoiser.parameters()).add_(1)

    with pytest.raises(UserError, match=r"answers another question \(sha256 differ\)"):
        measure({"model": other}, judges, suite=TINY_SUITE, out=out)


def test_all_missing_judges_are_named_in_one_line_with_the_commands_that_train_them(tmp_path):
    save_judges(tmp_path)
    for folder in (tmp_path / "verifier_dev", tmp_path / "quality"):
        shutil.rmtree(folder)

    with pytest.raises(UserError, match="missing judges: verifier_test, quality") as found:
        evaluate("tiny", suite="full", judges=(tmp_path,), out=tmp_path / "out")
    assert "`causvid train tiny/verifier_test`, `causvid train tiny/quality`" in str(found.value)
    assert "--judges runs/tiny" in str(found.value) and "\n" not in str(found.value)
    assert not (tmp_path / "out").exists()


def test_the_verb_prints_its_report_as_json_and_nothing_else(tmp_path, capsys):
    worlds_student().save(tmp_path / "student")
    save_judges(tmp_path)
    how = {"suite": "long", "seconds": 2.0, "prompts": 2, "judges": (tmp_path,)}

    evaluate(str(tmp_path / "student"), out=tmp_path / "out", as_json=True, **how)

    printed = capsys.readouterr().out
    assert printed == (tmp_path / "out" / "report.json").read_text()
    assert json.loads(printed)["suite"]["prompts"] == 2


def test_the_verb_refuses_clips_that_are_too_short_to_measure(tmp_path):
    with pytest.raises(UserError, match=r"seconds is 0.5; clips are measured from 2 seconds"):
        evaluate("tiny", seconds=0.5, judges=(save_judges(tmp_path),), out=tmp_path / "out")


def test_a_mean_says_over_how_many_clips_it_is():
    records = [{"prompt": i, "sample": 0, "a": None if i == 2 else float(i)} for i in range(4)]

    found = mean_of(records, "a")

    assert found.mean == pytest.approx(4 / 3) and (found.clips, found.of) == (3, 4)
    assert mean_of(records, "b") is None


def test_few_clips_have_no_distance_but_say_so():
    few = [{"embedding": [float(i), 0.0]} for i in range(4)]
    more = [
        {"embedding": torch.randn(3, generator=torch.Generator().manual_seed(i)).tolist()} for i in range(70)
    ]

    assert "need more than 5 clips" in distances(few, few)["note"]
    assert distances(more, more)["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert distances(more, more)["recall"] == 1


def test_survival_is_measured_against_the_truth():
    truth = [{"curves": {"quality": [0.9, 0.92, 0.91, 0.9, 0.93, 0.9]}}] * 4
    failing = [{"curves": {"quality": [0.9, 0.9, 0.2, 0.2, 0.2, 0.2]}}] * 4

    assert survival(truth, truth)["failed"] == 0
    found = survival(failing, truth)
    assert found["failed"] == 4 and found["median_seconds"] == 2 and found["alive_at_end"] == 0
