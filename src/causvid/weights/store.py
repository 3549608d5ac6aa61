"""Writing tensors: one at a time, in shards if asked, whole or not at all.

A safetensors file is a table of names, shapes and places, then the numbers. Since shapes
are known before any tensor is read, the table is written first and the tensors follow one
by one: memory holds one of them, whatever the size of the model.

Source: the safetensors format, https://github.com/huggingface/safetensors.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from causvid.errors import UserError
from causvid.weights.files import INDEX, TYPES, Stored, Weights, open_weights

SHARD = 5_000_000_000
"""Bytes of a shard, as large as the hub's own tools make them."""
ALIGNMENT = 8
CODES = {dtype: code for code, dtype in TYPES.items()}


def write_weights(folder: Path, stem: str, weights: Weights, *, shard: int = SHARD) -> Path:
    """Write `stem`.safetensors, or shards and their index if it would be larger than one shard.

    What was written is opened again and compared by name and shape.

    Args:
        folder: is there already.
        stem: how the files' names begin.
        weights: what to write.
        shard: bytes that one file holds at most, if it holds more than one tensor.

    Returns:
        the file, or the index.
    """
    groups = list(_shards(weights, shard))
    if len(groups) == 1:
        path = _write(folder / f"{stem}.safetensors", weights, groups[0])
    else:
        places = {}
        for number, names in enumerate(groups, 1):
            file = folder / f"{stem}-{number:05}-of-{len(groups):05}.safetensors"
            _write(file, weights, names)
            places.update(dict.fromkeys(names, file.name))
        content = {
            "metadata": {"total_size": sum(map(_bytes, weights.stored.values()))},
            "weight_map": places,
        }
        path = folder / f"{stem}{INDEX}"
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if open_weights(path).shapes != weights.shapes:
        raise UserError(f"{path} does not hold what was written to it; is the disk sound?")
    return path


@contextmanager
def fresh_folder(target: Path, *, marks: Iterable[str]) -> Iterator[Path]:
    """A folder to write into, which takes the place of `target` once everything in it is written.

    Args:
        target: replaced if it is empty or holds one of `marks`.
        marks: files by which a model is recognised.

    Raises:
        UserError: the target holds something else.
    """
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file; a model is written into a folder. Choose another name.")
    if target.exists() and any(target.iterdir()) and not any((target / mark).exists() for mark in marks):
        raise UserError(f"{target} exists and is no model; nothing is written over it. Choose another.")
    part, old = (target.with_name(target.name + suffix) for suffix in (".part", ".old"))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)
    os.replace(part, target)
    shutil.rmtree(old, ignore_errors=True)


def _shards(weights: Weights, most: int) -> Iterator[list[str]]:
    """Names, in groups that fit into a shard."""
    group: list[str] = []
    filled = 0
    for name, tensor in weights.stored.items():
        if group and filled + _bytes(tensor) > most:
            yield group
            group, filled = [], 0
        group.append(name)
        filled += _bytes(tensor)
    yield group


def _bytes(tensor: Stored) -> int:
    return tensor.numbers * tensor.dtype.itemsize


def _write(path: Path, weights: Weights, names: list[str]) -> Path:
    """One safetensors file, under another name until it is complete."""
    ordered = sorted(names, key=lambda name: (-weights.stored[name].dtype.itemsize, name))
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in ordered:
        tensor = weights.stored[name]
        start, end = end, end + _bytes(tensor)
        table[name] = {
            "dtype": CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for name in ordered:
                numbers = weights[name].to("cpu", weights.stored[name].dtype).contiguous().reshape(-1)
                file.write(numbers.view(torch.uint8).numpy().data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    os.replace(part, path)
    return path
