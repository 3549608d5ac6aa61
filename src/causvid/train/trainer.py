"""The one training loop.

It knows roles, losses and a folder, and nothing about video. Every random number of
a step comes from (seed, share of the batch, step), and a checkpoint holds the rest, so
a run that was interrupted anywhere continues to exactly the weights it would have
reached. Processes divide the shares among themselves; fewer of them take more time for
the same batch.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from causvid.errors import UserError
from causvid.generate.machine import autocast
from causvid.progress import Progress
from causvid.train import runs
from causvid.train.checkpoints import KEPT, Checkpoints, check_room
from causvid.train.clock import Clock, peak_memory
from causvid.train.faults import Faults
from causvid.train.interrupts import interruptible
from causvid.train.optim import OptimizerConfig, RoleOptimizer
from causvid.train.outputs import Outputs
from causvid.train.parallel import ParallelConfig, Ranks
from causvid.train.sharding import prepare
from causvid.train.stage import Share, Stage, kept_by, may_pause
from causvid.train.state import live, resume


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What the loop itself needs to know."""

    seed: int = 0
    steps: int
    optimizers: dict[str, OptimizerConfig]
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products; weights, norms and losses stay in float32. On a CPU
    that cannot multiply bfloat16, float32 is used."""
    checkpoint_every: int = 200
    preview_every: int = 200
    log_every: int = 10
    ranks: int | None = None
    """How many shares of `batch` samples make a step, one for each process where there are as many.
    None: as many as there were processes when the run began."""
    accumulation: int | None = None
    """So many times `ranks` shares instead, one after the other. None: once."""
    effective_batch: int | None = None
    """Samples of a step, checked before it begins: ranks x batch x accumulation."""
    parallel: ParallelConfig | None = None
    keep_checkpoints: int | None = None
    """None: the last two."""
    track: tuple[Literal["tensorboard", "wandb", "trackio"], ...] | None = None
    """Where metrics go beside metrics.jsonl."""

    def __post_init__(self) -> None:
        for name in ("accumulation", "effective_batch", "keep_checkpoints", "ranks"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} is {value}; it must be 1 or more.")

    def shares(self, ranks: Ranks, saved: int | None = None) -> int:
        """Parts of a step's batch.

        Args:
            saved: how many there were so far, which decides where the recipe does not.
        """
        if self.ranks is None and saved is not None:
            return saved
        return (self.ranks or ranks.size // ranks.sequence) * (self.accumulation or 1)


def train(
    stage: Stage,
    config: LoopConfig,
    run: runs.Run,
    *,
    ranks: Ranks,
    device: torch.device,
    label: str,
    micro: int | None = None,
) -> None:
    """Train `stage` to its last step, from wherever its run stands, and export the model.

    Args:
        micro: samples in a share, where that is known.

    Raises:
        UserError: the loss stayed non-finite, an optimiser names a role that does not exist, the batch is
            not what was asked for, or the disk is full.
        KeyboardInterrupt: after a checkpoint was written.
    """
    _check_roles(stage, config)
    loop = Loop(stage, config, run, ranks=ranks, device=device, label=label)
    loop.check_batch(micro)
    loop.go()


def export_newest(
    stage: Stage,
    config: LoopConfig,
    run: runs.Run,
    folder: Path,
    *,
    ranks: Ranks,
    device: torch.device,
    label: str,
) -> None:
    """Write the model as a run's newest checkpoint has it, averaged, and leave the run as it is.

    Raises:
        UserError: there is no checkpoint yet.
    """
    loop = Loop(stage, config, run, ranks=ranks, device=device, label=label)
    if not loop.start:
        raise UserError(f"{run.checkpoints} holds no complete checkpoint yet.")
    loop.export(folder)


class Loop:
    """A run on its way. All processes do the same; the first one writes and talks."""

    def __init__(
        self,
        stage: Stage,
        config: LoopConfig,
        run: runs.Run,
        *,
        ranks: Ranks,
        device: torch.device,
        label: str,
    ) -> None:
        parallel = config.parallel or ParallelConfig()
        self.stage, self.config, self.run, self.label = stage, config, run, label
        self.device, self.ranks = device, ranks.in_groups(parallel.sequence)
        self.kept = kept_by(stage)
        sharded = prepare(
            stage.trainable.values(),
            (*self.kept.values(), *stage.frozen.values()),
            parallel,
            ranks=self.ranks,
            device=device,
            precision=config.precision,
        )
        self.optimizers = {
            role: RoleOptimizer(
                module,
                config.optimizers[role],
                steps=sum(role in stage.roles(step) for step in range(config.steps)),
                ranks=ranks,
            )
            for role, module in stage.trainable.items()
        }
        keep = config.keep_checkpoints or KEPT
        self.checkpoints = Checkpoints(run.checkpoints, ranks=ranks, keep=keep)
        saved = resume(self.checkpoints.newest(), stage.trainable, self.optimizers, kept=self.kept)
        self.start, self.faults, self.due = saved["step"], Faults(saved["skipped"]), False
        self.shares = config.shares(self.ranks, saved.get("shares"))
        self.meter, self.clock = runs.Meter(), Clock(device)
        self.outputs = Outputs(
            stage, self.optimizers, run, ranks=ranks, sharded=sharded, together=parallel.together
        )

    def check_batch(self, micro: int | None) -> None:
        """Say what a step is made of.

        Raises:
            UserError: that is not what the recipe asks for.
        """
        groups = self.ranks.size // self.ranks.sequence
        if micro is None:
            return
        per_group = -(-self.shares // groups)
        made = f"{groups} ranks x {micro} samples x {per_group} accumulated" + (
            f", {per_group * groups - self.shares} of them spare" if self.shares % groups else ""
        )
        batch, wanted = self.shares * micro, self.config.effective_batch
        if wanted is not None and wanted != batch:
            raise UserError(
                f"effective_batch is {wanted}, but a step has {batch} samples ({made}). "
                "Change ranks, accumulation or the stage's batch."
            )
        self.outputs.said.append(f"{self.label}: batch of {batch} = {made}")

    def go(self) -> None:
        """Every step that is left, then the export."""
        config, ranks = self.config, self.ranks
        if ranks.is_main:
            self.run.forget_after(self.start)
            check_room(self.run.folder, self._live())
        ranks.wait()
        self.seconds_before, self.began = self.run.seconds_so_far(), time.monotonic()
        self.bar = Progress(config.steps, label=self.label, unit="step", done=self.start)
        self.outputs.open(config)
        with interruptible() as interrupted, self.bar if ranks.is_main else nullcontext():
            if ranks.is_main:
                self.outputs.say(self.bar)
            try:
                for step in range(self.start, config.steps):
                    self.step(step)
                    self.after(step + 1, interrupted)
                self.checkpoints.finish()
            except BaseException:
                self.checkpoints.give_up()
                raise
        self.start = config.steps
        self.export(self.run.export)
        self.outputs.close()

    def export(self, folder: Path) -> None:
        """The model as it stands."""
        facts = {"recipe": self.label, "seed": self.config.seed, "steps": self.start, "ranks": self.shares}
        self.outputs.export(facts, folder)
        self.ranks.wait()

    def step(self, step: int) -> None:
        """One update of every role whose turn it is."""
        clock, stage = self.clock, self.stage
        with clock.during("data"):
            parts = []
            for number, weight in self.ranks.shares(self.shares):
                rng = runs.step_rng(self.config.seed, number, step)
                parts.append((stage.batch(step, rng, Share(number, self.shares)), rng, weight))
        for role in stage.roles(step):
            metrics = []
            for batch, rng, weight in parts:
                with clock.during("forward"), autocast(self.device, self.config.precision):
                    loss = stage.loss(role, batch, rng)
                with clock.during("backward"):
                    (loss.value * (weight / len(parts))).backward()
                metrics += [loss.metrics] if weight else []
            with clock.during("optimizer"):
                norm = self.optimizers[role].update()
            if self.faults.note(role, norm, step, self.run):
                for entry in (*metrics, {"gradient": norm}):
                    self.meter.add({f"{role}.{name}": value for name, value in entry.items()})

    def after(self, done: int, interrupted: Callable[[], bool]) -> None:
        """Write down, save, look: what is due after so many steps.

        Raises:
            KeyboardInterrupt: somebody wants the run to stop.
        """
        config = self.config
        stop = self.ranks.any(interrupted())
        if self.ranks.any(self.checkpoints.failed()):
            self.checkpoints.finish()
        shown: dict[str, str] = {}
        if done % config.log_every == 0 or done == config.steps:
            shown = self._log(done)
        if self.ranks.is_main:
            self.bar.update(1, **shown)
        self.due = self.due or stop or done % config.checkpoint_every == 0
        if done == config.steps or (self.due and may_pause(self.stage, done)):
            self.save(done)
            self.due = False
        if done % config.preview_every == 0 or done == config.steps:
            with autocast(self.device, config.precision):
                self.outputs.preview(done)
        if stop:
            self.checkpoints.finish()
            raise KeyboardInterrupt

    def _log(self, done: int) -> dict[str, str]:
        means = self.meter.read(self.ranks)
        means |= {"skipped": self.faults.skipped} if self.faults.skipped else {}
        _, shares = self.clock.read()
        machine = {name: round(share, 4) for name, share in shares.items()}
        machine["memory_gb"] = round(peak_memory(self.device), 3)
        if self.ranks.is_main:
            seconds = self.seconds_before + time.monotonic() - self.began
            self.run.record(done - 1, seconds, {**means, "machine": machine})
            self.outputs.track(done, means)
        return {k: f"{v:.4g}" for k, v in means.items() if not k.endswith("gradient")}

    def save(self, done: int) -> None:
        updates = {role: optimizer.updates for role, optimizer in self.optimizers.items()}
        facts = {"skipped": self.faults.skipped, "shares": self.shares, "updates": updates}
        self.checkpoints.save(done, self._live(), facts)

    def _live(self) -> dict[str, Tensor]:
        return live(self.stage.trainable, self.optimizers, kept=self.kept)


def _check_roles(stage: Stage, config: LoopConfig) -> None:
    missing, extra = (
        set(stage.trainable) - set(config.optimizers),
        set(config.optimizers) - set(stage.trainable),
    )
    if missing or extra:
        raise UserError(
            f"[optimizers] has tables {sorted(config.optimizers)}; "
            f"this stage trains {sorted(stage.trainable)}."
        )
