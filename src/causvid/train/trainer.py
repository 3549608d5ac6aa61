"""The one training loop.

It knows roles, losses and a folder, and nothing about video. Every random number of
a step comes from (seed, share of the batch, step), and a checkpoint holds the rest, so
a run that was interrupted anywhere continues to exactly the weights it would have
reached. Processes divide the shares among themselves; fewer of them take more time for
the same batch.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal

import torch

from causvid.data.files import finish_part, open_part
from causvid.data.sheets import sheet
from causvid.errors import UserError
from causvid.generate.machine import autocast
from causvid.progress import Progress
from causvid.train import runs
from causvid.train.optim import OptimizerConfig, RoleOptimizer
from causvid.train.parallel import Ranks
from causvid.train.stage import Share, Stage, kept_by, may_pause

NON_FINITE_LIMIT = 10
"""Updates of a role in a row with a non-finite loss after which a run stops."""


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
    ranks: int | None = field(default=None)
    """How many shares of `batch` samples make a step, one for each process where there are as many.
    None: as many as there are processes."""


def train(
    stage: Stage, config: LoopConfig, run: runs.Run, *, ranks: Ranks, device: torch.device, label: str
) -> None:
    """Train `stage` to its last step, from wherever its run stands, and export the model.

    Raises:
        UserError: the loss stayed non-finite, or an optimiser names a role that does not exist.
        KeyboardInterrupt: after a checkpoint was written, if one could be.
    """
    _check_roles(stage, config)
    for module in (*stage.trainable.values(), *kept_by(stage).values(), *stage.frozen.values()):
        module.to(device)
    optimizers = {
        role: RoleOptimizer(
            module, config.optimizers[role], steps=_updates(stage, role, config.steps), ranks=ranks
        )
        for role, module in stage.trainable.items()
    }
    start, skipped = _resume(stage, optimizers, run)
    if ranks.is_main:
        run.forget_after(start)
    ranks.wait()
    shares, total = ranks.shares(config.ranks), config.ranks or ranks.size
    seconds_before, began = run.seconds_so_far(), time.monotonic()
    meter, faults, due = runs.Meter(), _Faults(skipped), False
    bar = Progress(config.steps, label=label, unit="step", done=start)
    with _interruptible() as interrupted, bar if ranks.is_main else nullcontext():
        for step in range(start, config.steps):
            sources = [(n, runs.step_rng(config.seed, n, step)) for n in shares]
            batches = [(stage.batch(step, rng, Share(n, total)), rng) for n, rng in sources]
            for role in stage.roles(step):
                metrics = []
                for batch, rng in batches:
                    with autocast(device, config.precision):
                        loss = stage.loss(role, batch, rng)
                    (loss.value / len(shares)).backward()
                    metrics.append(loss.metrics)
                norm = optimizers[role].update()
                if faults.note(role, norm, step, run):
                    for entry in (*metrics, {"gradient": norm}):
                        meter.add({f"{role}.{name}": value for name, value in entry.items()})
            done, stop = step + 1, ranks.any(interrupted())
            if not ranks.is_main:
                if stop:
                    raise KeyboardInterrupt
                continue
            shown: dict[str, str] = {}
            if done % config.log_every == 0 or done == config.steps:
                means = meter.read() | ({"skipped": faults.skipped} if faults.skipped else {})
                run.record(step, seconds_before + time.monotonic() - began, means)
                shown = {k: f"{v:.4g}" for k, v in means.items() if not k.endswith("gradient")}
            bar.update(1, **shown)
            due = due or stop or done % config.checkpoint_every == 0
            if done == config.steps or (due and may_pause(stage, done)):
                run.save(done, _state(stage, optimizers, faults.skipped))
                due = False
            if done % config.preview_every == 0 or done == config.steps:
                _preview(stage, optimizers, run, done, autocast(device, config.precision))
            if stop:
                raise KeyboardInterrupt
    if ranks.is_main:
        _export(stage, config, optimizers, run, ranks=ranks, label=label)
    ranks.wait()


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


def _updates(stage: Stage, role: str, steps: int) -> int:
    return sum(role in stage.roles(step) for step in range(steps))


def _state(stage: Stage, optimizers: dict[str, RoleOptimizer], skipped: int) -> dict[str, Any]:
    return {
        "modules": {role: module.state_dict() for role, module in stage.trainable.items()},
        "kept": {name: module.state_dict() for name, module in kept_by(stage).items()},
        "optimizers": {role: optimizer.state_dict() for role, optimizer in optimizers.items()},
        "skipped": skipped,
    }


def _resume(stage: Stage, optimizers: dict[str, RoleOptimizer], run: runs.Run) -> tuple[int, int]:
    saved = run.latest()
    if saved is None:
        return 0, 0
    for role, module in stage.trainable.items():
        module.load_state_dict(saved["modules"][role])
        optimizers[role].load_state_dict(saved["optimizers"][role])
    for name, module in kept_by(stage).items():
        module.load_state_dict(saved["kept"][name])
    return saved["step"], saved["skipped"]


class _Faults:
    """Updates that were left out because their loss or gradient was not finite."""

    def __init__(self, skipped: int) -> None:
        self.skipped = skipped
        self._in_a_row: dict[str, int] = {}

    def note(self, role: str, norm: float, step: int, run: runs.Run) -> bool:
        """Whether the update with this gradient norm was made.

        Raises:
            UserError: the role has not made one for long.
        """
        if math.isfinite(norm):
            self._in_a_row[role] = 0
            return True
        self.skipped += 1
        self._in_a_row[role] = count = self._in_a_row.get(role, 0) + 1
        if count >= NON_FINITE_LIMIT:
            raise UserError(
                f"the {role}'s loss was not finite {count} times in a row, up to step {step}; those updates "
                "were skipped. Lower the learning rate, or go back to an earlier checkpoint in "
                f"{run.checkpoints}."
            )
        return False


@contextmanager
def _averaged(optimizers: dict[str, RoleOptimizer]) -> Iterator[None]:
    """The averaged weights in place of the trained ones, for looking and exporting."""
    averages = [o.ema for o in optimizers.values() if o.ema is not None]
    for ema in averages:
        ema.swap()
    try:
        yield
    finally:
        for ema in averages:
            ema.swap()


def _preview(
    stage: Stage, optimizers: dict[str, RoleOptimizer], run: runs.Run, step: int, precision: Any
) -> None:
    with _averaged(optimizers), torch.no_grad(), precision:
        preview = stage.preview(torch.Generator().manual_seed(0))
    target = run.previews / f"step_{step:06d}.png"
    part = open_part(target)
    sheet(list(preview.clips), labels=preview.labels).save(part, format="PNG")
    finish_part(part, target)


def _export(
    stage: Stage,
    config: LoopConfig,
    optimizers: dict[str, RoleOptimizer],
    run: runs.Run,
    *,
    ranks: Ranks,
    label: str,
) -> None:
    record = runs.provenance() | {
        "recipe": label,
        "seed": config.seed,
        "steps": config.steps,
        "ranks": config.ranks or ranks.size,
        "hours": round(run.seconds_so_far() / 3600, 3),
    }
    with _averaged(optimizers):
        stage.export(record).save(run.export)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Let the running step finish when SIGINT or SIGTERM comes; a second signal ends at once."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
