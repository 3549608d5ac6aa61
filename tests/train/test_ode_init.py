"""ODE initialisation: a level for every chunk, clean chunks as context only, and the causal form."""

from dataclasses import replace

import pytest
import torch
from random_model import LAYOUT, SIGMAS
from tiny_training import LONG, causal_teacher, inputs, loop, seeded, solved_trajectories, trained

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.models.bundle import load_bundle
from causvid.train.ode_init import OdeInit, OdeInitConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ode")
    solved_trajectories(folder / "trajectories")
    solved_trajectories(folder / "causal", teacher=causal_teacher())
    return folder


def stage(folder, **changes):
    return OdeInit(OdeInitConfig(**{"batch": 4, "layout": LAYOUT, **changes}), inputs(), folder=folder)


def causal_stage(folder, **changes):
    config = OdeInitConfig(trajectories="causal", **{"batch": 4, "layout": LONG, **changes})
    return OdeInit(config, inputs(teacher=causal_teacher()), folder=folder)


class Watched:
    """What a loss asked of the transformer, and what it said."""

    def __init__(self, stage, batch, seed=0):
        def note(module, given, named, out):
            self.x_t, self.sigma, self.mask, self.velocity = given[0], given[1], named.get("mask"), out

        handle = stage.denoiser.transformer.register_forward_hook(note, with_kwargs=True)
        self.loss = stage.loss("student", batch, seeded(seed)).value
        handle.remove()


def test_every_chunk_has_one_level_of_its_own(folder):
    student = stage(folder, batch=300)

    sigma = Watched(student, student.batch(0, seeded())).sigma

    first, second = sigma[:, 0], sigma[:, 2]
    assert torch.equal(sigma[:, ::2], sigma[:, 1::2])
    assert set(sigma.unique().tolist()) == {*SIGMAS, 0.0}
    for level in (*SIGMAS, 0.0):
        assert 0.18 < (first == level).float().mean() < 0.32
        assert 0.13 < (second[first == level] == level).float().mean() < 0.37


def test_the_clean_level_can_be_left_out(folder):
    student = stage(folder, batch=100, clean_levels=False)

    assert set(Watched(student, student.batch(0, seeded())).sigma.unique().tolist()) == set(SIGMAS)


def test_a_chunk_at_a_level_is_the_stored_state_at_that_level(folder):
    student = stage(folder, batch=8)
    batch = student.batch(0, seeded())

    seen = Watched(student, batch)

    for sample in range(8):
        for frame in range(4):
            level = seen.sigma[sample, frame].item()
            stored = batch.x0 if level == 0 else batch.states[:, SIGMAS.index(level)]
            assert torch.equal(seen.x_t[sample, frame], stored[sample, frame])
    assert torch.equal(seen.mask, LAYOUT.mask(4))


def test_clean_chunks_are_context_and_not_counted(folder):
    student = stage(folder, batch=8)
    batch = student.batch(0, seeded())

    seen = Watched(student, batch)

    noisy = seen.sigma > 0
    x0 = seen.x_t - seen.sigma[..., None, None, None] * seen.velocity
    assert noisy.any() and not noisy.all()
    torch.testing.assert_close(seen.loss, (x0 - batch.x0)[noisy].square().mean())


def test_a_batch_of_clean_chunks_gives_a_loss_and_a_gradient_of_zero(folder):
    student = stage(folder, batch=1)
    batch = student.batch(0, seeded())
    seed = next(s for s in range(200) if (Watched(student, batch, s).sigma == 0).all())

    loss = student.loss("student", batch, seeded(seed)).value
    loss.backward()

    assert loss == 0
    assert all(p.grad is None or (p.grad == 0).all() for p in student.denoiser.parameters())


def test_under_a_causal_teacher_the_clip_has_one_level_and_a_clean_past(folder):
    student = causal_stage(folder, batch=30)
    batch = student.batch(0, seeded())

    seen = Watched(student, batch)

    clean, sigma = seen.sigma.chunk(2, dim=1)
    assert (clean == 0).all()
    assert torch.equal(sigma, sigma[:, :1].expand_as(sigma))
    assert set(sigma.unique().tolist()) == set(SIGMAS)
    assert torch.equal(seen.x_t[:, :4], batch.clean)
    assert torch.equal(seen.mask, LONG.teacher_forcing_mask(4))


@pytest.mark.parametrize("make", [stage, causal_stage])
def test_a_student_is_trained_and_exported(folder, tmp_path, make):
    run = trained(make(folder), tmp_path / "run", loop("student", steps=4, preview_every=4))

    spec = load_bundle(run.folder).spec
    assert spec.is_student and spec.sigmas == SIGMAS and spec.clip_frames == 4
    assert (run.previews / "step_000004.png").exists()


def test_how_the_student_samples_is_said_in_what_is_exported_and_changes_nothing_it_learns(folder):
    fresh, euler = (stage(folder, sampler=word) for word in ("fresh", "euler"))
    losses = [one.loss("student", one.batch(0, seeded()), seeded()).value for one in (fresh, euler)]

    assert losses[0] == losses[1]
    assert [one.export({}).spec.sampler for one in (fresh, euler)] == ["fresh", "euler"]
    assert not (fresh.preview(seeded()).clips == euler.preview(seeded()).clips).all()


def test_learning_makes_the_loss_smaller(folder):
    student = stage(folder, batch=4)
    optimizer = torch.optim.Adam(student.denoiser.parameters(), lr=3e-3)
    losses = []
    for step in range(30):
        losses.append(student.loss("student", student.batch(step, seeded(step)), seeded(step)).value)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()

    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_chunks_other_than_the_causal_teachers_are_refused(folder):
    with pytest.raises(UserError, match="the student's chunks differ from the causal teacher's"):
        causal_stage(folder, layout=ChunkLayout(frames_per_chunk=4))


def test_trajectories_that_are_not_finished_are_not_trained_on(tmp_path):
    config = solved_trajectories(tmp_path / "trajectories")
    toml = tmp_path / "trajectories" / "trajectories.toml"
    toml.write_text(toml.read_text().replace(f"samples = {config.samples}\n", "samples = 8\n"))

    with pytest.raises(UserError, match="holds 4 of 8"):
        stage(tmp_path)


def test_a_folder_without_trajectories_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"no index\.jsonl"):
        stage(tmp_path)


def test_a_teacher_without_a_transformer_is_refused(tmp_path):
    eyes = inputs()["teacher"]
    eyes.spec = replace(eyes.spec, transformer=None)

    with pytest.raises(UserError, match=r"needs .inputs. teacher, a model with a transformer"):
        OdeInit(OdeInitConfig(), {"teacher": eyes}, folder=tmp_path)
