"""What a training will take, worked out before anything of it is allocated: memory, time, disk.

The recipe's own stage runs a step of every role on the meta device (`unreal`); weights,
optimiser states and averages are counted from the objects training would make. Time is
operations over what the hardware does at most times a stated utilisation, unless the run has begun and
its own pace is known.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from causvid.errors import UserError
from causvid.generate.machine import multiplies_bfloat16
from causvid.nn.transformer import VideoTransformer
from causvid.progress import duration
from causvid.train.checkpoints import KEPT
from causvid.train.hardware import ACCELERATORS, ASSUMED_UTILISATION, known, measured_flops
from causvid.train.optim import RoleOptimizer
from causvid.train.parallel import ParallelConfig, Ranks
from causvid.train.stage import Stage, kept_by
from causvid.train.trainer import LoopConfig
from causvid.train.unreal import Pass, Portion, networks_of, try_pass


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a training is to run on."""

    processes: int
    gpu: str | None
    """A kind of `ACCELERATORS`, or a GPU's own name; None: this machine's processor."""

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise UserError(f"processes is {self.processes}; it must be 1 or more.")
        if self.gpu is not None and known(self.gpu) is None:
            raise UserError(f"no figures for the GPU {self.gpu!r}; known: {', '.join(ACCELERATORS)}.")

    @property
    def flops(self) -> float:
        kind = None if self.gpu is None else known(self.gpu)
        return measured_flops() if kind is None else kind.flops * ASSUMED_UTILISATION

    @property
    def memory(self) -> float | None:
        kind = None if self.gpu is None else known(self.gpu)
        return None if kind is None else kind.memory


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Bytes are per process unless they are of the disk."""

    batch: str
    networks: Mapping[str, str]
    memory: Mapping[str, float] = field(default_factory=dict)
    flops: float
    """Of a step, on average, per process."""
    seconds: float
    """Of the whole training."""
    pace: str
    """Where `seconds` come from."""
    checkpoint: float
    disk: float
    fits: str | None

    def lines(self) -> list[str]:
        total, parts = sum(self.memory.values()), {k: v for k, v in self.memory.items() if v}
        held = ", ".join(f"{name} {_giga(value)}" for name, value in parts.items())
        rows = {
            "batch": self.batch,
            **self.networks,
            "memory": f"{_giga(total)} a process, and what kernels use ({held})"
            + (f"; {self.fits}" if self.fits else ""),
            "compute": f"{self.flops / 1e12:.3g} TFLOP a step and process",
            "time": f"{duration(self.seconds)} ({self.pace})",
            "disk": f"{_giga(self.disk)}: checkpoints of {_giga(self.checkpoint)} each, and the model",
        }
        width = max(map(len, rows))
        return [f"{name:{width}}  {value}" for name, value in rows.items()]

    def table(self) -> dict[str, Any]:
        return {**vars(self), "memory": dict(self.memory), "networks": dict(self.networks)}


def forecast(
    stage: Stage, config: LoopConfig, *, hardware: Hardware, micro: int | None, begun: Path | None = None
) -> Forecast:
    """What training this stage takes.

    Args:
        stage: on the meta device.
        micro: samples in a share.
        begun: the run's folder, whose pace counts if there is one.

    Raises:
        UserError: the processes cannot be divided as the recipe says.
    """
    parallel = config.parallel or ParallelConfig()
    _, shard = parallel.layout(hardware.processes)
    groups = hardware.processes // parallel.sequence
    shares = config.shares(Ranks(0, hardware.processes, parallel.sequence))
    rounds = -(-shares // groups)
    narrow = config.precision == "bfloat16" and (
        hardware.gpu is not None or multiplies_bfloat16(torch.device("cpu"))
    )
    _lay_out(stage, parallel, narrow=narrow)
    roles = {role: _steps(stage, role, config.steps) for role in stage.trainable}
    passes = {role: _tried(stage, role, steps) for role, steps in roles.items()}
    each = {role: sum(p.flops for p in tried) / len(tried) for role, tried in passes.items() if tried}
    flops = rounds * sum(each[role] * len(roles[role]) for role in each) / max(1, config.steps)
    memory, saved = _memory(stage, config, passes, shard=shard, narrow=narrow)
    seconds, pace = config.steps * flops / hardware.flops, _assumed(hardware)
    if begun is not None and (known_pace := _pace(begun)) is not None:
        seconds, pace = config.steps * known_pace, "at the pace of the run so far"
    total, room = sum(memory.values()), hardware.memory
    model = sum(p.numel() * 4 for module in stage.trainable.values() for p in module.parameters())
    samples = "" if micro is None else f"{shares * micro} samples: "
    return Forecast(
        batch=f"{samples}{groups} ranks x {micro or '?'} samples x {rounds} accumulated",
        networks=_networks(stage),
        memory=memory,
        flops=flops,
        seconds=seconds,
        pace=pace,
        checkpoint=saved,
        disk=saved * ((config.keep_checkpoints or KEPT) + 1) + model,
        fits=None if room is None else f"{'fits' if total < 0.9 * room else 'does not fit'} in {_giga(room)}",
    )


def _lay_out(stage: Stage, parallel: ParallelConfig, *, narrow: bool) -> None:
    """As `sharding.prepare` would, but for what needs processes."""
    for network in networks_of({**stage.trainable, **kept_by(stage), **stage.frozen}):
        if narrow:
            network.cast(torch.bfloat16)
        if parallel.sequence > 1:
            network.divide(lambda frames: Portion(parallel.sequence, frames))
    for network in networks_of(stage.trainable):
        network.activation_checkpointing(parallel.checkpoint_activations == "layer")


def _steps(stage: Stage, role: str, steps: int) -> list[int]:
    return [step for step in range(steps) if role in stage.roles(step)]


def _tried(stage: Stage, role: str, steps: Sequence[int]) -> list[Pass]:
    """The first and the last of these steps, and one between where they differ: rollouts are not all of one
    length, and clips grow from period to period."""
    if not steps:
        return []
    ends = [try_pass(stage, role, step=step) for step in dict.fromkeys((steps[0], steps[-1]))]
    if len({one.flops for one in ends}) > 1:
        ends.insert(1, try_pass(stage, role, step=steps[len(steps) // 2]))
    return ends


def _memory(
    stage: Stage, config: LoopConfig, passes: Mapping[str, Sequence[Pass]], *, shard: int, narrow: bool
) -> tuple[dict[str, float], float]:
    """Bytes in a process by what they are for, and those of a checkpoint.

    Weights that are trained are float32 whatever matrices multiply in.
    """
    parallel = config.parallel or ParallelConfig()
    found = {"weights": 0.0, "frozen": 0.0, "optimisers": 0.0, "averages": 0.0, "gathered": 0.0}
    saved = gradients = 0.0
    for role, module in stage.trainable.items():
        share = shard if networks_of({role: module}) else 1
        numbers = sum(p.numel() for p in module.parameters())
        learnt = sum(p.numel() for p in module.parameters() if p.requires_grad)
        optimizer = RoleOptimizer(module, config.optimizers[role], steps=1, ranks=Ranks())
        states = {name: 4 * x.numel() for name, x in optimizer.tensors().items()}
        averages = sum(size for name, size in states.items() if name.startswith("ema."))
        found["weights"] += 4 * numbers / share
        found["optimisers"] += (sum(states.values()) - averages) / share
        found["averages"] += averages / share
        gradients = max(gradients, 4 * learnt * (1 - 1 / share))
        saved += 4 * learnt + sum(states.values())
    for module in (*kept_by(stage).values(), *stage.frozen.values()):
        divided = shard if networks_of({"": module}) else 1
        numbers = 4 * sum(p.numel() for p in module.parameters())
        away = parallel.offload != "none" and bool(networks_of({"": module}))
        found["frozen"] += 0 if away else numbers / divided
    if shard > 1:
        layers = [layer for net in networks_of(stage.trainable) for layer in net.layers]
        found["gathered"] = 2.0 * max((_bytes(layer, 2 if narrow else 4) for layer in layers), default=0)
    if parallel.offload == "all":
        found |= dict.fromkeys(("weights", "optimisers", "averages"), 0.0)
    fullest = max((p.bytes for tried in passes.values() for p in tried), default=0)
    copies = 0.0 if shard > 1 or not narrow else 2.0 * max(map(_largest, [stage.trainable]), default=0)
    found["pass"] = max(0.0, fullest - gradients) + copies
    return found, saved


def _largest(modules: Mapping[str, nn.Module]) -> int:
    """Numbers of the largest network: autocast keeps its matrices a second time until backward."""
    return max((sum(p.numel() for p in net.parameters()) for net in networks_of(modules)), default=0)


def _bytes(module: nn.Module, item: int) -> int:
    return item * sum(p.numel() for p in module.parameters())


def _networks(stage: Stage) -> dict[str, str]:
    said = {}
    for role, module in stage.trainable.items():
        said[role] = f"{_count(module)} parameters, trained{_sizes(module)}"
    for name, module in (*kept_by(stage).items(), *stage.frozen.items()):
        said[name] = f"{_count(module)} parameters, frozen{_sizes(module)}"
    return said


def _sizes(module: nn.Module) -> str:
    for net in module.modules():
        if isinstance(net, VideoTransformer):
            return f" (width {net.config.width}, {net.config.layers} layers)"
    return ""


def _count(module: nn.Module) -> str:
    numbers = sum(p.numel() for p in module.parameters())
    return f"{numbers / 1e9:.2f} B" if numbers >= 1e9 else f"{numbers / 1e6:.2f} M"


def _assumed(hardware: Hardware) -> str:
    if hardware.gpu is None:
        return "an estimate, from the speed of matrix products on this processor"
    return f"an estimate, at {ASSUMED_UTILISATION:.0%} of what the {hardware.gpu} does at most"


def _pace(folder: Path) -> float | None:
    """Seconds a step of the run in this folder, if it has made any."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    last = json.loads(lines[-1]) if lines else None
    return None if last is None else float(last["seconds"]) / (last["step"] + 1)


def _giga(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
