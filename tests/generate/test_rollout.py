"""The one chunk loop: a sampler, a training rollout, a bidirectional solver."""

import pytest
import torch
from random_model import LAYOUT, SIGMAS, random_student, random_teacher

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.rollout import Condition, commit_chunk, denoise_chunk, fresh_noise, rollout
from causvid.nn.cache import KVCache


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def noise_of(frames, batch=1):
    return torch.randn(batch, frames, 4, 4, 2, generator=seeded(3))


def roll(bundle, noise, prompts=("a red ball",), **how):
    how = {"layout": LAYOUT, "sigmas": SIGMAS, "rng": seeded(), **how}
    return rollout(bundle.denoiser, noise, bundle.text(list(prompts)), **how)


def test_leaving_at_the_last_step_is_the_sampler_bit_for_bit():
    bundle, noise = random_student(), noise_of(6)
    sampled = roll(bundle, noise)

    bundle.denoiser.requires_grad_(True)
    left = roll(bundle, noise, grad_at=len(SIGMAS) - 1)

    assert left.requires_grad
    assert torch.equal(left, sampled)


def test_leaving_at_the_first_step_is_one_prediction():
    bundle, noise = random_student(), noise_of(2)

    left = roll(bundle, noise, grad_at=0)

    assert torch.equal(left, roll(bundle, noise, sigmas=SIGMAS[:1]))


def test_a_chunk_has_no_gradient_into_earlier_ones():
    bundle, noise = random_student(), noise_of(6).requires_grad_()

    clip = roll(bundle, noise, grad_at=0)
    clip[:, 4:].sum().backward()

    assert noise.grad[:, :4].abs().max() == 0
    assert noise.grad[:, 4:].abs().max() > 0


def test_later_noise_changes_nothing_that_was_shown():
    bundle, noise = random_student(), noise_of(6)
    other = noise.clone()
    other[:, 4:] += 1

    before, after = roll(bundle, noise), roll(bundle, other)

    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:], after[:, 4:])


def test_without_a_layout_every_frame_depends_on_the_last_one():
    bundle, noise = random_teacher(), noise_of(6)
    other = noise.clone()
    other[:, 5:] += 1
    how = {"layout": None, "sigmas": (1.0, 0.5), "renoise": "predicted"}

    assert not torch.equal(roll(bundle, noise, **how)[:, 0], roll(bundle, other, **how)[:, 0])


def test_left_over_frames_are_an_error():
    with pytest.raises(UserError, match="do not fill chunks of 2"):
        roll(random_student(), noise_of(5))


def test_a_batch_of_three_is_three_times_one():
    bundle, noise = random_student(), noise_of(4, batch=3)
    prompts = ["a red ball", "a blue box", "it snows"]

    together = roll(bundle, noise, prompts, sigmas=(1.0,))
    alone = [roll(bundle, noise[i : i + 1], prompts[i : i + 1], sigmas=(1.0,)) for i in range(3)]

    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_euler_with_one_step_from_pure_noise_is_the_prediction_itself():
    bundle, noise = random_teacher(), noise_of(6)

    euler = roll(bundle, noise, layout=None, sigmas=(1.0,), renoise="predicted")
    fresh = roll(bundle, noise, layout=None, sigmas=(1.0,), renoise="fresh")

    assert torch.equal(euler, fresh)


def test_guidance_of_one_is_no_guidance():
    bundle, noise = random_student(), noise_of(4)
    negative = bundle.text(["a blue box"])

    assert torch.equal(roll(bundle, noise, negative=negative, guidance=1.0), roll(bundle, noise))
    assert not torch.equal(roll(bundle, noise, negative=negative, guidance=2.0), roll(bundle, noise))


def test_two_prompt_parts_are_two_texts_used_in_turn():
    bundle, noise = random_student(), noise_of(4)
    first, second = bundle.text(["a red ball"]), bundle.text(["it snows"])
    cache = KVCache(LAYOUT, layers=2)
    rng, clip = seeded(), []
    for text, part in ((first, noise[:, :2]), (second, noise[:, 2:])):
        condition = Condition(text, cache)
        x0 = denoise_chunk(bundle.denoiser, part, condition, SIGMAS, rng=rng)
        commit_chunk(bundle.denoiser, x0, condition)
        clip.append(x0)

    both = torch.stack([first.tokens, second.tokens], 1)
    parts = torch.tensor([[0, 0, 1, 1]])
    text = type(first)(both, torch.stack([first.lengths, second.lengths], 1), parts)
    rolled = rollout(bundle.denoiser, noise, text, layout=LAYOUT, sigmas=SIGMAS, rng=seeded())

    torch.testing.assert_close(rolled, torch.cat(clip, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", [LAYOUT, ChunkLayout(frames_per_chunk=2, first_chunk_frames=1)])
def test_the_past_is_only_read_while_a_chunk_is_denoised(layout):
    bundle, text = random_student(), random_student().text(["a red ball"])
    cache = KVCache(layout, layers=2)
    condition = Condition(text, cache)
    commit_chunk(bundle.denoiser, noise_of(layout.first), condition)
    used = layout.first * 2  # tokens
    before = [cache._rings[i].keys[:, :used].clone() for i in range(2)]

    for seed in (1, 2):
        denoise_chunk(bundle.denoiser, noise_of(2), condition, SIGMAS, rng=seeded(seed))

    assert cache.frames == layout.first
    assert all(torch.equal(cache._rings[i].keys[:, :used], before[i]) for i in range(2))


def test_with_a_source_for_each_sample_none_depends_on_its_neighbours():
    bundle, prompts = random_student(), ["a red ball", "a blue box", "a ball"]

    def make(rows):
        sources = [seeded(row) for row in rows]
        noise = fresh_noise(torch.empty(len(rows), 4, 4, 4, 2), sources)
        return roll(bundle, noise, [prompts[row] for row in rows], rng=sources)

    assert torch.allclose(make([0, 1, 2])[[2]], make([2]), atol=1e-4)
