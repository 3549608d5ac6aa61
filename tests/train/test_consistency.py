"""Consistency: neighbouring levels of a grid, one step of the causal teacher, and a slow average there."""

import shutil
from dataclasses import replace

import pytest
import torch
from random_model import SIGMAS, random_student
from tiny_training import LONG, causal_teacher, encoded_clips, inputs, loop, seeded, trained

from causvid.errors import UserError
from causvid.flow.schedule import FlowSchedule, add_noise
from causvid.flow.solvers import euler_step
from causvid.models.bundle import load_bundle
from causvid.train.consistency import Consistency, ConsistencyConfig
from causvid.train.stage import Share

GRID = torch.tensor(FlowSchedule(shift=5.0).grid(48), dtype=torch.float64)


def stage(folder, *, teacher=None, **changes):
    if not (folder / "latents").exists():
        encoded_clips(folder / "latents", frames=4)
    config = ConsistencyConfig(**{"batch": 2, "frames": 4, "sigmas": SIGMAS, "layout": LONG, **changes})
    return Consistency(config, inputs(teacher=teacher or causal_teacher()), folder=folder)


def asked(consistency, seed=0):
    """The noise levels and inputs at which teacher, target and student were asked, each [clean, noisy]."""
    seen = {}
    for name in ("teacher", "target", "student"):
        transformer = getattr(consistency, name).transformer
        transformer.register_forward_pre_hook(lambda _, given, name=name: seen.setdefault(name, given))
    consistency.loss("student", consistency.batch(0, seeded(seed)), seeded(seed))
    return seen


def test_steps_are_as_long_as_the_grid_says_and_lead_to_data():
    clean, noise = (torch.randn(48, 1, 2, 2, 2, generator=seeded(n)) for n in (0, 1))
    high, low = GRID[:-1, None], GRID[1:, None]

    length = euler_step(torch.zeros_like(clean), torch.ones_like(clean), high, low)[:, 0, 0, 0, 0]
    torch.testing.assert_close(length.double(), GRID.diff(), rtol=1e-6, atol=0)

    reached = euler_step(add_noise(clean, noise, high.float()), noise - clean, high, low)
    torch.testing.assert_close(reached, add_noise(clean, noise, low.float()), atol=1e-5, rtol=0)
    torch.testing.assert_close(reached[-1], clean[-1], atol=1e-6, rtol=0)


def test_a_student_at_level_0_sees_its_input_whatever_its_weights_are(tmp_path):
    consistency = stage(tmp_path)
    batch = consistency.batch(0, seeded())
    text, at_data = consistency.parts.read(batch.prompts), torch.zeros(2, 4, dtype=torch.float64)

    seen = consistency._seen(consistency.student, batch.latents, at_data, text, batch.latents)

    assert torch.equal(seen, batch.latents)


def test_a_clip_has_one_pair_of_neighbouring_levels_and_its_own_clean_past(tmp_path):
    consistency = stage(tmp_path, batch=64)

    seen = asked(consistency)

    (x, sigma, _), (nearer, low, _), (again, high, _) = (seen[n] for n in ("teacher", "target", "student"))
    assert torch.equal(again, x) and torch.equal(nearer[:, :4], x[:, :4])  # the clean copy comes first
    for levels in (sigma, low, high):
        assert (levels[:, :4] == 0).all() and torch.equal(levels[:, 4:], levels[:, 4:5].expand(-1, 4))
    assert torch.equal(sigma, high)
    place, after = ((GRID.float() - levels[:, 4:5]).abs().argmin(dim=1) for levels in (high, low))
    assert torch.equal(after, place + 1)
    assert len(place.unique()) > 24 and place.min() < 6 and place.max() > 41


def test_only_the_student_has_a_gradient(tmp_path):
    consistency = stage(tmp_path)
    consistency.loss("student", consistency.batch(0, seeded()), seeded()).value.backward()

    assert all(p.grad is not None for p in consistency.student.parameters())
    for other in (consistency.teacher, consistency.target):
        assert all(p.grad is None for p in other.parameters())


def test_the_average_follows_once_a_step_however_many_shares_it_has(tmp_path):
    consistency = stage(tmp_path, target_decay=0.75)
    before = [p.clone() for p in consistency.target.parameters()]
    with torch.no_grad():
        for weights in consistency.student.parameters():
            weights.add_(1.0)

    for number in range(3):
        consistency.batch(5, seeded(), Share(number, 3))

    for slow, old in zip(consistency.target.parameters(), before, strict=True):
        torch.testing.assert_close(slow, old + 0.25)


def test_a_resumed_run_ends_with_the_student_and_the_average_of_an_uninterrupted_one(tmp_path):
    config = loop("student", steps=2, checkpoint_every=1)
    whole, again = stage(tmp_path), stage(tmp_path)

    run = trained(whole, tmp_path / "run", config)
    shutil.rmtree(run.checkpoints / "step_000002")
    trained(again, tmp_path / "run", config)

    for name in ("student", "target"):
        one, other = (getattr(s, name).state_dict() for s in (whole, again))
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert run.latest()["kept"].keys() == {"target"}
    spec = load_bundle(run.folder).spec
    assert spec.is_student and spec.sigmas == SIGMAS and spec.layout == LONG


def test_a_teacher_that_is_not_causal_or_has_other_chunks_is_refused(tmp_path):
    with pytest.raises(UserError, match="'random' is bidirectional"):
        stage(tmp_path, teacher=inputs()["teacher"])
    with pytest.raises(UserError, match="'random' has other chunks"):
        stage(tmp_path, layout=replace(LONG, frames_per_chunk=4))
    blind = random_student()
    blind.denoiser = None
    with pytest.raises(UserError, match=r"consistency needs .inputs. teacher"):
        stage(tmp_path, teacher=blind)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"sigmas": ()}, "needs at least one noise level"),
        ({"target_decay": 1.0}, r"target_decay is 1\.0"),
        ({"frames": 5}, "5 latent frames do not fill chunks of 2"),
        ({"grid_steps": 0}, "needs at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        stage(tmp_path, **changes)
