"""Several processes training one model, on torch's own process groups.

Started by `torchrun`, a process finds its rank in the environment; started plainly,
it is rank 0 of 1 and nothing here costs anything. Gradients are averaged; everything else
about a step is the same.

How weights are divided is in `sharding`, how one clip is in `sequence`.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn

from causvid.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """How a recipe's networks are laid over processes. None of it changes what is learnt, so a run may go on
    under another one."""

    shard: int | Literal["all"] = 1
    """Processes that hold one copy of weights and optimiser states among them (FSDP2). 1: each has one."""
    replicate: int | None = None
    """Such copies; None: as many as there are processes for."""
    sequence: int = 1
    """Processes that compute one clip together, where no cache is in play."""
    checkpoint_activations: Literal["none", "layer"] = "none"
    """Compute each layer anew in backward instead of keeping what it computed."""
    compile: Literal["none", "layer"] = "none"
    offload: Literal["none", "frozen", "all"] = "none"
    """What waits in main memory until it is needed: nothing, the frozen networks, or those that are trained
    and their optimisers too."""

    def __post_init__(self) -> None:
        for name in ("shard", "replicate", "sequence"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise UserError(f"parallel.{name} is {value}; it must be 1 or more.")
        if self.offload == "all" and self.shard == 1:
            raise UserError(
                'parallel.offload is "all"; that goes with weights that are sharded, shard above 1.'
            )

    def layout(self, size: int) -> tuple[int, int]:
        """Copies of the weights, and processes that share each.

        Raises:
            UserError: so many processes cannot be divided like this.
        """
        shard = size if self.shard == "all" else self.shard
        copies = self.replicate or max(1, size // shard)
        if copies * shard != size:
            raise UserError(
                f"[parallel] asks for replicate {copies} x shard {shard}, and there are {size} processes; "
                "their product must be the number of processes."
            )
        if size % self.sequence:
            raise UserError(
                f"parallel.sequence is {self.sequence}; it must divide the number of processes, {size}."
            )
        return copies, shard

    @property
    def together(self) -> bool:
        """Whether a pass of a network needs all processes."""
        return self.shard != 1 or self.sequence > 1


@dataclass(frozen=True)
class Ranks:
    """Which process this is, and of how many."""

    rank: int = 0
    size: int = 1
    sequence: int = 1
    """So many, next to one another, compute the same clips."""

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def in_groups(self, sequence: int) -> "Ranks":
        return replace(self, sequence=sequence)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over ranks. A missing gradient counts as zero."""
        if self.size == 1:
            return
        parameters = list(parameters)
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        if not parameters:
            return
        flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        dist.all_reduce(flat)
        flat /= self.size
        offset = 0
        for p in parameters:
            assert p.grad is not None
            p.grad.copy_(flat[offset : offset + p.numel()].view_as(p))
            offset += p.numel()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def shares(self, total: int | None) -> list[tuple[int, float]]:
        """Which parts of a step's batch, of `total`, this process computes, and with which weight.

        Every process computes equally many: where they do not divide evenly some repeat a part, with
        weight 0. The mean over processes of the weighted mean of its parts is the mean over all parts.

        Args:
            total: None for one part per process (or group that computes a clip together).
        """
        mine, groups = self.rank // self.sequence, self.size // self.sequence
        total = groups if total is None else total
        rounds = -(-total // groups)
        numbers = range(mine, rounds * groups, groups)
        return [(n % total, rounds * groups / total if n < total else 0.0) for n in numbers]

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set on at least one rank; the same answer everywhere."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag))
        dist.all_reduce(value)
        return bool(value > 0)

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()


def start() -> Ranks:
    """Join the process group torchrun has prepared, on a GPU of its own, or stand alone. May be repeated."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Ranks()
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return Ranks(rank=dist.get_rank(), size=size)


def stop() -> None:
    """Leave the process group after everybody has arrived, so that no rank sees a vanished peer."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
