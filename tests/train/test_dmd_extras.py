"""What may be added to distribution matching: other sizes, adapters, an anchor, captions, simulated clips."""

from dataclasses import replace

import pytest
import torch
from random_model import LAYOUT, SIGMAS, SPEC, filled, random_student, random_teacher
from tiny_training import encoded_clips, inputs, seeded, solved_trajectories

from causvid.errors import UserError
from causvid.train.dmd import Dmd
from causvid.train.dmd_config import DmdConfig
from causvid.train.ode_init import OdeInit, OdeInitConfig

SMALL = replace(SPEC.transformer, width=32, layers=1, ffn=48)


def stage(folder, *, bundles=None, **changes):
    standard = {"batch": 2, "frames": 4, "sigmas": SIGMAS, "layout": LAYOUT, "critic_steps": 2}
    return Dmd(DmdConfig(**{**standard, **changes}), bundles or inputs(), folder=folder)


def loss(dmd, role, *, seed=0):
    return dmd.loss(role, dmd.batch(0, seeded(seed)), seeded(seed))


def test_teacher_critic_and_student_may_each_have_a_size_of_their_own(tmp_path):
    middle = replace(SPEC.transformer, width=40, ffn=64)
    bundles = inputs(
        student=random_student(transformer=SMALL), critic=filled(replace(SPEC, transformer=middle))
    )
    dmd = stage(tmp_path, bundles=bundles)

    for role in ("student", "critic"):
        loss(dmd, role).value.backward()
        assert all(p.grad is not None for p in dmd.trainable[role].parameters())

    assert dmd.teacher.transformer.config.width == 48 and dmd.critic.transformer.config == middle
    assert dmd.export({}).spec.transformer == SMALL


def test_a_smaller_student_can_regress_on_a_larger_teachers_trajectories(tmp_path):
    solved_trajectories(tmp_path / "trajectories", samples=2)
    small = OdeInit(
        OdeInitConfig(batch=2, layout=LAYOUT),
        inputs(student=random_student(transformer=SMALL)),
        folder=tmp_path,
    )

    small.loss("student", small.batch(0, seeded()), seeded()).value.backward()

    assert small.denoiser.transformer.config == SMALL
    assert all(p.grad is not None for p in small.denoiser.parameters())


def test_a_student_that_reads_other_latents_is_refused(tmp_path):
    other = filled(replace(SPEC, transformer=replace(SPEC.transformer, text_rows=8)))

    with pytest.raises(UserError, match="the critic 'random' has text_rows 8 and the teacher 'random' 6"):
        stage(tmp_path, bundles=inputs(critic=other))


def test_adapters_alone_are_trained_and_the_export_is_an_ordinary_model(tmp_path):
    pytest.importorskip("peft")
    from causvid.train.adapters import AdapterConfig

    dmd = stage(tmp_path, adapters=AdapterConfig(rank=2))
    before = random_teacher().denoiser.state_dict()

    loss(dmd, "student").value.backward()
    with torch.no_grad():
        for weights in dmd.student.parameters():
            if weights.grad is not None:
                weights.sub_(weights.grad)

    after = dmd.export({}).denoiser.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all(".weight" in name and name.startswith("transformer.layers.") for name in changed)


def test_an_anchor_adds_what_the_student_is_away_from_the_endpoints(tmp_path):
    solved_trajectories(tmp_path / "trajectories", samples=2)
    plain, anchored = stage(tmp_path), stage(tmp_path, extra={"regression": 0.25})

    assert anchored.batch(1, seeded()).anchor is None  # only the critic learns at this step
    alone, together = (loss(dmd, "student", seed=3) for dmd in (plain, anchored))
    away = together.metrics["regression"]

    assert away > 0 and "regression" not in alone.metrics
    torch.testing.assert_close(together.value, alone.value + 0.25 * away)
    torch.testing.assert_close(loss(anchored, "critic").value, loss(plain, "critic").value)


def test_simulated_clips_are_whole_and_only_their_last_pass_is_under_grad(tmp_path):
    dmd, seen = stage(tmp_path, student_input="simulated"), []

    def note(_, given, named):
        seen.append((torch.is_grad_enabled(), given[1].unique().tolist(), named["mask"]))

    dmd.student.transformer.register_forward_pre_hook(note, with_kwargs=True)
    batch = replace(dmd.batch(0, seeded()), exit_step=2)
    dmd.loss("student", batch, seeded()).value.backward()

    assert [tracked for tracked, _, _ in seen] == [False, False, True]
    assert [levels for _, levels, _ in seen] == [[sigma] for sigma in SIGMAS]
    assert all(torch.equal(mask, LAYOUT.mask(4)) for _, _, mask in seen)
    assert all(p.grad is not None for p in dmd.student.parameters())


def test_rollouts_may_follow_a_file_of_captions(tmp_path):
    (tmp_path / "captions.txt").write_text("a red ball\na blue box\n")
    dmd = stage(tmp_path, prompts="captions.txt", change_probability=1.0)

    batch = dmd.batch(0, seeded())

    assert {half for label in batch.clips.prompts.labels for half in label.split(" / ")} <= {
        "a red ball",
        "a blue box",
    }
    assert dmd.loss("student", batch, seeded()).value.isfinite()
    with pytest.raises(UserError, match="holds no encoded clips"):
        stage(tmp_path, prompts="nowhere")


def test_sigma_zero_may_be_left_out_of_noised_clips(tmp_path):
    encoded_clips(tmp_path / "latents", frames=4)
    dmd, seen = stage(tmp_path, student_input="data", clean_levels=False, batch=40), []
    dmd.student.transformer.register_forward_pre_hook(lambda _, given: seen.append(given[1]))

    loss(dmd, "critic")

    assert set(seen[0].unique().tolist()) == set(SIGMAS)


def test_an_extra_loss_nobody_knows_is_refused(tmp_path):
    with pytest.raises(UserError, match="names 'beauty'; accepted: regression"):
        stage(tmp_path, extra={"beauty": 1.0})
