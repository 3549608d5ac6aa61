"""Asymmetric DMD: who learns from what, and where gradients end."""

import copy
from dataclasses import replace

import pytest
import torch
from random_model import LAYOUT, SIGMAS, random_student
from tiny_training import LONG, causal_teacher, encoded_clips, inputs, loop, seeded, trained

from causvid.errors import UserError
from causvid.generate.rollout import Condition, commit_chunk, denoise_chunk, rollout
from causvid.models.bundle import load_bundle
from causvid.nn.cache import KVCache
from causvid.train.dmd import Dmd
from causvid.train.dmd_config import DmdConfig

WINDOWED = replace(LAYOUT, window_frames=4, sink_frames=2)
"""Of five chunks, the fourth has forgotten frames."""


def stage(folder, *, bundles=None, **changes):
    if changes.get("student_input") == "data" and not (folder / "latents").exists():
        encoded_clips(folder / "latents", frames=4)
    standard = {"batch": 2, "frames": 4, "sigmas": SIGMAS, "layout": LAYOUT, "critic_steps": 2}
    return Dmd(DmdConfig(**{**standard, **changes}), bundles or inputs(), folder=folder)


def of_kind(folder, teacher, **changes):
    bundles = inputs(teacher=causal_teacher()) if teacher == "causal" else inputs()
    return stage(folder, bundles=bundles, teacher=teacher, **changes)


def loss(stage, role, *, step=0, seed=0):
    return stage.loss(role, stage.batch(step, seeded(seed)), seeded(seed))


def gradients(module):
    return [p.grad for p in module.parameters() if p.grad is not None]


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a, b):
    return all(torch.equal(value, b[name]) for name, value in a.items())


def test_in_ten_iterations_the_student_learns_twice_and_the_critic_ten_times(tmp_path):
    stages = stage(tmp_path, critic_steps=5)
    roles = [role for step in range(10) for role in stages.roles(step)]

    assert roles.count("student") == 2 and roles.count("critic") == 10
    assert stages.roles(0) == ("student", "critic")


def test_the_student_waits_until_the_critic_is_warm(tmp_path):
    stages = stage(tmp_path, critic_steps=5, critic_warmup=3)

    assert [step for step in range(15) if "student" in stages.roles(step)] == [3, 8, 13]


@pytest.mark.parametrize("teacher", ["bidirectional", "causal"])
@pytest.mark.parametrize("student_input", ["data", "rollout"])
def test_the_students_loss_reaches_the_student_alone_and_the_critics_the_critic(
    tmp_path, teacher, student_input
):
    dmd = of_kind(tmp_path, teacher, student_input=student_input)

    loss(dmd, "student").value.backward()
    assert gradients(dmd.student)
    assert not gradients(dmd.critic) and not gradients(dmd.teacher) and not gradients(dmd.parts.text)

    for p in dmd.student.parameters():
        p.grad = None
    loss(dmd, "critic").value.backward()
    assert gradients(dmd.critic)
    assert not gradients(dmd.student) and not gradients(dmd.teacher) and not gradients(dmd.parts.text)


@pytest.mark.parametrize("teacher", ["bidirectional", "causal"])
@pytest.mark.parametrize("student_input", ["data", "rollout"])
def test_every_combination_is_trained_and_exported_and_leaves_its_teacher_alone(
    tmp_path, teacher, student_input
):
    dmd = of_kind(tmp_path, teacher, student_input=student_input)
    before = {part: weights(getattr(dmd, part)) for part in ("teacher", "student", "critic")}
    config = loop("student", steps=3, preview_every=3)
    config = replace(config, optimizers=dict.fromkeys(("student", "critic"), config.optimizers["student"]))

    run = trained(dmd, tmp_path / "run", config)

    assert same(weights(dmd.teacher), before["teacher"])
    assert not same(weights(dmd.student), before["student"])
    assert not same(weights(dmd.critic), before["critic"])
    updates = {role: state["updates"] for role, state in run.latest()["optimizers"].items()}
    assert updates == {"student": 2, "critic": 3}
    spec = load_bundle(run.folder).spec
    assert spec.is_student and spec.schedule == random_student().spec.schedule
    assert (run.previews / "step_000003.png").exists()


def test_there_is_nothing_to_learn_while_the_critic_is_the_teacher_and_guidance_is_off(tmp_path):
    plain, guided = stage(tmp_path, guidance=1.0), stage(tmp_path, guidance=2.0)

    assert loss(plain, "student").metrics["pull"] == 0
    assert loss(guided, "student").metrics["pull"] > 0


def test_the_critics_loss_is_flow_matching_on_what_the_student_made(tmp_path):
    dmd, seen = stage(tmp_path), []
    dmd.critic.transformer.register_forward_hook(lambda _, given, out: seen.append((*given[:2], out)))

    value = loss(dmd, "critic").value

    (z, sigma, velocity), rng = seen[0], seeded()
    with torch.no_grad():
        x0 = dmd.student_clip("critic", dmd.batch(0, seeded()), rng).clip
    noise = (z - (1 - sigma[..., None, None, None]) * x0) / sigma[..., None, None, None]
    torch.testing.assert_close(value, (velocity - (noise - x0)).square().mean(), atol=1e-3, rtol=1e-3)


def test_all_frames_of_a_clip_are_judged_at_one_level(tmp_path):
    dmd, seen = stage(tmp_path, batch=16), []
    dmd.critic.transformer.register_forward_pre_hook(lambda _, given: seen.append(given[1]))

    loss(dmd, "critic")

    assert (seen[0] == seen[0][:, :1]).all()
    assert len(seen[0][:, 0].unique()) > 8


def test_all_ranks_leave_at_the_same_step_and_draw_clips_of_their_own(tmp_path):
    dmd = stage(tmp_path, past_frames=4)
    one, other = ([dmd.batch(step, seeded(rank)) for step in range(40)] for rank in (0, 1))

    assert [b.exit_step for b in one] == [b.exit_step for b in other]
    assert [b.past for b in one] == [b.past for b in other]
    assert {b.exit_step for b in one} == {0, 1, 2} and {b.past for b in one} == {0, 2, 4}
    assert [b.clips.prompts.first for b in one] != [b.clips.prompts.first for b in other]


@pytest.mark.parametrize("step", range(4))
def test_each_judged_chunk_has_one_pass_under_grad(tmp_path, step):
    dmd, tracked = stage(tmp_path, past_frames=4), []
    dmd.student.transformer.register_forward_pre_hook(lambda *_: tracked.append(torch.is_grad_enabled()))
    batch = dmd.batch(step, seeded())

    dmd.loss("student", batch, seeded())

    past, judged, passes = batch.past // 2, 2, len(SIGMAS) + 1
    assert sum(tracked) == judged
    assert len(tracked) == past * passes + judged * (batch.exit_step + 2)


def test_a_student_learns_with_the_sampler_its_export_names(tmp_path):
    for sampler, renoise in (("fresh", "fresh"), ("euler", "predicted")):
        dmd = stage(tmp_path, sampler=sampler)
        batch = replace(dmd.batch(0, seeded()), exit_step=len(SIGMAS) - 1, past=0)

        with torch.no_grad():
            made = dmd.student_clip("critic", batch, seeded(1)).clip
            rng = seeded(1)
            noise = dmd.parts.noise(2, 4, rng)
            how = {"layout": LAYOUT, "sigmas": SIGMAS, "rng": rng, "renoise": renoise}
            expected = rollout(dmd.student, noise, dmd.parts.read(batch.clips.prompts), **how)

        assert torch.equal(made, expected)
        assert dmd.export({}).spec.sampler_word == sampler


def test_an_export_may_be_part_of_the_way_from_what_the_student_began_with(tmp_path):
    began, whole, half = (stage(tmp_path, trained_share=share) for share in (1.0, 1.0, 0.5))
    start = weights(began.export({}).denoiser)
    for dmd in (whole, half):
        with torch.no_grad():
            for p in dmd.student.parameters():
                p.add_(0.5)

    made = weights(half.export({}).denoiser)

    for name, end in weights(whole.export({}).denoiser).items():
        torch.testing.assert_close(made[name], (start[name] + end) / 2)
    with pytest.raises(UserError, match=r"dmd\.trained_share is 0\.0; it must be above 0"):
        stage(tmp_path, trained_share=0.0)


def test_a_real_clip_is_noised_chunk_by_chunk_and_seen_in_one_masked_pass(tmp_path):
    dmd, seen = stage(tmp_path, student_input="data", batch=200), []

    def note(_, given, named):
        seen.append((given[1], named["mask"]))

    dmd.student.transformer.register_forward_pre_hook(note, with_kwargs=True)
    loss(dmd, "student")

    ((sigma, mask),) = seen
    assert torch.equal(sigma[:, ::2], sigma[:, 1::2])
    assert set(sigma.unique().tolist()) == {*SIGMAS, 0.0}
    assert 0.18 < (sigma[:, 0] == 0).float().mean() < 0.32
    assert torch.equal(mask, LAYOUT.mask(4))


def last_chunk_alone(bundle, noise, text, *, exit_step):
    """The last chunk of a rollout computed by itself, behind a past that has never known a gradient."""
    condition = Condition(text, KVCache(WINDOWED, layers=2))
    *before, last = WINDOWED.spans(noise.shape[1])
    rng = seeded()
    for span in before:
        with torch.no_grad():
            part = noise[:, span.start : span.stop]
            x0 = denoise_chunk(bundle.denoiser, part, condition, SIGMAS, rng=rng, grad_at=exit_step)
        commit_chunk(bundle.denoiser, x0, condition)
    part = noise[:, last.start : last.stop]
    return denoise_chunk(bundle.denoiser, part, condition, SIGMAS, rng=rng, grad_at=exit_step)


def trainable(*, checkpointing=False):
    bundle = random_student(layout=WINDOWED)
    bundle.denoiser.double().requires_grad_(True)
    bundle.denoiser.transformer.activation_checkpointing(checkpointing)
    text = bundle.text(["a red ball"])
    return bundle, replace(text, tokens=text.tokens.double())


def long_noise():
    return torch.randn(1, 10, 4, 4, 2, generator=seeded(4), dtype=torch.float64)


def roll(bundle, noise, text, *, exit_step):
    how = {"layout": WINDOWED, "sigmas": SIGMAS, "rng": seeded(), "grad_at": exit_step}
    return rollout(bundle.denoiser, noise, text, **how)


def test_a_chunks_loss_reaches_nothing_in_earlier_chunks_also_after_frames_are_forgotten():
    bundle, text = trainable()
    noise = long_noise().requires_grad_(True)
    clip = roll(bundle, noise, text, exit_step=0)

    for span in WINDOWED.spans(10):
        (reached,) = torch.autograd.grad(
            clip[:, span.start : span.stop].square().sum(), noise, retain_graph=True
        )
        frames = reached.abs().amax(dim=(0, 2, 3, 4)) > 0
        assert frames.tolist() == [number in span for number in range(10)]


@pytest.mark.parametrize("exit_step", [0, 2])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_chunks_gradient_is_that_of_the_chunk_alone_behind_a_fixed_past(exit_step, checkpointing):
    bundle, text = trainable(checkpointing=checkpointing)
    reference, _ = trainable()

    roll(bundle, long_noise(), text, exit_step=exit_step)[:, 8:].square().sum().backward()
    last_chunk_alone(reference, long_noise(), text, exit_step=exit_step).square().sum().backward()

    assert gradients(bundle.denoiser)
    for mine, theirs in zip(gradients(bundle.denoiser), gradients(reference.denoiser), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize("student_input", ["data", "rollout"])
def test_activation_checkpointing_changes_no_gradient(tmp_path, student_input):
    """Compared in float64; the clip is longer than the student's window."""
    if student_input == "data":
        encoded_clips(tmp_path / "latents", frames=8)
    found = []
    for on in (False, True):
        dmd = stage(tmp_path, student_input=student_input, frames=8, layout=replace(LONG, window_frames=4))
        for part in (dmd.student, dmd.critic, dmd.teacher):
            part.double()
        dmd.student.transformer.activation_checkpointing(on)
        loss(dmd, "student").value.backward()
        found.append(gradients(dmd.student))

    assert found[0] and len(found[0]) == len(found[1])
    for plain, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(plain, recomputed, atol=1e-10, rtol=0)


def test_a_loss_is_a_function_of_its_random_source(tmp_path):
    dmd = stage(tmp_path)

    assert torch.equal(loss(dmd, "student").value, loss(dmd, "student").value)
    assert not torch.equal(loss(dmd, "student").value, loss(dmd, "student", seed=1).value)


def test_student_and_critic_are_copies_and_not_the_teacher_itself(tmp_path):
    bundles = inputs()
    dmd = stage(tmp_path, bundles=bundles)
    kept = copy.deepcopy(weights(bundles["teacher"].denoiser))
    for part in (dmd.student, dmd.critic):
        assert same(weights(part), kept)
        torch.nn.init.zeros_(part.transformer.out.bias)

    assert same(weights(bundles["teacher"].denoiser), kept)


@pytest.mark.parametrize(("asked", "given"), [("causal", "bidirectional"), ("bidirectional", "causal")])
def test_a_teacher_of_the_other_kind_is_refused(tmp_path, asked, given):
    bundles = inputs(teacher=causal_teacher()) if given == "causal" else inputs()

    with pytest.raises(UserError, match=f"teacher is '{asked}', but .* names a {given} model"):
        stage(tmp_path, bundles=bundles, teacher=asked)


def test_dmd_without_a_teacher_or_without_clips_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"DMD needs .inputs. teacher"):
        stage(tmp_path, bundles={"student": random_student()})
    with pytest.raises(UserError, match="holds no encoded clips"):
        Dmd(DmdConfig(sigmas=SIGMAS, student_input="data"), inputs(), folder=tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"sigmas": ()}, "needs at least one noise level"),
        ({"sigmas": (0.5, 1.0)}, "they must fall"),
        ({"frames": 5}, "5 latent frames do not fill chunks of 2"),
        ({"critic_steps": 0}, "critic_steps must be at least 1"),
        ({"past_frames": 3}, "past_frames is 3; it must be whole chunks of 2"),
        (
            {"past_frames": 2, "frames": 5, "layout": replace(LONG, first_chunk_frames=1)},
            "as long as the others",
        ),
    ],
)
def test_settings_that_could_not_be_exported_are_refused_before_training(tmp_path, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        stage(tmp_path, **changes)
