"""The folder of an evaluation: one question, and answers that are kept as they come.

    manifest.json          what was asked: texts, seeds, hashes
    clips/<arm>/           a model's frames, lossless, in shards
    scores/<arm>.jsonl     one record per clip
    report.json  report.md  sheets/  plots/

Whatever was interrupted is continued by asking the same again. Knows nothing of what is measured.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from causvid.data.files import write_text
from causvid.data.latents import ShardReader, missing_shards, write_shard
from causvid.errors import UserError
from causvid.evaluate.arms import Arm
from causvid.evaluate.protocol import Item
from causvid.types import Frames


def keep_manifest(out: Path, manifest: Mapping[str, Any]) -> None:
    """Write what is asked, or check that the folder was begun with the same question.

    Raises:
        UserError: it answers another one.
    """
    path, text = out / "manifest.json", json.dumps(manifest, indent=1)
    if path.exists():
        old, new = json.loads(path.read_text(encoding="utf-8")), json.loads(text)
        different = [key for key in new if old.get(key) != new[key]]
        if different:
            raise UserError(
                f"{out} answers another question ({', '.join(different)} differ); use another --out, "
                "or remove it."
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def plain(value: Any) -> Any:
    """Numbers that JSON knows: nan and infinity become None."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_json(report: Mapping[str, Any]) -> str:
    """The content of report.json, which is also what `--json` prints."""
    return json.dumps(report, indent=2) + "\n"


class Lines:
    """Records in a file, one a line; a last line that was being written when a process died is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.records: list[dict[str, Any]] = []
        if path.exists():
            whole, _, rest = path.read_text(encoding="utf-8").rpartition("\n")
            if rest:
                write_text(path, whole + "\n" if whole else "")
            self.records = [json.loads(line) for line in whole.splitlines()]

    def add(self, record: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.records.append(record)

    @property
    def done(self) -> set[str]:
        return {record["id"] for record in self.records}


def stored_clips(arm: Arm, items: list[Item], *, number: int, folder: Path) -> list[Frames]:
    """A batch, from its shard if it was made before.

    Args:
        items: what the clips are made for.
        number: of the batch.
        folder: of the arm's shards.
    """
    if not arm.expensive:
        return arm.make(items)
    if number in missing_shards(folder, number + 1):
        clips = torch.stack(arm.make(items))
        write_shard(
            folder, number, {"frames": clips, "seeds": torch.tensor([i.seed for i in items])}, len(items)
        )
        return list(clips)
    reader = ShardReader(folder)
    first = sum(shard.clips for shard in reader.shards[:number])
    stored: list[UInt8[Tensor, "t H W 3"]] = [
        reader.slice("frames", first + i).to(torch.uint8) for i in range(len(items))
    ]
    return stored


class StoredClips:
    """A model's clips, in the order of the items they were made for."""

    def __init__(self, folder: Path) -> None:
        self._reader = ShardReader(folder)

    def get(self, number: int) -> Frames:
        frames: UInt8[Tensor, "t H W 3"] = self._reader.slice("frames", number).to(torch.uint8)
        return frames
