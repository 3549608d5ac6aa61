"""Work that comes in numbered pieces, made by several processes: encoding and trajectories."""

from collections.abc import Callable, Sequence
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

    def work(numbers: Sequence[int], after: Callable[[], None]) -> None:
        make_shards(folder, numbers=numbers, make=make, after=after)

    share(missing, total=shards, work=work, ranks=ranks, label=label, unit="shard")


def share(
    missing: Sequence[int],
    *,
    total: int,
    work: Callable[[Sequence[int], Callable[[], None]], None],
    ranks: Ranks,
    label: str,
    unit: str,
    units: Sequence[int] | None = None,
) -> None:
    """Do the missing pieces of a work, divided over processes; returns when all are done.

    Args:
        missing: numbers of the pieces that are not done yet; the same on all ranks.
        total: pieces in all.
        work: does the pieces of these numbers, and calls its second argument behind each.
        label: what is being done, for the progress line.
        unit: what is counted there.
        units: so many of them in each piece; None for one.
    """
    sizes = list(units or [1] * total)
    left = [sizes[number] for number in missing]
    bar = Progress(sum(sizes), label=label, unit=unit, done=sum(sizes) - sum(left))

    def show() -> None:
        if ranks.is_main:  # the others are taken to be as far
            bar.update(sum(left[: ranks.size]))
            del left[: ranks.size]

    ranks.wait()
    with bar if ranks.is_main else nullcontext():
        work(missing[ranks.rank :: ranks.size], show)
    ranks.wait()
