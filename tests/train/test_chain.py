"""The whole chain, from nothing to a streaming student, as the smoke budget runs it."""

from causvid.models.bundle import load_bundle
from causvid.train.recipe import CHAINS, reproduce


def test_the_chain_makes_a_student_and_a_second_call_changes_nothing(tmp_path):
    folder = reproduce("tiny", out=tmp_path, budget="smoke", device="cpu")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}

    assert load_bundle(folder).spec.is_student
    assert {p.name for p in tmp_path.iterdir()} == {stage for _, stage in CHAINS["tiny"]}
    assert set(load_bundle(folder).spec.provenance) == {"vae", "text", "teacher", "ode_init", "student"}

    assert reproduce("tiny", out=tmp_path, budget="smoke", device="cpu") == folder
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
