"""Presets' recipes, from a teacher and clips to a student, as the smoke budget runs them.

Between them these have every kind of stage and of student's clips that the presets use.
"""

import pytest
from random_model import random_teacher
from tiny_training import encoded_clips

from causvid.models.bundle import load_bundle
from causvid.train.recipe import PRESETS, reproduce

RUN = ("causvid-paper", "causvid-i2v", "default-2026", "longlive")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the chain of `tiny` leaves for them, with a smaller model."""
    folder = tmp_path_factory.mktemp("tiny")
    random_teacher(name="teacher", size=(16, 32)).save(folder / "teacher")
    encoded_clips(folder / "latents", clips=2, frames=10)
    return folder


@pytest.mark.parametrize("preset", RUN)
def test_a_preset_makes_a_student(folder, preset):
    if preset == "longlive":
        pytest.importorskip("peft")
        reproduce("tiny/default-2026", out=folder / "default-2026", budget="smoke", device="cpu")

    made = reproduce(f"tiny/{preset}", out=folder / preset, budget="smoke", device="cpu")

    spec = load_bundle(made).spec
    assert spec.is_student and spec.transformer == random_teacher().spec.transformer
    assert set(PRESETS[preset]) <= {p.name for p in (folder / preset).iterdir()}
