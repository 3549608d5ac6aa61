"""Folders of shards, made by several processes: what encoding and trajectories have in common."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from torch import Tensor

from causvid.data.latents import make_shards, missing_shards
from causvid.progress import Progress
from causvid.train.parallel import Ranks


def share_shards(
    folder: Path,
    *,
    shards: int,
    make: Callable[[int], tuple[dict[str, Tensor], int]],
    ranks: Ranks,
    label: str,
) -> None:
    """Make the shards that are not in `folder` yet, divided over processes; returns when all are there.

    Args:
        make: a shard's number to its tensors and its number of samples.
        label: what is being done, for the progress line.
    """
    missing = missing_shards(folder, shards)
    bar = Progress(shards, label=label, unit="shard", done=shards - len(missing))

    def show() -> None:
        if ranks.is_main:
            bar.update(min(ranks.size, shards - bar.done))

    ranks.wait()
    with bar if ranks.is_main else nullcontext():
        make_shards(folder, numbers=missing[ranks.rank :: ranks.size], make=make, after=show)
    ranks.wait()
