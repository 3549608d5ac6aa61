"""Long-video samplers, on denoisers whose right answer is known: clean numbers from a Gaussian."""

from itertools import pairwise

import pytest
import torch
from random_model import random_teacher
from torch import nn

from causvid.errors import UserError
from causvid.generate.longer import (
    LONG_SAMPLERS,
    Asked,
    queue_levels,
    reschedule_noise,
    window_spans,
)
from causvid.generate.rollout import rollout
from causvid.models.denoiser import Denoiser
from causvid.nn.text import TextTokens

MEAN, STD = 1.5, 0.5
TEXT = TextTokens(torch.zeros(1, 2, 4), torch.tensor([2]))


class Gaussian(Denoiser):
    """x0 as expected from x where every clean number is drawn by itself; remembers what it was asked."""

    def __init__(self):
        nn.Module.__init__(self)
        self.levels, self.lengths = [], []

    def forward(self, x_t, sigma, text, **how):
        self.levels.append(sigma.clone())
        self.lengths.append(x_t.shape[1])
        s = sigma[..., None, None, None].to(x_t)
        gain = (1 - s) * STD**2 / ((1 - s) ** 2 * STD**2 + s**2)
        return MEAN + gain * (x_t - (1 - s) * MEAN)


def grid(steps):
    return tuple(1 - i / steps for i in range(steps))


def asked(*, steps=40, window=6, overlap=3, text=TEXT, seed=0, **changes):
    sources = [torch.Generator().manual_seed(seed)]
    return Asked(text=text, sigmas=grid(steps), window=window, overlap=overlap, sources=sources, **changes)


def noise(frames, *, shape=(4, 2, 2), seed=0):
    return torch.randn(1, frames, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", LONG_SAMPLERS)
@pytest.mark.parametrize("frames", [6, 7, 13])
def test_a_video_has_the_frames_it_was_asked_for_and_the_model_sees_no_more_than_a_window(name, frames):
    denoiser = Gaussian()

    made = LONG_SAMPLERS[name](denoiser, noise(frames), asked(steps=8))

    assert made.shape == (1, frames, 4, 2, 2) and made.isfinite().all()
    assert set(denoiser.lengths) == {6}


@pytest.mark.parametrize("name", LONG_SAMPLERS)
def test_where_frames_are_independent_every_sampler_solves_the_same_flow(name):
    start = noise(13)

    made = LONG_SAMPLERS[name](Gaussian(), start, asked(steps=24, overlap=2))

    if name == "rescheduled":
        start = reschedule_noise(start, window=6, stride=4, rng=[torch.Generator().manual_seed(0)])
    known = 6 if name == "diagonal" else 0  # the queue's first frames are noised anew
    torch.testing.assert_close(made[:, known:], (MEAN + STD * start)[:, known:], atol=0.12, rtol=0)


@pytest.mark.parametrize("name", LONG_SAMPLERS)
def test_one_window_is_the_plain_sampler_bit_for_bit(name):
    bundle = random_teacher()
    text, negative = bundle.text(["a red ball"]), bundle.text([""])
    start = noise(6, shape=(4, 4, 2))
    how = {"text": text, "negative": negative, "guidance": 2.0}

    plain = rollout(bundle.denoiser, start, layout=None, sigmas=grid(3), renoise="predicted", **how)
    made = LONG_SAMPLERS[name](bundle.denoiser, start, asked(steps=3, **how))

    assert torch.equal(made, plain)


@pytest.mark.parametrize("name", LONG_SAMPLERS)
def test_a_long_video_is_a_function_of_its_seeds_and_guidance_moves_it(name):
    bundle = random_teacher()
    text, negative = bundle.text(["a red ball"]), bundle.text([""])

    def make(*, seed=0, guidance=2.0):
        how = asked(steps=2, window=4, overlap=2, text=text, negative=negative, guidance=guidance, seed=seed)
        return LONG_SAMPLERS[name](bundle.denoiser, noise(5, shape=(4, 4, 2), seed=seed), how)

    made = make()
    assert torch.equal(make(), made)
    assert not torch.allclose(make(seed=1), made) and not torch.allclose(make(guidance=1.0), made)


def test_rescheduled_noise_is_the_first_windows_in_another_order_in_every_window():
    start = noise(20)

    again = reschedule_noise(start, window=6, stride=2, rng=[torch.Generator().manual_seed(0)])

    def frames(x):
        return sorted(float(one.sum()) for one in x[0])

    assert torch.equal(again[:, :6], start[:, :6])
    for first in range(0, 15, 2):
        assert frames(again[:, first : first + 6]) == frames(start[:, :6])
    assert not torch.equal(again[:, 6:12], start[:, :6])


def test_a_queue_rises_from_just_above_clean_to_pure_noise_and_a_frame_goes_through_all_of_it():
    denoiser = Gaussian()
    how = asked(steps=9, window=6, overlap=3)

    LONG_SAMPLERS["diagonal"](denoiser, noise(8), how)

    levels = queue_levels(how)
    assert levels[0] == 0 and levels[-1] == 1 and len(levels) == 10
    assert all(a < b for a, b in pairwise(levels))
    rows = denoiser.levels[9:]  # after the plain clip the queue begins with
    for windows in rows:
        # Three frames of context, then the three that move: together the whole queue, in order.
        torch.testing.assert_close(windows[:, 3:].flatten(), torch.tensor(levels[1:]))
        assert windows[0, :3].tolist() == [0, 0, 0]


def test_a_frame_of_the_queue_leaves_clean():
    """From the lowest level the last step goes to sigma 0, where x is the prediction itself."""
    seen = []

    class Remembering(Gaussian):
        def forward(self, x_t, sigma, text, **how):
            x0 = super().forward(x_t, sigma, text, **how)
            seen.append((sigma, x0))
            return x0

    made = LONG_SAMPLERS["diagonal"](Remembering(), noise(8), asked(steps=6, overlap=0))

    heads = [x0[:, :1] for sigma, x0 in seen[6:]]
    torch.testing.assert_close(torch.cat(heads, dim=1), made, atol=1e-6, rtol=0)


def test_the_next_window_of_a_sliding_one_keeps_the_frames_it_goes_on_from():
    start = noise(9)
    how = asked(steps=10)

    long, short = (LONG_SAMPLERS["sliding"](Gaussian(), start[:, :n], how) for n in (9, 6))

    torch.testing.assert_close(long[:, :6], short, atol=1e-6, rtol=0)


def test_windows_cover_every_frame_and_end_with_the_video():
    assert window_spans(5, window=6, overlap=3) == [range(5)]
    assert window_spans(10, window=6, overlap=3) == [range(6), range(3, 9), range(4, 10)]
    assert window_spans(12, window=6, overlap=0) == [range(6), range(6, 12)]
    with pytest.raises(UserError, match="can overlap by 0 to 5, not 6"):
        window_spans(12, window=6, overlap=6)
