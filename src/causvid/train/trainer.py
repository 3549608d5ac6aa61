"""The one training loop.

It knows roles, losses and a folder, and nothing about video. Every random number of
a step comes from (seed, rank, step), and a checkpoint holds the rest, so a run that
was interrupted anywhere continues to exactly the weights it would have reached.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal

import torch

from causvid.data.files import finish_part, open_part
from causvid.data.sheets import sheet
from causvid.errors import UserError
from causvid.progress import Progress
from causvid.train import runs
from causvid.train.optim import OptimizerConfig, RoleOptimizer
from causvid.train.parallel import Ranks
from causvid.train.stage import Stage

NON_FINITE_LIMIT = 10
"""Steps in a row with a non-finite loss after which a run stops."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What the loop itself needs to know."""

    seed: int = 0
    steps: int
    optimizers: dict[str, OptimizerConfig]
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products; weights, norms and losses stay in float32."""
    checkpoint_every: int = 200
    preview_every: int = 200
    log_every: int = 10
    ranks: int | None = field(default=None)
    """How many processes this recipe was tuned for; the effective batch is ranks x batch."""


def train(
    stage: Stage, config: LoopConfig, run: runs.Run, *, ranks: Ranks, device: torch.device, label: str
) -> None:
    """Train `stage` to its last step, from wherever its run stands, and export the model.

    Raises:
        UserError: the loss stayed non-finite, or an optimiser names a role that does not exist.
        KeyboardInterrupt: after a checkpoint was written.
    """
    _check_roles(stage, config)
    for module in (*stage.trainable.values(), *stage.frozen.values()):
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
    seconds_before = run.seconds_so_far()
    meter, began, in_a_row = runs.Meter(), time.monotonic(), 0
    shown: dict[str, str] = {}

    def save(step: int) -> None:
        if ranks.is_main:
            run.save(step, _state(stage, optimizers, skipped))

    # A rollout mixes passes with and without grad: no cast weight may be carried from one to the other.
    autocast = torch.autocast(
        device.type, torch.bfloat16, enabled=config.precision == "bfloat16", cache_enabled=False
    )
    with _interruptible() as interrupted, Progress(config.steps, label=label, unit="step", done=start) as bar:
        for step in range(start, config.steps):
            rng = runs.step_rng(config.seed, ranks.rank, step)
            batch = stage.batch(step, rng)
            finite = True
            for role in stage.roles(step):
                with autocast:
                    loss = stage.loss(role, batch, rng)
                norm = optimizers[role].update(loss.value)
                finite = finite and norm == norm and norm != float("inf")
                meter.add({f"{role}.{k}": v for k, v in {**loss.metrics, "gradient": norm}.items()})
            skipped, in_a_row = skipped + (not finite), 0 if finite else in_a_row + 1
            if in_a_row >= NON_FINITE_LIMIT:
                raise UserError(
                    f"the loss was not finite for {in_a_row} steps in a row, up to step {step}; those steps "
                    "were skipped. Lower the learning rate, or go back to an earlier checkpoint in "
                    f"{run.checkpoints}."
                )
            done = step + 1
            if ranks.is_main and (done % config.log_every == 0 or done == config.steps):
                means = meter.read() | ({"skipped": skipped} if skipped else {})
                run.record(step, seconds_before + time.monotonic() - began, means)
                shown = {
                    name: f"{value:.4g}" for name, value in means.items() if not name.endswith("gradient")
                }
            if ranks.is_main:
                bar.update(1, **shown)
            stop = ranks.any(interrupted())
            if stop or done % config.checkpoint_every == 0 or done == config.steps:
                save(done)
            if ranks.is_main and (done % config.preview_every == 0 or done == config.steps):
                _preview(stage, optimizers, run, done, autocast)
            if stop:
                raise KeyboardInterrupt
    if ranks.is_main:
        with _averaged(optimizers):
            record = runs.provenance() | {
                "recipe": label,
                "seed": config.seed,
                "steps": config.steps,
                "ranks": ranks.size,
                "hours": round(run.seconds_so_far() / 3600, 3),
            }
            stage.export(record).save(run.export)


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
    return saved["step"], saved["skipped"]


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
    stage: Stage, optimizers: dict[str, RoleOptimizer], run: runs.Run, step: int, autocast: Any
) -> None:
    with _averaged(optimizers), torch.no_grad(), autocast:
        preview = stage.preview(torch.Generator().manual_seed(0))
    target = run.previews / f"step_{step:06d}.png"
    part = open_part(target)
    sheet(list(preview.clips), labels=preview.labels).save(part, format="PNG")
    finish_part(part, target)


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
