"""What judges are taught: rendered clips, made a little or a lot worse, and the truth about them.

A lesson is a batch of clips with targets for every head: whole numbers for a choice among words, other
numbers to be met. Knows nothing of networks but the autoencoder clips may go through.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from causvid.data import worlds
from causvid.data.degrade import CORRUPTIONS, DEGRADATIONS, SPARE_FRAMES, corrupt_order
from causvid.errors import UserError
from causvid.models.vae_tiny import TinyVAE
from causvid.train.data import WorldsConfig, random_scenes
from causvid.types import Video

SEEN_IN_A_FRAME = ("kind", "colour", "sky", "ground", "weather")
PATH = 3
"""Across, down, radius, in heights: where the object is in a frame."""
FADE = 4
"""Frames during which a change is under way, and neither value is right."""

HEADS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "factors": {
            "frame_heads": {**{n: len(worlds.FACTORS[n]) for n in SEEN_IN_A_FRAME}, "path": PATH},
            "words": {name: worlds.FACTORS[name] for name in SEEN_IN_A_FRAME},
        },
        "quality": {"frame_heads": {"severity": 1}},
        "feature": {
            "frame_heads": {**{n: len(worlds.FACTORS[n]) for n in SEEN_IN_A_FRAME}, "path": PATH},
            "clip_heads": {
                **{name: len(values) for name, values in worlds.FACTORS.items()},
                "path": 2 * PATH,
                "severity": 1,
                "order": len(CORRUPTIONS),
            },
            "words": {**worlds.FACTORS, "order": CORRUPTIONS},
        },
    }
)
"""What a judge of each lesson reads."""


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """How rendered clips are made to look like generated ones."""

    through_vae: float = 0.5
    """Share of clips that go through the autoencoder."""
    latent_noise: float = 0.25
    """Largest standard deviation of noise on the latents of those, which are normalised."""
    degraded: float = 0.7
    """Share of clips that are degraded on top."""
    severity: float = 0.3
    """How badly at most, 0 to 1."""
    kinds: tuple[str, ...] = ("blur", "noise", "cast")
    """Of degradation; what is left out can show whether a judge knows what it was not taught."""

    def __post_init__(self) -> None:
        if unknown := set(self.kinds) - set(DEGRADATIONS):
            raise UserError(
                f"teaching.kinds names {', '.join(sorted(unknown))}; known: {', '.join(DEGRADATIONS)}."
            )
        if not self.kinds or not 0 <= self.severity <= 1:
            raise UserError(
                "teaching.kinds must name a degradation, and teaching.severity lie between 0 and 1."
            )


@dataclass(frozen=True)
class Lesson:
    video: Video
    frame: Mapping[str, Int[Tensor, "b t"] | Float[Tensor, "b t _"]]
    """The truth about every frame, by head."""
    clip: Mapping[str, Int[Tensor, " b"] | Float[Tensor, "b _"]]
    known: Bool[Tensor, "b t"]
    """Where the truth about a frame is certain."""


@dataclass(frozen=True)
class _Footage:
    """Clean clips of scenes."""

    scenes: list[worlds.Scene]
    starts: list[int]
    video: Video

    def number(self, factor: str, row: int, frame: int) -> int:
        scene = self.scenes[row]
        return worlds.FACTORS[factor].index(scene.at(self.starts[row] + frame)[factor])

    def in_frames(self, order: Sequence[Iterable[int]]) -> dict[str, Int[Tensor, "b t"]]:
        """What is there in these frames of every clip."""
        return {
            name: torch.tensor([[self.number(name, row, t) for t in each] for row, each in enumerate(order)])
            for name in SEEN_IN_A_FRAME
        }

    def paths(self, frames: int) -> Float[Tensor, "b t 3"]:
        aspect = self.video.shape[-1] / self.video.shape[-2]
        path = worlds.trajectories(self.scenes, frames, start=self.starts, aspect=aspect)
        return torch.stack([torch.from_numpy(x).float() for x in (path.x, path.y, path.radius)], dim=-1)


def teach_factors(
    vae: TinyVAE, teaching: Teaching, domain: WorldsConfig, *, count: int, frames: int, rng: torch.Generator
) -> Lesson:
    """What is there in every frame and where. How it moves follows from where it is, and is no lesson."""
    footage = _film(vae, domain, count=count, frames=frames, rng=rng)
    video = _through_vae(vae, footage.video, teaching, rng)[0]
    video, _ = _degraded(video, teaching, rng)
    numbers = footage.in_frames([range(frames)] * count)
    known = torch.ones(count, frames, dtype=torch.bool)
    for row, (scene, start) in enumerate(zip(footage.scenes, footage.starts, strict=True)):
        if scene.change is not None:
            begin = scene.change[0] - start
            known[row, max(0, begin) : max(0, begin + FADE - 1)] = False
    return _on(video, Lesson(video, {**numbers, "path": footage.paths(frames)}, {}, known))


def teach_quality(
    vae: TinyVAE, teaching: Teaching, domain: WorldsConfig, *, count: int, frames: int, rng: torch.Generator
) -> Lesson:
    """How bad every frame looks: noise in the latents and degradations add up, 1 - (1 - a) (1 - b)."""
    footage = _film(vae, domain, count=count, frames=frames, rng=rng)
    video, hidden = _through_vae(vae, footage.video, teaching, rng)
    video, shown = _degraded(video, teaching, rng)
    severity = 1 - (1 - hidden[:, None]) * (1 - shown)
    known = torch.ones(count, frames, dtype=torch.bool)
    return _on(video, Lesson(video, {"severity": severity[..., None]}, {}, known))


def teach_features(
    vae: TinyVAE, teaching: Teaching, domain: WorldsConfig, *, count: int, frames: int, rng: torch.Generator
) -> Lesson:
    """Everything about a clip at once: content, path, quality and whether its frames are in order; and what
    every frame shows, without which it would take much longer to see anything."""
    footage = _film(vae, domain, count=count, frames=frames + SPARE_FRAMES, rng=rng)
    drawn = torch.randint(len(CORRUPTIONS), (count,), generator=rng)
    wrong = torch.where(torch.rand(count, generator=rng) < 0.4, 0, drawn)
    orders = torch.stack([corrupt_order(CORRUPTIONS[k], frames, rng) for k in wrong.tolist()])
    rows = torch.arange(count)[:, None]
    video, hidden = _through_vae(vae, footage.video, teaching, rng)
    video, harm = _degraded(video[rows, orders.to(video.device)], teaching, rng)
    path = footage.paths(frames + SPARE_FRAMES)[rows, orders]
    severity = (1 - (1 - hidden[:, None]) * (1 - harm)).mean(dim=1, keepdim=True)
    numbers = {
        name: torch.tensor([footage.number(name, row, int(order[-1])) for row, order in enumerate(orders)])
        for name in worlds.FACTORS
    }
    targets = {
        "path": torch.cat([path.mean(dim=1), path.std(dim=1)], dim=1),
        "severity": severity,
        "order": wrong,
    }
    known = torch.ones(count, frames, dtype=torch.bool)
    shown = {**footage.in_frames(orders.tolist()), "path": path}
    return _on(video, Lesson(video, shown, {**numbers, **targets}, known))


LESSONS: Mapping[str, Callable[..., Lesson]] = MappingProxyType(
    {"factors": teach_factors, "quality": teach_quality, "feature": teach_features}
)


def _film(vae: TinyVAE, domain: WorldsConfig, *, count: int, frames: int, rng: torch.Generator) -> _Footage:
    scenes, starts = random_scenes(domain, count, frames, rng)
    video, _ = worlds.render(scenes, frames, start=starts, size=domain.size, device=vae.latent_mean.device)
    return _Footage(scenes, starts, video)


@torch.no_grad()
def _through_vae(
    vae: TinyVAE, video: Video, teaching: Teaching, rng: torch.Generator
) -> tuple[Video, Float[Tensor, " b"]]:
    """Some of the clips encoded, made noisy and decoded; and how severe that is, 1/2 at most."""
    chosen = torch.rand(len(video), generator=rng) < teaching.through_vae
    level = torch.rand(len(video), generator=rng) * chosen
    # Half of them see no noise at all: the autoencoder by itself is no fault of a model.
    level = level * (torch.rand(len(video), generator=rng) < 0.5)
    if not chosen.any():
        return video, torch.zeros(len(video))
    latents = vae.encode(video[chosen.to(video.device)])
    noise = torch.randn(latents.shape, generator=rng).to(latents)
    strength = (teaching.latent_noise * level[chosen]).to(latents).view(-1, 1, 1, 1, 1)
    video = video.clone()
    video[chosen.to(video.device)] = vae.decode(latents + strength * noise)
    return video, level / 2


def _degraded(video: Video, teaching: Teaching, rng: torch.Generator) -> tuple[Video, Float[Tensor, "b t"]]:
    """One degradation a clip, rising or falling through it; and how severe it is in every frame."""
    count, frames = video.shape[:2]
    ends = teaching.severity * torch.rand(count, 2, generator=rng)
    ends = ends * (torch.rand(count, 1, generator=rng) < teaching.degraded)
    ramp = torch.linspace(0, 1, frames)
    severity = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * ramp
    which = torch.randint(len(teaching.kinds), (count,), generator=rng)
    video = video.clone()
    for number, name in enumerate(teaching.kinds):
        rows = ((which == number) & (ends.sum(dim=1) > 0)).nonzero()[:, 0]
        if len(rows):
            there = rows.to(video.device)
            video[there] = DEGRADATIONS[name](video[there], severity[rows].to(video), rng)
    return video, severity


def _on(video: Video, lesson: Lesson) -> Lesson:
    """The targets beside the video."""
    device = video.device
    return Lesson(
        video,
        {name: target.to(device) for name, target in lesson.frame.items()},
        {name: target.to(device) for name, target in lesson.clip.items()},
        lesson.known.to(device),
    )
