"""The straight line between data and noise.

Every model here sees the same noising process: at noise level sigma, between 0
(data) and 1 (noise),

    x_t = (1 - sigma) * x0 + sigma * noise          velocity = noise - x0

so the clean video, the noise, the velocity and the score are all linear in one
another. This module holds that algebra, and how noise levels are spread over
time; no tables, no device, no state.

Source: Lipman et al. 2023, arXiv:2210.02747; the shift: Esser et al. 2024, arXiv:2403.03206.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.errors import UserError
from causvid.types import Latents, Sigma

TIMESTEPS = 1000
"""Noise levels are drawn on this many uniform steps when the public recipes do so."""


@dataclass(frozen=True, kw_only=True)
class FlowSchedule:
    """How noise levels are spread over time: sigma = k u / (1 + (k - 1) u) for u from 0 to 1."""

    shift: float = 1.0
    """Above 1 spends more steps near noise. CausVid uses 8, its successors 5."""

    def __post_init__(self) -> None:
        if not 0 < self.shift < float("inf"):
            raise UserError(f"schedule.shift is {self.shift}; it must be above 0 (CausVid uses 8, others 5).")

    def sigma(self, u: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """The noise level at time u, both from 0 (data) to 1 (noise)."""
        return self.shift * u / (1 + (self.shift - 1) * u)

    def inverse(self, sigma: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """The time u at which this noise level is reached."""
        return sigma / (self.shift - (self.shift - 1) * sigma)

    def grid(self, steps: int) -> list[float]:
        """The levels a solver of this many steps visits: 1 first, 0 last, steps + 1 in all."""
        if steps < 1:
            raise UserError(f"a solver was asked for {steps} steps; it needs at least 1.")
        u = 1 - torch.arange(steps + 1, dtype=torch.float64) / steps
        return self.sigma(u).tolist()


def per_frame(sigma: Sigma) -> Float[Tensor, "b f 1 1 1"]:
    """Noise levels shaped so that they multiply latents."""
    return sigma[..., None, None, None]


def wide(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """In float32 at least: near sigma = 1 this algebra subtracts numbers of almost the same size."""
    return x if x.dtype == torch.float64 else x.float()


def add_noise(x0: Latents, noise: Latents, sigma: Sigma) -> Latents:
    """Latents at noise level sigma: (1 - sigma) * x0 + sigma * noise."""
    level = per_frame(wide(sigma))
    return (1 - level) * wide(x0) + level * wide(noise)


def x0_from_velocity(x_t: Latents, velocity: Latents, sigma: Sigma) -> Latents:
    """The clean latents a velocity points at: x_t - sigma * velocity."""
    return wide(x_t) - per_frame(wide(sigma)) * wide(velocity)


def velocity_from_x0(x_t: Latents, x0: Latents, sigma: Sigma) -> Latents:
    """The velocity that leads from x_t to x0: (x_t - x0) / sigma. Needs sigma above 0."""
    return (wide(x_t) - wide(x0)) / per_frame(wide(sigma))


def noise_from_velocity(x_t: Latents, velocity: Latents, sigma: Sigma) -> Latents:
    """The noise inside x_t: x_t + (1 - sigma) * velocity."""
    return wide(x_t) + (1 - per_frame(wide(sigma))) * wide(velocity)


def noise_from_x0(x_t: Latents, x0: Latents, sigma: Sigma) -> Latents:
    """The noise inside x_t: (x_t - (1 - sigma) * x0) / sigma. Needs sigma above 0."""
    level = per_frame(wide(sigma))
    return (wide(x_t) - (1 - level) * wide(x0)) / level


def score_from_x0(x_t: Latents, x0: Latents, sigma: Sigma) -> Latents:
    """The gradient of the log density: -(x_t - (1 - sigma) * x0) / sigma². Needs sigma above 0."""
    return -noise_from_x0(x_t, x0, sigma) / per_frame(wide(sigma))


def draw_sigma(
    batch: int,
    frames: int,
    *,
    schedule: FlowSchedule,
    rng: torch.Generator,
    low: float = 0.02,
    high: float = 0.98,
) -> Sigma:
    """One noise level per sample, shared by its frames, as distribution matching draws it.

    An integer timestep uniform on 0 ... 999 is shifted, then clamped; with shift 8 a
    seventh of the draws land exactly on `high`, as in the public recipe.

    Source: CausVid, arXiv:2412.07772, section 4.2, and its released training code.
    """
    step = torch.randint(0, TIMESTEPS, (batch, 1), generator=rng, device=rng.device)
    return schedule.sigma(step / TIMESTEPS).clamp(low, high).expand(batch, frames).contiguous()


def draw_logit_normal(batch: int, *, schedule: FlowSchedule, rng: torch.Generator) -> Float[Tensor, " b"]:
    """Noise levels for flow matching: the shift of sigmoid(normal), most draws mid-way.

    Source: Esser et al. 2024, arXiv:2403.03206, section 3.1.
    """
    return schedule.sigma(torch.randn(batch, generator=rng, device=rng.device).sigmoid())


def bell_weight(sigma: Float[Tensor, "*any"], *, schedule: FlowSchedule) -> Float[Tensor, "*any"]:
    """A loss weight that favours the middle levels; its mean over the schedule's 1,000 levels is 1.

    exp(-2 (sigma - 1/2)²), lowered until it is 0 at sigma = 1.

    Source: the released teacher-forcing stage of Self-Forcing, arXiv:2506.08009.
    """
    floor = math.exp(-0.5)
    levels = torch.tensor(schedule.grid(TIMESTEPS)[:-1], dtype=torch.float64)
    mean = (torch.exp(-2 * (levels - 0.5) ** 2) - floor).mean().item()
    return (torch.exp(-2 * (wide(sigma) - 0.5) ** 2) - floor) / mean
