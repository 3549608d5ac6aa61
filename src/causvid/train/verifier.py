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
from causvid.models.verifier import Judge, JudgeConfig
from causvid.pixels import to_uint8
from causvid.train.data import WorldsConfig
from causvid.train.lessons import HEADS, LESSONS, Lesson, Teaching
from causvid.train.stage import WHOLE, Loss, Preview, Share

GLIMPSE = 4
"""Frames."""
ROCKING = 0.5
"""Share of the objects in glimpses that rock."""


@dataclass(frozen=True, kw_only=True)
class VerifierConfig:
    lesson: Literal["factors", "quality", "feature"]
    name: str
    """What the judge calls itself."""
    clips_from: int = 0
    """Step from which whole clips are shown: how things move is learnt when one can tell where they are."""
    judge: JudgeConfig
    """Its trunk, its time and its widths; what it reads follows from the lesson."""
    worlds: WorldsConfig = field(default_factory=lambda: WorldsConfig(split="any"))
    teaching: Teaching = field(default_factory=Teaching)
    batch: int = 12
    """Clips per step and rank."""
    glimpses: int = 0
    """Further clips per step and rank of which four frames are shown: of what is read of a frame, many
    scenes teach more than many frames of one."""
    checked_clips: int = 96
    """Fresh held-out clips on which an exported judge is measured."""

    def __post_init__(self) -> None:
        if self.judge.frame_heads or self.judge.clip_heads or self.judge.words:
            raise UserError("[verifier.judge] names heads; what a judge reads follows from verifier.lesson.")
        if self.glimpses and self.lesson == "feature":
            raise UserError("verifier.glimpses teach what is read of frames; the feature lesson reads clips.")
        if self.clips_from and not self.glimpses:
            raise UserError("verifier.clips_from needs verifier.glimpses, which are shown until then.")
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

    def batch(self, step: int, rng: torch.Generator, share: Share = WHOLE) -> Sequence[Lesson]:
        config = self.config
        shown = [] if step < config.clips_from else [self._lesson(config.batch, config.worlds, rng)]
        if config.glimpses:
            # While there are no clips, as many more glimpses take about their time.
            count = config.glimpses * (1 if shown else 2)
            turned = replace(config.teaching, rocking=ROCKING)
            shown.append(self._lesson(count, config.worlds, rng, frames=GLIMPSE, teaching=turned))
        return shown

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

    def loss(self, role: str, batch: Sequence[Lesson], rng: torch.Generator) -> Loss:
        terms: dict[str, list[Tensor]] = {}
        rightness: dict[str, list[Tensor]] = {}
        for lesson in batch:
            whole = lesson.video.shape[1] > GLIMPSE
            # Where glimpses teach what frames show, clips teach what they add to it, and cost a third.
            aside = whole and self.config.glimpses > 0 and bool(lesson.clip)
            with torch.set_grad_enabled(not aside):
                frames = self.judge.see(lesson.video)
            readings = self.judge.read(frames)
            seen = dict(readings.frame)
            for name, target in lesson.frame.items() if not aside else ():
                terms.setdefault(name, []).append(_term(readings.frame[name], target, lesson.known))
            if whole:  # a glimpse tells nothing about a clip
                seen |= readings.clip
                for name, target in lesson.clip.items():
                    terms[name] = [_term(readings.clip[name], target, None)]
            for name, share in _rightness(seen, lesson).items():
                rightness.setdefault(name, []).append(share)
        value = torch.stack([torch.stack(each).mean() for each in terms.values()]).mean()
        means = {name: torch.stack(shares).mean() for name, shares in rightness.items()}
        return Loss(value, {"loss": value.detach(), **means})

    def preview(self, rng: torch.Generator) -> Preview:
        """A few clips and what is read of them."""
        lesson = self._lesson(8, self.config.worlds, rng)
        readings = self.judge(lesson.video)
        words = self.judge.config.words
        labels = []
        for i in range(len(lesson.video)):
            first = [words[n][int(x[i, 0].argmax())] for n, x in readings.frame.items() if n in words]
            whole = [words[n][int(x[i].argmax())] for n, x in readings.clip.items() if n in words]
            labels.append(
                " ".join([*first, *whole]) or f"severity {float(readings.frame['severity'][i, 0]):.2f}"
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
            for name, value in _rightness({**readings.frame, **readings.clip}, lesson).items():
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


def _rightness(outputs: Mapping[str, Tensor], lesson: Lesson) -> dict[str, Tensor]:
    """Of what was read: the share of words that are right, the mean error of numbers."""
    found = {}
    for name, target in {**lesson.frame, **lesson.clip}.items():
        if name not in outputs:
            continue
        output = outputs[name].detach()
        if target.dtype == torch.long:
            right = (output.argmax(dim=-1) == target).float()
            found[name] = (
                (right * lesson.known).sum() / lesson.known.sum() if name in lesson.frame else right.mean()
            )
        else:
            found[f"{name}_error"] = (output - target).abs().mean()
    return found
