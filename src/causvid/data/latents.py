"""Shards of encoded clips.

    shard-00000.safetensors    latents [n f c h w] in float16, seeds [n]
    index.jsonl                one line per finished shard, with its sha256

A scene is a function of its seed, so captions and labels are not stored. A shard
appears whole, then its line; running the same command again makes only what is
missing. Reading is a slice of a file, so the readers hold no data.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from causvid.data.files import drop_part, writing
from causvid.errors import UserError


@dataclass(frozen=True)
class Shard:
    file: str
    clips: int
    sha256: str


def write_shard(folder: Path, number: int, tensors: dict[str, Tensor], clips: int) -> None:
    """Store one shard and then its line in the index."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    name = f"shard-{number:05d}.safetensors"
    part = folder / f"{name}.part"
    try:
        with writing(folder / name):
            save_file({key: value.contiguous() for key, value in tensors.items()}, part)
            digest = sha256_of(part)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(part, folder / name)
    except SafetensorError as error:  # its word for a full disk
        drop_part(part)
        raise UserError(f"{folder / name} cannot be written ({error}).") from error
    except BaseException:
        drop_part(part)
        raise
    _append(folder / "index.jsonl", json.dumps({"file": name, "clips": clips, "sha256": digest}) + "\n")


def _append(path: Path, line: str) -> None:
    """Add a whole line in one call, which other processes cannot come between; on a full disk, nothing."""
    with writing(path), path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        if file.write(line.encode()) != len(line):
            file.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_index(folder: Path) -> list[Shard]:
    """The finished shards, in the order of their numbers.

    Raises:
        UserError: the folder has no index, or the index is damaged.
    """
    path = folder / "index.jsonl"
    if not path.exists():
        raise UserError(f"{folder} holds no encoded clips (no index.jsonl); run its encode recipe first.")
    try:
        shards = {line["file"]: Shard(**line) for line in map(json.loads, path.read_text().splitlines())}
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it and encode again.") from error
    if not shards:
        raise UserError(f"{path} is empty; run its encode recipe first.")
    return [shards[name] for name in sorted(shards)]


def missing_shards(folder: Path, shards: int) -> list[int]:
    """Numbers of the shards that are not there yet."""
    index = folder / "index.jsonl"
    begun = index.exists() and index.stat().st_size > 0
    done = {s.file for s in read_index(folder)} if begun else set()
    return [n for n in range(shards) if f"shard-{n:05d}.safetensors" not in done]


def damaged_shards(folder: Path) -> list[str]:
    """Names of the finished shards that are gone or differ from their sha256."""
    found = []
    for shard in read_index(folder):
        path = folder / shard.file
        if not path.is_file() or sha256_of(path) != shard.sha256:
            found.append(shard.file)
    return found


def open_shard(path: Path) -> Any:
    """A shard's tensors by name, to be read in slices.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        index = path.with_name("index.jsonl")
        raise UserError(
            f"{path} is missing or damaged; remove its line from {index} and run its recipe again."
        ) from error


class ShardReader:
    """Clips by number, over all shards of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = read_index(folder)
        self.per_shard = self.shards[0].clips
        self._files = [open_shard(folder / s.file) for s in self.shards]
        self.names = sorted(set(self._files[0].keys()) - {"seeds"})

    def __len__(self) -> int:
        return sum(s.clips for s in self.shards)

    def expect(self, clips: int) -> None:
        """Check that this is all of the folder, as its configuration says.

        Raises:
            UserError: clips are missing.
        """
        if len(self) != clips:
            raise UserError(
                f"{self.folder} holds {len(self)} of {clips} clips; run its recipe again to make the others."
            )

    def slice(self, name: str, clip: int, span: slice = slice(None)) -> Float[Tensor, "n ..."]:
        """The entries `span` of a clip's tensor `name` (its latent frames, for "latents"), as float32."""
        shard, row = divmod(clip, self.per_shard)
        return self._files[shard].get_slice(name)[row, span].float()

    def seed(self, clip: int) -> int:
        shard, row = divmod(clip, self.per_shard)
        return int(self._files[shard].get_slice("seeds")[row : row + 1])


def make_shards(
    folder: Path,
    *,
    numbers: Sequence[int],
    make: Callable[[int], tuple[dict[str, Tensor], int]],
    after: Callable[[], None],
) -> None:
    """Make the shards of these numbers.

    Args:
        make: a shard's number to its tensors and its number of clips.
        after: called behind every finished shard.
    """
    for number in numbers:
        with torch.no_grad():
            tensors, clips = make(number)
        write_shard(folder, number, tensors, clips)
        after()
