"""Long tuning: a video that goes on, of which only what is new is judged and learnt from."""

import shutil
from dataclasses import replace

import pytest
import torch
from random_model import LAYOUT, SIGMAS, random_student
from tiny_training import inputs, loop, seeded, trained
from tiny_wan import AUTOENCODER, random_weights

from causvid.errors import UserError
from causvid.generate.rollout import rollout
from causvid.models.vae_wan import WanVAE
from causvid.nn.text import TextTokens
from causvid.train.dmd import Dmd
from causvid.train.dmd_config import DmdConfig
from causvid.train.long_video import LongConfig, LongVideo, at_starts, bridge

LONG = LongConfig(video_frames=10, overlap_frames=2)
"""Clips of four latent frames: stretches of 4, 2, 2 and 2."""


def text_of(bundle, parts=None):
    both = bundle.text(["a red ball", "it snows"])
    if parts is None:
        return TextTokens(both.tokens[:1], both.lengths[:1])
    return TextTokens(both.tokens[None], both.lengths[None], torch.tensor([parts]))


def video(bundle, *, text=None, **changes):
    config = replace(LONG, **changes)
    text = text_of(bundle) if text is None else text
    return LongVideo(text, bundle.spec.layout, layers=2, config=config, frames=4)


def stretches(bundle, going, *, grad_at=None, lengths=(4, 2, 2, 2), lasting=True):
    noise, rng, made = torch.randn(1, 10, 4, 4, 2, generator=seeded(3)), seeded(4), []
    for length in lengths:
        start = going.frames
        part = noise[:, start : start + length]
        how = {"sigmas": SIGMAS, "rng": rng, "grad_at": grad_at, "lasting": lasting}
        made.append(going.go_on(bundle.denoiser, part, bundle.vae, **how))
    return made, noise


def test_stretches_are_one_rollout_in_pieces_and_each_is_judged_with_what_came_before():
    bundle = random_student()
    with torch.no_grad():
        going = video(bundle)
        made, noise = stretches(bundle, going)
        whole = rollout(bundle.denoiser, noise, text_of(bundle), layout=LAYOUT, sigmas=SIGMAS, rng=seeded(4))

    torch.testing.assert_close(going.latents, whole, atol=1e-5, rtol=1e-5)
    assert [stretch.given for stretch in made] == [0, 2, 2, 2]
    assert [stretch.clip.shape[1] for stretch in made] == [4, 4, 4, 4]
    assert torch.equal(made[2].clip, going.latents[:, 4:8])


def test_only_the_critics_stretch_lasts():
    bundle = random_student()
    with torch.no_grad():
        going = video(bundle)
        stretches(bundle, going, lengths=(4,))
        before = going.latents
        (tried,), _ = stretches(bundle, going, lengths=(2,), lasting=False)
        (kept,), _ = stretches(bundle, going, lengths=(2,))

    assert torch.equal(tried.clip, kept.clip)
    assert going.frames == 6 and torch.equal(going.latents[:, :4], before)


def test_what_was_there_before_has_no_gradient():
    bundle = random_student()
    bundle.denoiser.requires_grad_(True)
    going = video(bundle)
    made, _ = stretches(bundle, going, grad_at=1, lengths=(4, 2))

    (old, new) = made[1].clip.split([2, 2], dim=1)
    assert not going.latents.requires_grad and not going.clip.requires_grad
    assert not any(p.grad is not None for p in bundle.denoiser.parameters())
    (reached,) = torch.autograd.grad(new.sum(), bundle.denoiser.transformer.out.weight, retain_graph=True)
    assert reached.abs().sum() > 0
    (none,) = torch.autograd.grad(old.sum(), bundle.denoiser.transformer.out.weight, allow_unused=True)
    assert none is None or (none == 0).all()


def test_a_past_outlives_the_weights_but_nothing_else_that_was_made_of_them_does():
    bundle = random_student()
    with torch.no_grad():
        going, fresh = video(bundle), video(bundle)
        stretches(bundle, going, lengths=(4,))
        stretches(bundle, fresh, lengths=(4,))
        for name, weights in bundle.denoiser.named_parameters():
            if ".text." in name or "time" in name:
                weights.mul_(1.5)
        fresh.cache._text = None  # what a cache that was never asked for this text knows
        fresh.cache._levels, fresh.cache._rings = type(going.cache._levels)(16), going.cache.snapshot()._rings
        for ring in fresh.cache._rings:
            ring.recurring = type(ring.recurring)(16)
        (one,), _ = stretches(bundle, going, lengths=(2,))
        (other,), _ = stretches(bundle, fresh, lengths=(2,))

    assert torch.equal(one.clip, other.clip)


def test_prompts_change_where_stretches_begin_if_the_past_is_read_again():
    bundle = random_student()
    text = text_of(bundle, [0, 0, 0, 1, 1, 1, 1, 1, 1, 1])

    assert at_starts(text, [0, 4, 6, 8]).parts.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]]
    assert at_starts(text, [0]).parts.tolist() == [[0] * 10]


@pytest.mark.parametrize("same", [True, False])
def test_reading_the_past_again_under_the_same_text_changes_nothing(same):
    """While no frame has been forgotten: the window is six frames."""
    bundle = random_student()
    text = text_of(bundle, [0] * 4 + [1] * 6)
    if same:
        text = replace(text, tokens=text.tokens[:, :1].expand(-1, 2, -1, -1))
    with torch.no_grad():
        clips = []
        for switch in ("soft", "recache"):
            made, _ = stretches(bundle, video(bundle, text=text, switch=switch), lengths=(4, 2))
            clips.append(made[1].clip)

    torch.testing.assert_close(clips[0][:, :2], clips[1][:, :2])
    assert torch.allclose(*clips, atol=1e-5) == same


def test_reading_again_after_frames_were_forgotten_keeps_what_the_window_shows():
    bundle = random_student()
    text = text_of(bundle, [0] * 8 + [1] * 2)
    with torch.no_grad():
        going = video(bundle, text=text)
        made, _ = stretches(bundle, going)

    assert going.frames == going.cache.frames == 10
    assert made[-1].text.parts.tolist() == [[0, 0, 1, 1]]


def test_a_clip_begins_with_the_picture_before_where_a_first_latent_is_one():
    vae = random_weights(lambda: WanVAE(AUTOENCODER)).double()
    clip = torch.randn(1, 5, 16, 2, 2, generator=seeded(), dtype=torch.float64)

    beginning = bridge(vae, clip, 3)

    shown = vae.decode(clip)[:, -(4 * (3 - 1) + 1)]
    torch.testing.assert_close(beginning[:, :1], vae.encode(shown[:, None]), atol=1e-6, rtol=0)
    assert torch.equal(beginning[:, 1:], clip[:, -2:])
    assert torch.equal(bridge(random_student().vae, clip.float(), 3), clip.float()[:, -3:])


def stage(folder, **changes):
    standard = {"batch": 1, "frames": 4, "sigmas": SIGMAS, "layout": LAYOUT, "critic_steps": 2}
    standard |= {"student_input": "long", "long": LONG}
    return Dmd(DmdConfig(**{**standard, **changes}), inputs(), folder=folder)


def test_a_video_lasts_as_many_steps_as_fit_and_may_be_left_only_at_its_end(tmp_path):
    dmd = stage(tmp_path)

    lengths = []
    for step in range(5):
        batch = dmd.batch(step, seeded(step))
        for role in dmd.roles(step):
            dmd.loss(role, batch, seeded(step))
        lengths.append(batch.video.frames)

    assert lengths == [4, 6, 8, 10, 4]
    assert [step for step in range(9) if dmd.at_rest(step)] == [0, 4, 8]


def test_a_run_that_died_inside_a_video_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    long = replace(LONG, video_frames=6)
    config = loop("student", steps=3, checkpoint_every=1)
    config = replace(config, optimizers=dict.fromkeys(("student", "critic"), config.optimizers["student"]))
    whole = stage(tmp_path, long=long)
    run = trained(whole, tmp_path / "run", config)
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["step_000002", "step_000003"]

    shutil.rmtree(run.checkpoints / "step_000003")
    again = stage(tmp_path, long=long)
    trained(again, tmp_path / "run", config)

    one, other = whole.student.state_dict(), again.student.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"long": None}, r"student_input 'long', and that needs it"),
        ({"student_input": "rollout"}, r"\[dmd.long\] goes with student_input 'long'"),
        ({"long": replace(LONG, overlap_frames=1)}, "leave 3 new ones; those must be whole chunks of 2"),
        ({"long": replace(LONG, video_frames=3)}, "video_frames is 3; it must be at least dmd.frames = 4"),
    ],
)
def test_videos_that_cannot_go_on_are_refused(tmp_path, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        stage(tmp_path, **changes)
