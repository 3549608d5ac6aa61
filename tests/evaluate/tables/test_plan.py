"""The arms and hypotheses of the package: data that must agree with the recipes and with one another."""

from pathlib import Path

import pytest
import torch
from evaluate.judged import worlds_student

from causvid.commands.tables import steps_with_seeds
from causvid.config import build
from causvid.errors import UserError
from causvid.evaluate.tables.makers import STUDENT_LAYOUT, STUDENT_SIGMAS, make_maker, overlap_of
from causvid.evaluate.tables.plan import Plan, Row, Step, find_amount, load_plan, trained
from causvid.evaluate.tables.run import COLUMNS, SPEED
from causvid.evaluate.tables.verdicts import load_hypotheses
from causvid.generate.longer import Asked, queue_levels
from causvid.models.spec import ModelSpec
from causvid.nn.text import TextTokens
from causvid.train.dmd import DmdConfig
from causvid.train.encode import EncodeConfig
from causvid.train.recipe import find_recipe, read_recipe, resolve
from causvid.train.trajectories import TrajectoriesConfig

PLAN = load_plan()
STEPS = {step.name: step for step in PLAN.step}
ROWS = {row.name: row for row in PLAN.arm}
TRAINED = [row for row in PLAN.arm if row.step and row.how in ("own", "few", "streamed")]
ANCHOR = "truth"


def configured(step):
    """What a step's recipe with its changes is: the recipe, if it trains, and its own configuration."""
    table = read_recipe(find_recipe(step.recipe), overrides=list(step.set))
    if step.verb == "train":
        return resolve(table, step.name)
    kind = EncodeConfig if step.verb == "encode" else TrajectoriesConfig
    return None, build(kind, table, step.name)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_needs_exactly_what_its_recipe_reads(name):
    recipe, config = configured(STEPS[name])

    inputs = set() if recipe is None else set(recipe.inputs.values())
    keys = ("vae", "teacher") if isinstance(config, DmdConfig) else ("vae", "teacher", "trajectories")
    inputs |= {getattr(config, key) for key in keys if hasattr(config, key)}
    if getattr(config, "student_input", "data") == "data" and hasattr(config, "clips"):
        inputs.add(config.clips)
    read = {value for value in inputs if isinstance(value, str) and value in STEPS}

    assert read == set(STEPS[name].needs)


def test_all_distilled_arms_have_the_same_budget():
    distilled = [configured(step) for step in PLAN.step if isinstance(configured(step)[1], DmdConfig)]

    assert len(distilled) == 6
    budgets = [(recipe.steps, recipe.ranks, recipe.optimizers) for recipe, _ in distilled]
    assert all(budget == budgets[0] for budget in budgets)
    alike = ("batch", "frames", "sigmas", "layout", "schedule", "guidance", "critic_steps", "critic_warmup")
    assert all(
        getattr(config, key) == getattr(distilled[0][1], key) for _, config in distilled for key in alike
    )


def test_the_levels_of_all_students_are_those_the_tables_assume():
    for name in ("ours", "self_rollout"):
        config = configured(STEPS[name])[1]
        assert (config.exported_sigmas or config.sigmas) == STUDENT_SIGMAS
        assert config.layout == STUDENT_LAYOUT


@pytest.mark.parametrize(
    "name", [name for name, row in ROWS.items() if row.how in ("own", "few", "streamed")]
)
def test_the_passes_of_an_arm_are_those_of_its_sampler(name):
    many = {"sigmas": (), "guidance": 2.0, "steps": 50}
    model = {
        "teacher": lambda: worlds_student(layout=None, **many),
        "causal_teacher": lambda: worlds_student(**many),
    }.get(ROWS[name].step, lambda: worlds_student(sigmas=STUDENT_SIGMAS))

    maker = make_maker(ROWS[name], 0, model())

    assert maker.passes == ROWS[name].planned_passes and maker.said_passes == ROWS[name].passes


def test_the_passes_of_the_queue_are_two_a_window_of_it_for_every_frame():
    spec = ModelSpec(name="teacher", fps=12, size=(64, 64), clip_frames=12)
    asked = Asked(
        text=TextTokens(torch.zeros(1, 2, 4), torch.tensor([2])),
        sigmas=tuple(1 - i / 50 for i in range(50)),
        window=12,
        overlap=overlap_of(ROWS["diagonal"], spec),
    )

    places = len(queue_levels(asked)) - 1

    assert 2 * places // (asked.window - asked.overlap) == ROWS["diagonal"].planned_passes


def test_every_arm_of_a_hypothesis_is_measured_in_the_clips_it_is_about():
    for hypothesis in load_hypotheses():
        for test in hypothesis.tests:
            assert test.metric in (SPEED if test.length == "speed" else COLUMNS)
            for name in {test.better, test.worse} - {ANCHOR}:
                row = ROWS[name]
                there = {"short": row.is_short, "long": row.is_long, "speed": "3" in row.tables}
                assert there[test.length], f"{hypothesis.name}: {name} has no {test.length} clips"


def test_there_are_nine_hypotheses_in_order():
    assert [one.name for one in load_hypotheses()] == [f"H{n}" for n in range(1, 10)]


def test_an_arm_names_every_command_it_takes_in_order():
    steps = PLAN.steps_for((ROWS["causal_init"],))

    assert [step.name for step in steps] == [
        *("latents", "teacher", "causal_teacher", "causal_trajectories", "causal_ode_init", "causal_init"),
    ]
    assert steps[-2].command(Path("arms")) == (
        "causvid train tiny/ode_init --out arms/causal_ode_init --set inputs.teacher=causal_teacher "
        "--set ode_init.trajectories=causal_trajectories"
    )


def test_headline_arms_are_trained_once_for_each_seed_in_folders_of_their_own():
    steps = steps_with_seeds(PLAN, (ROWS["ours"], ROWS["teacher"]), seeds=3)

    assert [step.name for step in steps if step.recipe == "tiny/causvid"] == ["ours", "ours-2", "ours-3"]
    assert [step.set for step in steps[-3:]] == [(), ("seed=1007",), ("seed=2007",)]
    assert [step.name for step in steps].count("teacher") == 1


def test_models_are_found_by_seed_as_exports_or_as_folders(tmp_path):
    for place in ("ours/export", "ours-3"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "model.toml").touch()

    found = dict(trained(ROWS["ours"], tmp_path, seeds=3))

    assert found == {0: tmp_path / "ours" / "export", 2: tmp_path / "ours-3"}
    assert dict(trained(ROWS["ours"], tmp_path, seeds=1)) == {0: tmp_path / "ours" / "export"}
    assert dict(trained(ROWS["shipped"], tmp_path, seeds=3)) == {0: "tiny"}


def test_a_plan_that_hangs_in_the_air_is_refused():
    step = Step(name="a", verb="train", recipe="tiny/teacher", needs=("b",))
    row = {"title": "", "how": "own", "passes": "", "tables": ("1",)}

    with pytest.raises(UserError, match="the step 'a' needs b before it"):
        Plan(step=(step,), arm=())
    with pytest.raises(UserError, match="no step makes c, which an arm is of"):
        Plan(step=(), arm=(Row(name="x", step="c", **row),))
    with pytest.raises(UserError, match="must have a step or a model"):
        Row(name="x", **row)
    with pytest.raises(UserError, match="suite is 'huge'; accepted: quick, full, smoke"):
        find_amount("huge")
