"""Several processes training one model, on torch's own process groups.

Started by `torchrun`, a process finds its rank in the environment; started plainly,
it is rank 0 of 1 and nothing here costs anything. Gradients are averaged; everything else
about a step is the same.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from causvid.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """Which process this is, and of how many."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over ranks. A missing gradient counts as zero."""
        if self.size == 1:
            return
        parameters = list(parameters)
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
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

    def shares(self, total: int | None) -> range:
        """Which parts of a step's batch, of `total`, this process computes.

        Args:
            total: None for one part per process.

        Raises:
            UserError: the parts cannot be divided evenly.
        """
        total = self.size if total is None else total
        if total % self.size:
            raise UserError(
                f"the recipe has ranks = {total}; {self.size} processes cannot share that evenly. "
                "Start a number of processes that divides it."
            )
        return range(self.rank, total, self.size)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set on at least one rank; the same answer everywhere."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag))
        dist.all_reduce(value)
        return bool(value > 0)

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
