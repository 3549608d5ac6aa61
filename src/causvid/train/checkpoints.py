"""Saved states of a run: folders of safetensors, written by all processes while training goes on.

    checkpoints/step_000500/
        shard-00001-model-00001-of-00001.safetensors     one file for each process that had something to write
        complete.json                                    step, counts, versions: written last

A folder counts once its `complete.json` is there; a process that dies, or a disk that fills up,
leaves one that is never chosen. Weights need not be divided as they were: any number of
processes can read them, and so can anything that reads safetensors. What an earlier
version wrote, one `step_000500.pt`, is still read.

Knows tensors by name, and no optimiser. torch.distributed.checkpoint does the work, with
safetensors as its storage: its own format holds pickles, which can run code when they are read.
"""

import json
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from causvid.data.files import write_text, writing
from causvid.errors import UserError
from causvid.train.parallel import Ranks
from causvid.train.sharding import is_sharded, like

COMPLETE = "complete.json"
KEPT = 2
"""Checkpoints that stay, unless a recipe says otherwise."""
PATIENCE = 60
"""Seconds that a run which has failed waits for its last checkpoint: others who write it may be gone."""


class Checkpoints:
    """Those of one run. All processes make the same calls, but for `newest`."""

    def __init__(self, folder: Path, *, ranks: Ranks, keep: int = KEPT) -> None:
        self.folder, self.ranks, self.keep = folder, ranks, keep
        warnings.filterwarnings(
            "ignore", message="torch.distributed is disabled"
        )  # said by every single process
        # Saving goes on in a thread, so its messages must not mix with those of training.
        self._group = dist.new_group(backend="gloo") if ranks.size > 1 else None
        self._pending: tuple[Path, dict[str, Any], Future[Any]] | None = None

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Copy these tensors and begin to write them; returns before they are written.

        Raises:
            UserError: the one before could not be written.
        """
        self.finish()
        target = self.folder / f"step_{step:06d}"
        if self.ranks.is_main:
            with writing(target):
                shutil.rmtree(target, ignore_errors=True)
                target.mkdir(parents=True)
        self.ranks.wait()
        saved = state_dict_saver.async_save(
            _by_role(tensors),
            storage_writer=HuggingFaceStorageWriter(str(target), save_distributed=True),
            process_group=self._group,
            no_dist=self.ranks.size == 1,
        )
        assert isinstance(saved, Future)
        about = {"step": step, "processes": self.ranks.size, "torch": torch.__version__, **facts}
        self._pending = target, about, saved

    def failed(self) -> bool:
        """Whether a checkpoint that is being written will not be; `finish` says why."""
        return self._settled() and self._pending is not None

    def _settled(self) -> bool:
        """Complete what has been written; whether nothing is being written any more."""
        if self._pending is None:
            return True
        target, about, saved = self._pending
        if not saved.done():
            return False
        if saved.exception() is None:
            if self.ranks.is_main:
                write_text(target / COMPLETE, json.dumps(about, indent=2) + "\n")
                self._drop_old()
            self._pending = None
        return True

    def finish(self) -> None:
        """Wait for what is being written.

        Raises:
            UserError: it could not be written: the disk is full, say.
        """
        if self._pending is None:
            return
        target, _, saved = self._pending
        error = saved.exception()
        if error is None:
            self._settled()
            return
        self._pending = None
        reasons = list(error.failures.values()) if isinstance(error, CheckpointException) else [error]
        first = reasons[0][0] if isinstance(reasons[0], tuple) else reasons[0]
        with writing(target):
            raise _file_error(first)

    def give_up(self) -> None:
        """Something else has gone wrong: complete what is being written, if that can be, and say nothing."""
        if self._pending is not None:
            wait([self._pending[2]], timeout=PATIENCE)
            with suppress(UserError):
                self._settled()

    def _drop_old(self) -> None:
        """All but the newest ones, and whatever was never completed."""
        kept = self.complete()[-self.keep :]
        for old in self.folder.glob("step_*"):
            if old.is_dir() and old not in kept and (not kept or old.name < kept[-1].name):
                shutil.rmtree(old, ignore_errors=True)
            elif old.suffix == ".pt" and old.with_suffix("").name < kept[0].name:
                old.unlink(missing_ok=True)

    def complete(self) -> list[Path]:
        """Those that count, oldest first."""
        return sorted(path.parent for path in self.folder.glob(f"step_*/{COMPLETE}"))

    def newest(self) -> Path | None:
        """The newest one, or a file that an earlier version wrote."""
        found = [*self.complete(), *self.folder.glob("step_*.pt")]
        return max(found, key=lambda path: path.stem, default=None)


def facts_of(saved: Path) -> dict[str, Any]:
    """What is written beside the tensors.

    Raises:
        UserError: it cannot be read.
    """
    try:
        facts = json.loads((saved / COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{saved / COMPLETE} cannot be read; remove {saved} to go on from the one before."
        ) from error
    if not isinstance(facts, dict) or not isinstance(facts.get("step"), int):
        raise UserError(f"{saved / COMPLETE} names no step; remove {saved} to go on from the one before.")
    return facts


def load(saved: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill these tensors in place, each process its part of them.

    Raises:
        UserError: they are not what was saved.
    """
    _check(saved, tensors)
    state_dict_loader.load(
        _by_role(tensors),
        storage_reader=HuggingFaceStorageReader(str(saved)),
        no_dist=not (dist.is_available() and dist.is_initialized()),
    )


def _check(saved: Path, tensors: Mapping[str, Tensor]) -> None:
    there = HuggingFaceStorageReader(str(saved)).read_metadata().state_dict_metadata
    missing, extra = sorted(tensors.keys() - there.keys()), sorted(there.keys() - tensors.keys())
    if missing or extra:
        which = f"lacks {missing[0]}" if missing else f"holds {extra[0]}, which nothing here is called"
        raise UserError(
            f"{saved} {which}: it is of another network or optimiser. "
            "Give the recipe it was begun with, or another --out."
        )
    for name, tensor in tensors.items():
        if there[name].size != tensor.shape:  # type: ignore[union-attr]
            raise UserError(
                f"{saved}: {name} is {list(there[name].size)} there and {list(tensor.shape)} here; "  # type: ignore[union-attr]
                "it is of another network. Use another --out."
            )


def read(saved: Path) -> dict[str, Tensor]:
    """All of a checkpoint as whole tensors, in one process that knows nothing about it."""
    reader = HuggingFaceStorageReader(str(saved))
    there = reader.read_metadata().state_dict_metadata
    tensors = {name: torch.empty(m.size, dtype=m.properties.dtype) for name, m in there.items()}  # type: ignore[union-attr]
    state_dict_loader.load(_by_role(tensors), storage_reader=reader, no_dist=True)
    return tensors


def _by_role(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The same in tables, whose names are joined again by a dot: every entry at the top costs DCP time."""
    tables: dict[str, Any] = {}
    for name, tensor in tensors.items():
        role, _, rest = name.partition(".")
        tables.setdefault(role, {})[rest] = tensor
    return tables


def put(tensor: Tensor, value: Tensor) -> None:
    """Copy a whole value into a tensor that may be divided."""
    with torch.no_grad():
        tensor.copy_(
            like(tensor, value.view(tensor.shape)) if is_sharded(tensor) else value.view(tensor.shape)
        )


def check_room(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a run whose first checkpoint does not fit on the disk.

    Raises:
        UserError: it does not.
    """
    needed = sum(x.numel() * x.element_size() for x in tensors.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"a checkpoint takes {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free in {folder}; "
            "free some space, or give another --out."
        )


def _file_error(error: BaseException) -> OSError:
    """The file system's own error behind this one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause
        cause = cause.__cause__ or cause.__context__
    raise error
