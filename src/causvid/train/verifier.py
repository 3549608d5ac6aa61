"""Judges: networks that read clips, trained on renders alone and never seen by any model's loss.

The truth comes from the renderer, so there is no end of it. Half of the clips go through an
autoencoder, with its latents a little noisy, and most are blurred, tinted or noised a little, so that a
judge reads generated clips as well as rendered ones. `lesson` says what a judge is asked: "factors" (what is
there, and where), "quality" (how bad a frame looks) or "feature" (an embedding that knows content,
quality and order).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from causvid.data.degrade import DEGRADATIONS
from causvid.errors import UserError
from causvid.models.bundle import Bundle
from causvid.models.judge_files import StoredJudge, new_judge
from causvid.models.vae_tiny import TinyVAE
from causvid.models.verifier import Judge, JudgeConfig, Readings
from causvid.pixels import to_uint8
from causvid.train.data import WorldsConfig
from causvid.train.lessons import HEADS, LESSONS, Lesson, Teaching
from causvid.train.stage import WHOLE, Loss, Preview, Share


@dataclass(frozen=True, kw_only=True)
class VerifierConfig:
    lesson: Literal["factors", "quality", "feature"]
    name: str
    """What the judge calls itself."""
    judge: JudgeConfig
    """Its trunk, its time and its widths; what it reads follows from the lesson."""
    worlds: WorldsConfig = field(default_factory=lambda: WorldsConfig(split="any"))
    teaching: Teaching = field(default_factory=Teaching)
    batch: int = 12
    """Clips per step and rank."""
    frames: int | None = None
    """Of each that are shown: of what is read of a frame, a few of many scenes teach more than many of one.
    None: as many as the judge watches at a time."""
    checked_clips: int = 96
    """Fresh held-out clips on which an exported judge is measured."""

    def __post_init__(self) -> None:
        if self.judge.frame_heads or self.judge.clip_heads or self.judge.words:
            raise UserError("[verifier.judge] names heads; what a judge reads follows from verifier.lesson.")
        if self.frames is not None and (self.lesson == "feature" or self.frames < 1 or self.frames % 4):
            raise UserError(
                f"verifier.frames is {self.frames}; it must be a multiple of 4, and is for lessons about "
                "frames: the feature lesson is about clips."
            )
        if self.judge.window < 8 or self.judge.window % 4:
            raise UserError(
                f"verifier.judge.window is {self.judge.window}; it must be a multiple of 4, at least 8."
            )


class Verifier:
    """Implements `causvid.train.stage.Stage` with the single role "judge"."""

    def __init__(self, config: VerifierConfig, inputs: Mapping[str, Bundle]) -> None:
        self.config = config
        vae = inputs["vae"].vae if "vae" in inputs else None
        if not isinstance(vae, TinyVAE):
            raise UserError(
                "[inputs] must name, as vae, a model with an autoencoder of our own kind, such as tiny."
            )
        self.vae = vae
        self.judge = Judge(replace(config.judge, size=config.worlds.size, **HEADS[config.lesson]))
        self.trainable: Mapping[str, nn.Module] = {"judge": self.judge}
        self.frozen: Mapping[str, nn.Module] = {"vae": self.vae}

    def roles(self, step: int) -> Sequence[str]:
        return ("judge",)

    def batch(self, step: int, rng: torch.Generator, share: Share = WHOLE) -> Lesson:
        return self._lesson(self.config.batch, self.config.worlds, rng, frames=self.config.frames)

    def _lesson(
        self,
        count: int,
        domain: WorldsConfig,
        rng: torch.Generator,
        *,
        teaching: Teaching | None = None,
        frames: int | None = None,
    ) -> Lesson:
        make, teaching = LESSONS[self.config.lesson], teaching or self.config.teaching
        window = frames or self.config.judge.window
        return make(self.vae, teaching, domain, count=count, frames=window, rng=rng)

    def loss(self, role: str, batch: Lesson, rng: torch.Generator) -> Loss:
        readings = self.judge(batch.video)
        terms = [_term(readings.frame[name], target, batch.known) for name, target in batch.frame.items()]
        terms += [_term(readings.clip[name], target, None) for name, target in batch.clip.items()]
        value = torch.stack(terms).mean()
        return Loss(value, {"loss": value.detach(), **_rightness(readings, batch)})

    def preview(self, rng: torch.Generator) -> Preview:
        """A few clips and what is read of them."""
        lesson = self._lesson(8, self.config.worlds, rng)
        readings = self.judge(lesson.video)
        words = self.judge.config.words
        labels = []
        for i in range(len(lesson.video)):
            seen = {n: x[i, 0] for n, x in readings.frame.items()} | {
                n: x[i] for n, x in readings.clip.items()
            }
            labels.append(
                " ".join(words[n][int(x.argmax())] for n, x in seen.items() if n in words)
                or f"severity {float(readings.frame['severity'][i, 0]):.2f}"
            )
        return Preview(to_uint8(lesson.video).cpu(), labels)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """What it reads correctly of held-out combinations, averaged over lessons of its own kind."""
        rng = torch.Generator().manual_seed(2**31)
        held_out = replace(self.config.worlds, split="heldout")
        total: dict[str, float] = {}
        rounds = max(1, self.config.checked_clips // 8)
        for _ in range(rounds):
            lesson = self._lesson(8, held_out, rng)
            readings = self.judge(lesson.video)
            for name, value in _rightness(readings, lesson).items():
                total[name] = total.get(name, 0.0) + float(value) / rounds
        untaught = tuple(name for name in DEGRADATIONS if name not in self.config.teaching.kinds)
        if self.config.lesson == "quality" and untaught:
            total["rank_correlation_untaught"] = self._rank_correlation(untaught, rng)
        return {name: round(value, 4) for name, value in total.items()}

    def _rank_correlation(self, kinds: tuple[str, ...], rng: torch.Generator) -> float:
        """Spearman's, of the severity of these degradations and what is read of it."""
        taught = self.config.teaching
        foreign = replace(taught, kinds=kinds, degraded=1.0, severity=1.0, latent_noise=0.0)
        rounds = max(1, self.config.checked_clips // 8)
        pairs = []
        for _ in range(rounds):
            lesson = self._lesson(8, self.config.worlds, rng, teaching=foreign)
            read = self.judge(lesson.video).frame["severity"].mean(dim=1)
            pairs.append(torch.cat([lesson.frame["severity"].mean(dim=1), read], dim=1))
        true, read = torch.cat(pairs).cpu().T
        ranks = torch.stack([true.argsort().argsort(), read.argsort().argsort()]).float()
        return float(torch.corrcoef(ranks)[0, 1])

    def export(self, provenance: Mapping[str, Any]) -> StoredJudge:
        return new_judge(self.config.name, self.judge, provenance=provenance, measured=self.measure())


def _term(output: Tensor, target: Tensor, known: Tensor | None) -> Tensor:
    """Cross-entropy for a choice among words, smooth L1 for numbers; the mean where the truth is known."""
    if target.dtype == torch.long:
        each = F.cross_entropy(output.flatten(0, -2), target.flatten(), reduction="none").view(target.shape)
    else:
        each = 10 * F.smooth_l1_loss(output, target, beta=0.1, reduction="none").mean(dim=-1)
    return each.mean() if known is None else (each * known).sum() / known.sum().clamp(min=1)


def _rightness(readings: Readings, lesson: Lesson) -> dict[str, Tensor]:
    """Of what was read: the share of words that are right, the mean error of numbers."""
    found: dict[str, Tensor] = {}
    for name, target in lesson.frame.items():
        found |= _right(name, readings.frame[name].detach(), target, lesson.known)
    for name, target in lesson.clip.items():
        alone = name not in lesson.frame
        found |= _right(name if alone else f"{name}_of_clip", readings.clip[name].detach(), target, None)
    return found


def _right(name: str, output: Tensor, target: Tensor, known: Tensor | None) -> dict[str, Tensor]:
    if target.dtype != torch.long:
        return {f"{name}_error": (output - target).abs().mean()}
    right = (output.argmax(dim=-1) == target).float()
    return {name: right.mean() if known is None else (right * known).sum() / known.sum()}
