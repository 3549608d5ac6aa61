"""Long videos from a bidirectional model that knows short ones, without training.

The samplers others proposed for this, in flow-matching form and for any `Denoiser`: what
a chunked student is compared with.

    blended        windows with overlap, averaged at every step      Gen-L-Video, arXiv:2305.18264
    rescheduled    the same, from the first window's noise in        FreeNoise, arXiv:2310.15169
                   another order, and centred weights
    diagonal       a queue of frames at rising noise levels          FIFO-Diffusion, arXiv:2405.11473
    sliding        the next window goes on from the last one's end   CausVid, arXiv:2412.07772, figure 8

The first, second and fourth are the one loop of `generate/rollout.py` with a denoiser that
looks through windows; only the third needs a loop of its own, because its frames are at
different levels. All need the levels and the guidance of the model's own sampler. A prompt
holds for the whole video.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from causvid.errors import UserError
from causvid.flow.schedule import add_noise, noise_from_x0
from causvid.generate.rollout import Condition, Source, denoise_chunk, fresh_noise
from causvid.models.denoiser import Denoiser
from causvid.nn.text import TextTokens
from causvid.types import Latents, Sigma

Weighting = Literal["even", "centred"]
"""Of overlapping windows: a plain mean, or falling from each window's middle to its ends."""
LongSampler = Callable[[Denoiser, Latents, "Asked"], Latents]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What all these samplers are asked with."""

    text: TextTokens
    negative: TextTokens | None = None
    guidance: float = 1.0
    sigmas: tuple[float, ...]
    """Falling from 1, without a final 0; a queue uses their number."""
    window: int
    """Latent frames the model knows."""
    overlap: int
    """Latent frames two windows share; of a queue, those it looks back on."""
    sources: Source = None
    """Of noise beyond what is given, and of its order."""

    def condition(self) -> Condition:
        return Condition(self.text, negative=self.negative, guidance=self.guidance)


def window_spans(frames: int, *, window: int, overlap: int) -> list[range]:
    """Windows that cover a video, the last one flush with its end; one where the video is no longer.

    Raises:
        UserError: windows would not move on.
    """
    if not 0 <= overlap < window:
        raise UserError(f"windows of {window} latent frames can overlap by 0 to {window - 1}, not {overlap}.")
    if frames <= window:
        return [range(frames)]
    starts = [*range(0, frames - window, window - overlap), frames - window]
    return [range(start, start + window) for start in starts]


class Windowed(Denoiser):
    """A denoiser that looks at a long video through windows and averages what it sees.

    Every frame's x0 is the weighted mean over the windows it is in. A single window gives the inner
    denoiser's own prediction, bit for bit.

    Source: Gen-L-Video, arXiv:2305.18264, equation 10: the least-squares joint of the windows' steps.
    The "centred" weights are those FreeNoise fuses temporal attention with (arXiv:2310.15169, section 3.3);
    here whole predictions are fused, since a network with joint space-time attention has no temporal layers.
    """

    def __init__(self, inner: Denoiser, *, window: int, overlap: int, weighting: Weighting) -> None:
        nn.Module.__init__(self)
        self.inner, self.window, self.overlap, self.weighting = inner, window, overlap, weighting

    def forward(self, x_t: Latents, sigma: Sigma, text: TextTokens, **how: Any) -> Latents:
        spans = window_spans(x_t.shape[1], window=self.window, overlap=self.overlap)
        if len(spans) == 1:
            return self.inner(x_t, sigma, text, **how)
        total, weights = torch.zeros_like(x_t), torch.zeros_like(x_t[:1, :, :1, :1, :1])
        weight = window_weights(self.window, self.weighting).to(x_t)[:, None, None, None]
        for span in spans:
            part = slice(span.start, span.stop)
            total[:, part] += weight * self.inner(x_t[:, part], sigma[:, part], text, **how)
            weights[:, part] += weight
        return total / weights


class Continued(Denoiser):
    """A denoiser to whom the first frames are known: whatever is asked, that is what they are.

    Under Euler's method with the noise predicted, the known frames then move on the straight line from
    their noise to themselves, so that the model sees them at the level of all the others: no other
    levels ever occurred in the training of a bidirectional model.
    """

    def __init__(self, inner: Denoiser, known: Latents) -> None:
        nn.Module.__init__(self)
        self.inner, self.known = inner, known

    def forward(self, x_t: Latents, sigma: Sigma, text: TextTokens, **how: Any) -> Latents:
        x0 = self.inner(x_t, sigma, text, **how)
        return torch.cat([self.known.to(x0), x0[:, self.known.shape[1] :]], dim=1)


def window_weights(window: int, weighting: Weighting) -> Float[Tensor, " w"]:
    """How much each frame of a window counts where windows overlap."""
    if weighting == "even":
        return torch.ones(window)
    place = torch.arange(window) + 0.5
    return torch.minimum(place, window - place)


def blended(denoiser: Denoiser, noise: Latents, asked: Asked) -> Latents:
    """Overlapping windows denoised separately at every step, their predictions averaged.

    Args:
        noise: standard normal, for the whole video.

    Source: Gen-L-Video, arXiv:2305.18264, section 4.
    """
    through = Windowed(denoiser, window=asked.window, overlap=asked.overlap, weighting="even")
    return denoise_chunk(through, noise, asked.condition(), asked.sigmas, renoise="predicted")


def rescheduled(denoiser: Denoiser, noise: Latents, asked: Asked) -> Latents:
    """The first window's noise again and again, in another order each time, and fused windows.

    Args:
        noise: standard normal, of which the first window alone is used.

    Source: FreeNoise, arXiv:2310.15169, section 3.
    """
    stride = asked.window - asked.overlap
    noise = reschedule_noise(noise, window=asked.window, stride=stride, rng=asked.sources)
    through = Windowed(denoiser, window=asked.window, overlap=asked.overlap, weighting="centred")
    return denoise_chunk(through, noise, asked.condition(), asked.sigmas, renoise="predicted")


def reschedule_noise(noise: Latents, *, window: int, stride: int, rng: Source = None) -> Latents:
    """Noise as long as that given, made of its first window: behind that, its units of `stride` frames
    follow one another, each shuffled anew.

    So every window at a multiple of the stride holds the same frames of noise, which ties distant parts
    of the video together.

    Source: FreeNoise, arXiv:2310.15169, equation 4 (local noise shuffle).
    """
    samples, frames = noise.shape[:2]
    if frames <= window:
        return noise
    sources: Sequence[torch.Generator | None]
    sources = [*rng] if isinstance(rng, Sequence) else [rng] * samples
    rows = []
    for source in sources:
        order = list(range(window))
        while len(order) < frames:
            # The unit that stands one window earlier, so that every window has all of the first one's.
            unit = order[len(order) - window : len(order) - window + stride]
            order += [unit[i] for i in torch.randperm(len(unit), generator=source).tolist()]
        rows.append(order[:frames])
    return torch.stack([one[row] for one, row in zip(noise, rows, strict=True)])


def sliding(denoiser: Denoiser, noise: Latents, asked: Asked) -> Latents:
    """Window after window, each going on from the last frames of the one before.

    Args:
        noise: standard normal, for the whole video.

    Source: CausVid, arXiv:2412.07772, section 5 (the bidirectional teacher in figure 8). That a
    bidirectional model takes known frames by holding them at the level of the others is RePaint's,
    arXiv:2201.09865, without its resampling.
    """
    made = noise[:, :0]
    for span in window_spans(noise.shape[1], window=asked.window, overlap=asked.overlap):
        known = made[:, span.start :]
        going_on = Continued(denoiser, known) if known.shape[1] else denoiser
        part = denoise_chunk(
            going_on, noise[:, span.start : span.stop], asked.condition(), asked.sigmas, renoise="predicted"
        )
        made = torch.cat([made[:, : span.start], part], dim=1)
    return made


def diagonal(denoiser: Denoiser, noise: Latents, asked: Asked) -> Latents:
    """A queue of frames at rising levels: every pass takes each a level down, the first leaves clean.

    The queue is as long as there are levels, rounded up to whole windows, and is denoised window by
    window ("latent partitioning"); each also sees the `overlap` frames before it, of which nothing is
    taken ("lookahead denoising"). It begins with the model's own clip, noised: the clip stands where it
    is noisiest, its first frame repeated before it, and those repetitions leave first and are dropped.

    Args:
        noise: standard normal, for the whole video.

    Source: FIFO-Diffusion, arXiv:2405.11473, sections 4.1 to 4.3.
    """
    first = noise[:, : asked.window]
    clip = denoise_chunk(denoiser, first, asked.condition(), asked.sigmas, renoise="predicted")
    if noise.shape[1] <= asked.window:
        return clip
    levels = queue_levels(asked)
    places = len(levels) - 1
    repeated = places - asked.window
    clean = torch.cat([clip[:, :1].expand(-1, repeated, -1, -1, -1), clip], dim=1)
    sigma = torch.tensor(levels[1:], device=noise.device).expand(len(noise), -1)
    queue = add_noise(clean, fresh_noise(clean, asked.sources), sigma)
    left = [clip[:, :1]] * asked.overlap
    for number in range(asked.window, repeated + asked.window + noise.shape[1]):
        queue = step_down(denoiser, queue, left[len(left) - asked.overlap :], asked, levels)
        left.append(queue[:, :1])
        fresh = noise[:, number : number + 1] if number < noise.shape[1] else noise[:, :1]
        queue = torch.cat([queue[:, 1:], fresh.to(queue)], dim=1)
    return torch.cat(left[asked.overlap + repeated :], dim=1)


def queue_levels(asked: Asked) -> list[float]:
    """0 and the rising levels of a queue's places, in as many places as whole windows have.

    The model's own levels, spread evenly over that many places: between two of them, on a line.
    """
    stride = asked.window - asked.overlap
    places = -(-max(asked.window, len(asked.sigmas)) // stride) * stride
    own = torch.tensor([0.0, *reversed(asked.sigmas)], dtype=torch.float64)
    at = torch.linspace(0, len(own) - 1, places + 1, dtype=torch.float64)
    low = at.floor().long().clamp(max=len(own) - 2)
    return [float(x) for x in own[low] + (at - low) * (own[low + 1] - own[low])]


def step_down(
    denoiser: Denoiser, queue: Latents, past: Sequence[Tensor], asked: Asked, levels: Sequence[float]
) -> Latents:
    """All frames of the queue one level down, each by a step of Euler's method of its own.

    Args:
        queue: the frame in place i at `levels[i + 1]`.
        past: the clean frames that left last, for the first window to look back on.
    """
    overlap, samples = len(past), len(queue)
    line = torch.cat([*past, queue], dim=1)
    starts = range(0, queue.shape[1], asked.window - overlap)
    here, below = (
        torch.tensor([0.0] * overlap + list(some), device=queue.device).expand(samples, -1)
        for some in (levels[1:], levels[:-1])
    )
    # The windows are independent, so that one pass has all of them side by side.
    sides = (line, here, below)
    x, sigma, lower = (torch.cat([side[:, a : a + asked.window] for a in starts]) for side in sides)
    x0 = _guided(denoiser, x, sigma, asked, windows=len(starts))[:, overlap:]
    x, sigma, lower = x[:, overlap:], sigma[:, overlap:], lower[:, overlap:]
    stepped = add_noise(x0, noise_from_x0(x, x0, sigma), lower)
    return torch.cat(stepped.split(samples), dim=1)


def _guided(denoiser: Denoiser, x: Latents, sigma: Sigma, asked: Asked, *, windows: int) -> Latents:
    text, negative = (
        None if rows is None else TextTokens(rows.tokens.repeat(windows, 1, 1), rows.lengths.repeat(windows))
        for rows in (asked.text, asked.negative)
    )
    assert text is not None
    if negative is None:
        return denoiser(x, sigma, text)
    return denoiser.guided(x, sigma, text, negative, asked.guidance)


LONG_SAMPLERS: Mapping[str, LongSampler] = MappingProxyType(
    {"blended": blended, "rescheduled": rescheduled, "diagonal": diagonal, "sliding": sliding}
)
"""By the word in the table of arms."""
