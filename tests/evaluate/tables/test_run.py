"""The tables from end to end, with judges and models that were never trained."""

import json
from dataclasses import replace

import pytest
from evaluate.judged import judges_in, worlds_student

from causvid.commands.training import reproduce
from causvid.errors import UserError
from causvid.evaluate.protocol import Suite
from causvid.evaluate.tables.makers import make_maker
from causvid.evaluate.tables.measuring import Length, fit, forecast
from causvid.evaluate.tables.plan import Amount, load_plan
from causvid.evaluate.tables.run import make_tables
from causvid.evaluate.tables.writing import as_text, not_trained

TRUTHS = ("truth", "truth_vae")
COMMON = {"prompts": 2, "switches": 0, "samples": 1, "batch": 2, "flow_every": 12, "judge_clips": 2}
SMALL = Amount(
    name="small",
    short=Suite(name="small", seconds=2.0, anchors=TRUTHS, **COMMON),
    long=Suite(name="small-long", seconds=3.0, anchors=TRUTHS, **COMMON),
    reader="verifier_dev",
    repeats=2,
    slow_repeats=1,
)
ARMS = ("teacher", "ours", "sliding", "ode_only")
PLAN = replace(load_plan(), arm=tuple(row for row in load_plan().arm if row.name in ARMS))


def worlds_teacher(**changes):
    return worlds_student(layout=None, sigmas=(), guidance=2.0, steps=2, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Tables of a teacher and of two seeds of ours: (folder, report, judges, arms)."""
    folder = tmp_path_factory.mktemp("tables")
    judges, arms = judges_in(folder / "judges"), folder / "arms"
    worlds_teacher().save(arms / "teacher" / "export")
    worlds_student().save(arms / "ours" / "export")
    worlds_student().save(arms / "ours-2")
    report = make_tables(PLAN, judges, arms=arms, amount=SMALL, seeds=3, out=folder / "out", device="cpu")
    return folder / "out", report, judges, arms


def test_every_arm_that_is_there_is_measured_beside_the_truth(finished):
    _, report, *_ = finished

    assert set(report["scores"]["short"]) == {"teacher", "ours", *TRUTHS}
    assert set(report["scores"]["long"]) == {"ours", "sliding", *TRUTHS}
    assert report["rows"]["ours"]["seeds"] == 2 and report["rows"]["teacher"]["seeds"] == 1
    assert set(report["speed"]) == {"teacher", "ours"} and report["speed"]["ours"]["repeats"] == 2
    for means in report["scores"]["short"].values():
        assert 0 <= means["FQ"]["low"] <= means["FQ"]["mean"] <= means["FQ"]["high"] <= 100


def test_an_arm_that_is_not_there_is_named_with_its_commands_and_has_no_numbers(finished):
    _, report, *_ = finished

    row = report["rows"]["ode_only"]
    assert not row["measured"] and "ode_only" not in report["scores"]["short"]
    assert [command.split()[1:3] for command in row["missing"]] == [
        ["encode", "tiny/latents"],
        ["train", "tiny/teacher"],
        ["trajectories", "tiny/trajectories"],
        ["train", "tiny/ode_init"],
    ]
    (line,) = not_trained(report)
    assert line.startswith("not trained: ODE init only, no DMD: causvid train tiny/ode_init --out ")
    assert "| ODE init only, no DMD | 4 + 1 a chunk | not trained | – | – | – |" in as_text(report)


def test_a_hypothesis_has_a_verdict_only_where_its_arms_were_measured(finished):
    _, report, *_ = finished
    verdicts = {one["name"]: one["verdict"] for one in report["hypotheses"]}

    assert {name for name, verdict in verdicts.items() if verdict != "not measured"} <= {
        "H6",
        "H7",
        "H8",
        "H9",
    }
    assert verdicts["H1"] == verdicts["H4"] == "not measured"


def test_the_folder_has_tables_sheets_and_the_same_numbers_again(finished):
    out, report, judges, arms = finished
    before = {path: path.read_bytes() for path in (out / "short" / "scores").iterdir()}

    again = make_tables(PLAN, judges, arms=arms, amount=SMALL, seeds=3, out=out, device="cpu")

    assert json.loads((out / "tables.json").read_text()) == json.loads(json.dumps(again))
    assert again["scores"] == report["scores"] and again["speed"] == report["speed"]
    assert {path: path.read_bytes() for path in (out / "short" / "scores").iterdir()} == before
    assert (out / "short" / "sheets" / "ours.png").stat().st_size > 0
    assert "## Table 2" in (out / "tables.md").read_text()


def test_a_folder_of_another_question_is_refused(finished):
    out, _, judges, arms = finished

    with pytest.raises(UserError, match=r"answers another question \(amount differ\)"):
        make_tables(PLAN, judges, arms=arms, amount=replace(SMALL, repeats=3), seeds=1, out=out, device="cpu")


def test_prompts_are_halved_for_all_arms_until_the_forecast_fits(tmp_path):
    judges = judges_in(tmp_path / "judges")
    lengths = [Length(replace(SMALL.short, prompts=n), judges, tmp_path, ()) for n in (48, 8)]
    seconds = [{"a": 10.0, "b": 5.0}, {"a": 30.0}]

    assert forecast(lengths, seconds) == 48 * 15 + 8 * 30
    fitted = fit(lengths, seconds, minutes=5)
    assert [length.suite.prompts for length in fitted] == [12, 2]
    assert fit(lengths, seconds, minutes=None) == lengths
    assert [length.suite.prompts for length in fit(lengths, seconds, minutes=0.01)] == [2, 2]


@pytest.mark.parametrize(("how", "passes"), [("own", 4), ("few", 8), ("streamed", 5), ("sliding", 4)])
def test_a_teacher_is_sampled_as_its_row_says(how, passes):
    row = replace(next(row for row in PLAN.arm if row.name == "teacher"), how=how)

    assert make_maker(row, 0, worlds_teacher()).passes == passes


def test_a_student_cannot_stand_for_a_teacher():
    row = next(row for row in PLAN.arm if row.name == "sliding")

    with pytest.raises(UserError, match="the arm 'sliding' needs a bidirectional many-step model"):
        make_maker(row, 0, worlds_student())


def test_the_verb_refuses_what_cannot_be_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"missing judges: verifier_dev, quality, feature"):
        reproduce("tables", arms=tmp_path, judges=(tmp_path,), out=tmp_path / "out")
    with pytest.raises(UserError, match=r"seeds is 0; it must be from 1 to 100"):
        reproduce("tables", seeds=0, out=tmp_path / "out")
    with pytest.raises(UserError, match=r"--seeds and --judges go with `causvid reproduce tables`"):
        reproduce("tiny", seeds=5, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
