"""Tensors in files: opened without reading them, written whole or not at all.

`open_weights` takes a safetensors file, an index of shards, a folder with either, or a
`.pt` of torch's own, and gives a `Weights`: names and shapes at once, each tensor when it
is asked for. A model of any size is so renamed, cast and written with one tensor in memory.

A `.pt` may hold programs. Only tensors are taken from it; nothing in it is run.

Knows nothing about models: what the tensors are called elsewhere is in `layouts`.
"""

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from causvid.errors import UserError

INDEX = ".safetensors.index.json"
PICKLES = (".pt", ".pth", ".bin")
ENTRIES = ("generator_ema", "generator", "model", "state_dict")
"""Where a checkpoint keeps its weights; the first that is there is meant."""

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The types of numbers in a safetensors file."""


@dataclass(frozen=True)
class Stored:
    """A tensor on disk: its shape and type, and a way to read it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def numbers(self) -> int:
        return torch.Size(self.shape).numel()


@dataclass(frozen=True)
class Weights(Mapping[str, Tensor]):
    """Named tensors on disk. Looking one up reads that one and keeps nothing."""

    path: Path
    stored: Mapping[str, Stored]
    entry: str | None = None
    """The part of a checkpoint that they are."""

    def __getitem__(self, name: str) -> Tensor:
        return self.stored[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.stored.items()}

    def renamed(self, names: Mapping[str, str]) -> "Weights":
        """The same tensors under other names: `names` leads from each old one to the new one."""
        return replace(self, stored={names[name]: tensor for name, tensor in self.stored.items()})

    def without(self, name: str) -> "Weights":
        """All but one."""
        return replace(self, stored={n: tensor for n, tensor in self.stored.items() if n != name})

    def cast(self, dtype: torch.dtype, *, least: int) -> "Weights":
        """The same, tensors of at least so many numbers in another type when they are read."""

        def reader(tensor: Stored) -> Stored:
            if tensor.numbers < least or not tensor.dtype.is_floating_point:
                return tensor
            return Stored(tensor.shape, dtype, lambda: tensor.read().to(dtype))

        return replace(self, stored={name: reader(tensor) for name, tensor in self.stored.items()})


def weights_of(tensors: Mapping[str, Tensor], *, path: Path) -> Weights:
    """Tensors in memory, as if they had been read from `path`."""

    def stored(tensor: Tensor) -> Stored:
        return Stored(tuple(tensor.shape), tensor.dtype, lambda: tensor)

    return Weights(path, {name: stored(tensor.detach()) for name, tensor in tensors.items()})


def open_weights(path: Path, *, entry: str | None = None) -> Weights:
    """The tensors of a file, of an index of shards, or of a folder that holds one set of them.

    Args:
        path: .safetensors, .safetensors.index.json, .pt, .pth, or a folder.
        entry: which part of a checkpoint; by default the averaged weights of the student
            (`generator_ema`), else the student's (`generator`).

    Raises:
        UserError: missing, damaged, incomplete, or no file of weights.
    """
    if path.is_dir():
        path = weights_file(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist.")
    if path.suffix in PICKLES:
        return _open_pickle(path, entry)
    if entry is not None:
        raise UserError(f"{path} has no entries, and so no {entry!r}: only a checkpoint (.pt) has.")
    return _open_shards(path) if path.name.endswith(INDEX) else _open_safetensors(path)


def weights_file(folder: Path, *, stem: str = "*") -> Path:
    """The one file in a folder that stands for its weights: an index, or a file.

    Args:
        folder: where.
        stem: how the names of files that count begin.

    Raises:
        UserError: there is none, or there are several.
    """
    for pattern in (f"{stem}{INDEX}", f"{stem}.safetensors", *(f"{stem}{suffix}" for suffix in PICKLES)):
        found = sorted(path for path in folder.glob(pattern) if ".index." in pattern or not _shard(path))
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found)
            raise UserError(f"{folder} holds several sets of weights ({names}); name the file that is meant.")
    if any(folder.glob("*-of-*.safetensors")):
        raise UserError(f"{folder} holds shards without their index (*{INDEX}). Fetch it too.")
    raise UserError(f"{folder} holds no weights; looked for *.safetensors, *{INDEX}, *.pt and *.pth.")


def _shard(path: Path) -> bool:
    return "-of-" in path.stem


def _open_safetensors(path: Path) -> Weights:
    try:
        file = safe_open(path, framework="pt")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        kinds = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path} is damaged or not a safetensors file ({_line(error)}). Fetch it again."
        ) from error
    for name, (_, kind) in kinds.items():
        if kind not in TYPES:
            raise UserError(f"{path}: {name!r} is stored as {kind}; known: {', '.join(TYPES)}.")

    def reader(name: str) -> Callable[[], Tensor]:
        return lambda: file.get_tensor(name)

    return Weights(
        path, {name: Stored(shape, TYPES[kind], reader(name)) for name, (shape, kind) in kinds.items()}
    )


def _open_shards(index: Path) -> Weights:
    """All shards of an index, each tensor from the one the index names."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {name: index.parent / _plain(str(file)) for name, file in places.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is damaged or not an index of shards. Fetch it again.") from error
    missing = sorted({file.name for file in files.values() if not file.is_file()})
    if missing:
        raise UserError(
            f"{index.parent} lacks {', '.join(missing)}, which {index.name} asks for. Fetch it again."
        )
    shards = {file: _open_safetensors(file) for file in sorted(set(files.values()))}
    for name, file in files.items():
        if name not in shards[file].stored:
            raise UserError(f"{file} lacks {name!r}, which {index.name} says it holds. Fetch both again.")
    return Weights(index, {name: shards[file].stored[name] for name, file in files.items()})


def _plain(name: str) -> str:
    """The name of a file beside the index; a path to elsewhere is an error."""
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not the name of a file")
    return name


def _open_pickle(path: Path, entry: str | None) -> Weights:
    content = _read_pickle(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds no table of weights, but {type(content).__name__}.")
    tables = {str(k): v for k, v in content.items() if isinstance(v, Mapping) and _tensors(v)}
    if entry is not None and entry not in tables:
        raise UserError(f"{path} has no {entry!r}; it has {', '.join(tables) or 'one set of weights only'}.")
    if entry is None and not _tensors(content):
        entry = next((known for known in ENTRIES if known in tables), None)
        if entry is None:
            raise UserError(f"{path} holds no weights that are known by name ({', '.join(ENTRIES)}).")
    tensors = _tensors(content if entry is None else tables[entry])
    return replace(weights_of(tensors, path=path), entry=entry)


def _tensors(table: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(name): value for name, value in table.items() if isinstance(value, Tensor)}


def _read_pickle(path: Path) -> Any:
    """What torch stored, mapped into memory and not read, if it holds nothing but data."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is damaged or holds more than tensors; nothing in it was run. "
            "Only files of plain weights are opened."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged or not a file of weights ({_line(error)}). Fetch it again."
        ) from error


def _is_zip(path: Path) -> bool:
    """Whether torch can map it into memory; files of before 2020 it cannot."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _line(error: Exception) -> str:
    """The first line of somebody else's complaint, without its full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")[:120]
