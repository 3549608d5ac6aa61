"""The recipes of every preset say the numbers of its row, and run on a small model."""

import tomllib
from pathlib import Path

import pytest

from causvid.config import build
from causvid.train.recipe import FAMILIES, PRESETS, find_recipe, read_recipe, resolve
from causvid.train.trajectories import TrajectoriesConfig

ROWS = tomllib.loads((Path(__file__).parent / "presets.toml").read_text())
CRITIC_STEPS, WEIGHT_DECAY, CLIP = 5, 0.01, 10.0
"""The same in every released training code."""


def recipe(preset, stage, *, family="wan-1.3b"):
    return resolve(read_recipe(find_recipe(f"{family}/{preset}/{stage}")), stage)


def trajectories(preset, *, family="wan-1.3b"):
    name = f"{family}/{preset}/trajectories"
    return build(TrajectoriesConfig, read_recipe(find_recipe(name)), name)


def last(preset, **how):
    return recipe(preset, PRESETS[preset][-1], **how)


def rows_with(key):
    return [name for name, row in ROWS.items() if key in row]


def test_there_is_a_row_for_every_preset():
    assert ROWS.keys() == PRESETS.keys()


@pytest.mark.parametrize("preset", ROWS)
def test_distribution_matching_has_the_numbers_of_its_row(preset):
    row, (loop, dmd) = ROWS[preset], last(preset)

    assert dmd.student_input == row["student_input"]
    assert dmd.layout.frames_per_chunk == row["frames_per_chunk"]
    assert dmd.layout.first_chunk_frames == row.get("first_chunk_frames")
    assert dmd.layout.positions == row["positions"]
    assert dmd.schedule.shift == row["shift"] and list(dmd.sigmas) == row["sigmas"]
    assert dmd.critic_steps == CRITIC_STEPS
    assert row["steps"][0] <= loop.steps <= row["steps"][1]
    assert dmd.frames == row.get("frames", dmd.frames)
    assert dmd.guidance == row.get("guidance", dmd.guidance)
    assert dmd.clean_levels == row.get("clean_levels", dmd.clean_levels)
    assert loop.ranks * dmd.batch == row.get("batch", 64)
    for role, rate in row["lr"].items():
        assert loop.optimizers[role].lr == rate
    for optimizer in loop.optimizers.values():
        assert list(optimizer.betas) == row.get("betas", list(optimizer.betas))
        assert (optimizer.weight_decay, optimizer.clip) == (WEIGHT_DECAY, CLIP)
        assert optimizer.decay == "constant" and optimizer.warmup_steps == 0 and optimizer.muon_lr is None


@pytest.mark.parametrize("preset", rows_with("window"))
def test_the_student_sees_as_far_back_as_its_row_says(preset):
    _, dmd = last(preset)

    assert [dmd.layout.window_frames, dmd.layout.sink_frames] == ROWS[preset]["window"]


@pytest.mark.parametrize("preset", ROWS)
def test_weights_are_averaged_from_the_step_on_that_the_row_says(preset):
    row, (loop, dmd) = ROWS[preset], last(preset)
    student, critic = loop.optimizers["student"], loop.optimizers["critic"]

    if "lr" in row and preset != "longlive":
        assert student.ema == row.get("ema") and critic.ema is None
    if "ema_from_step" in row:
        assert student.ema_after * dmd.critic_steps == row["ema_from_step"]


@pytest.mark.parametrize("preset", rows_with("solver_steps"))
def test_trajectories_are_solved_as_the_row_says_and_hold_the_students_levels(preset):
    row, pairs = ROWS[preset], trajectories(preset)

    assert (pairs.steps, pairs.guidance) == (row["solver_steps"], row["solver_guidance"])
    assert pairs.schedule.shift == row["shift"] and list(pairs.sigmas) == row["sigmas"]
    assert pairs.samples == pytest.approx(row.get("pairs", pairs.samples), rel=0.01)


@pytest.mark.parametrize("preset", rows_with("init"))
def test_initialisation_has_the_numbers_of_its_row(preset):
    row, (loop, ode) = ROWS[preset]["init"], recipe(preset, "ode_init")

    assert loop.optimizers["student"].lr == row["lr"]
    low, high = row.get("steps_between", [row.get("steps")] * 2)
    assert low <= loop.steps <= high
    assert loop.ranks * ode.batch == row.get("batch", loop.ranks * ode.batch)
    assert ode.clean_levels == ROWS[preset]["clean_levels"]
    assert ode.layout == last(preset)[1].layout


@pytest.mark.parametrize("preset", rows_with("consistency"))
def test_consistency_has_the_numbers_of_its_row(preset):
    row, (_, config) = ROWS[preset]["consistency"], recipe(preset, "consistency")

    assert {name: getattr(config, name) for name in row} == row
    assert config.layout == last(preset)[1].layout and list(config.sigmas) == ROWS[preset]["sigmas"]


def test_a_causal_teacher_is_trained_for_long_enough_and_has_the_students_chunks():
    for preset in ("causal-forcing", "default-2026"):
        loop, teacher = recipe(preset, "teacher")
        assert loop.steps >= ROWS["causal-forcing"]["teacher_forcing_steps"]
        assert teacher.causal and teacher.layout == last(preset)[1].layout


def test_long_tuning_has_the_numbers_of_its_row_and_pauses_between_videos():
    row, (loop, dmd) = ROWS["longlive"], last("longlive")

    assert dmd.long.video_frames == row["video_frames"] and dmd.adapters.rank == row["adapters_rank"]
    assert loop.checkpoint_every % dmd.long.steps(dmd.frames) == 0


@pytest.mark.parametrize("preset", rows_with("teacher"))
def test_the_teacher_may_be_larger_than_the_student(preset):
    inputs = last(preset)[0].inputs

    assert inputs["teacher"] == ROWS[preset]["teacher"] and inputs["critic"] != inputs["teacher"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_family_has_the_same_method(preset, family):
    (_, one), (_, other) = last(preset), last(preset, family=family)

    for name in ("student_input", "sigmas", "schedule", "critic_steps", "clean_levels", "teacher"):
        assert getattr(one, name) == getattr(other, name)
    assert one.layout.frames_per_chunk == other.layout.frames_per_chunk
    assert one.layout.positions == other.layout.positions
