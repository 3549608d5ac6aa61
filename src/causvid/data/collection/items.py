"""Which videos there are: a folder, a list, or tar files, in an order that is always the same.

    source = { folder = "videos" }                            videos/a/b.mp4 with videos/a/b.txt
    source = { folder = "videos", captions = "all.csv" }      or all.jsonl: file, caption
    source = { list = "videos.jsonl" }                        or .csv, or .txt with a path per line
    source = { tars = ["part-*.tar"] }                        WebDataset: 0001.mp4 with 0001.txt or 0001.json

Nothing is opened but tables and the directories of tar files. Knows nothing of what is in a video.

Source of the tar convention: WebDataset, github.com/webdataset/webdataset.
"""

import glob
import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from causvid.data.collection.captions import TABLES, beside, caption_in, decoded, read_table
from causvid.data.files import reading
from causvid.errors import UserError

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".gif")
_MOST_CAPTION_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Where the videos are; exactly one of folder, list and tars."""

    folder: str | None = None
    list: str | None = None
    """A .txt with a path per line, or a .jsonl or .csv with captions; paths begin where the list is."""
    tars: tuple[str, ...] = ()
    """Names or patterns."""
    captions: str | None = None
    """A .jsonl or .csv for the videos of `folder`. None: text files beside the videos."""
    uncaptioned: Literal["stop", "skip", "empty"] = "stop"
    """What becomes of videos without a caption; "empty" gives them the empty one."""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.folder, self.list, self.tars))) != 1:
            raise UserError("source must name exactly one of folder, list and tars.")
        if self.captions is not None and not self.folder:
            raise UserError("source.captions goes with source.folder; lists and tars carry their captions.")


@dataclass(frozen=True)
class Item:
    """One video: a file, or a stretch of a tar file."""

    key: str
    """Its name in messages and tables; no two have the same."""
    path: str
    caption: str | None
    offset: int = 0
    size: int | None = None
    """Bytes in a tar file; None for a whole file."""


def find_items(source: SourceConfig) -> list[Item]:
    """All videos of a source, by name.

    Raises:
        UserError: there is none, a table is damaged, or captions are missing and that was not allowed.
    """
    if source.folder:
        items, where = list(_in_folder(Path(source.folder), source.captions)), source.folder
    elif source.list:
        items, where = list(_in_list(Path(source.list))), source.list
    else:
        items, where = list(_in_tars(source.tars)), ", ".join(source.tars)
    if not items:
        raise UserError(f"{where} holds no video; files ending in {', '.join(SUFFIXES)} are taken.")
    items.sort(key=lambda item: item.key)
    without = [item.key for item in items if item.caption is None]
    if source.uncaptioned == "empty":
        return [replace(item, caption=item.caption or "") for item in items]
    if without and (source.uncaptioned == "stop" or len(without) == len(items)):
        raise UserError(
            f"{len(without)} of {len(items)} videos in {where} have no caption, {without[0]} the first. "
            'Add them, or set source.uncaptioned to "skip" or "empty".'
        )
    return items


def digest(items: list[Item]) -> str:
    """What tells this collection from another: names, sizes and captions."""
    facts = [[i.key, i.caption, _bytes_of(i)] for i in items]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _bytes_of(item: Item) -> int:
    if item.size is not None:
        return item.size
    try:
        return Path(item.path).stat().st_size
    except OSError:
        return 0


def _is_video(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not PurePosixPath(name).name.startswith(".")


def _in_folder(folder: Path, captions: str | None) -> Iterator[Item]:
    if not folder.is_dir():
        raise UserError(f"source.folder {folder} is no folder.")
    table = None if captions is None else read_table(Path(captions))
    matched = False
    for path in folder.rglob("*"):
        if not (_is_video(path.name) and path.is_file()):
            continue
        key = path.relative_to(folder).as_posix()
        caption = beside(path) if table is None else _looked_up(table, key)
        matched = matched or caption is not None
        yield Item(key, str(path), caption)
    if table is not None and not matched:
        raise UserError(
            f"{captions} names none of the videos in {folder}; it must name them by their path in it, "
            "or by their file name, with or without suffix."
        )


def _looked_up(table: Mapping[str, str | None], key: str) -> str | None:
    path = PurePosixPath(key)
    names = (key, f"./{key}", path.name, path.with_suffix("").as_posix(), path.stem)
    return next((table[name] for name in names if name in table), None)


def _in_list(path: Path) -> Iterator[Item]:
    table: Mapping[str, str | None]
    if path.suffix.lower() in TABLES:
        table = read_table(path)
    else:
        with reading(path, "a list of videos, a path per line"):
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        table = {line.strip(): None for line in lines if line.strip() and not line.startswith("#")}
    for name, caption in table.items():
        video = path.parent / name
        yield Item(name, str(video), caption if caption is not None else beside(video))


def _in_tars(patterns: tuple[str, ...]) -> Iterator[Item]:
    for pattern in patterns:
        found = sorted(glob.glob(pattern))
        if not found:
            raise UserError(f"source.tars: there is no file {pattern}.")
        for name in found:
            yield from _in_tar(Path(name))


def _in_tar(path: Path) -> Iterator[Item]:
    """Members that share a name up to its first dot are one sample."""
    videos: dict[str, tarfile.TarInfo] = {}
    captions: dict[str, str | None] = {}
    with reading(path, "an uncompressed tar file"), tarfile.open(path, "r:") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            stem, _, kind = name.partition(".")
            sample = f"{folder}/{stem}"
            if not member.isfile():
                continue
            if _is_video(name):
                videos[sample] = member
            elif kind in ("txt", "json") and member.size <= _MOST_CAPTION_BYTES:
                content = tar.extractfile(member)
                captions[sample] = _said(kind, content.read() if content else b"")
    for sample, member in videos.items():
        key = f"{path.as_posix()}/{member.name}"
        yield Item(key, str(path), captions.get(sample), member.offset_data, member.size)


def _said(kind: str, content: bytes) -> str | None:
    if kind == "txt":
        return decoded(content)
    try:
        entry = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return caption_in(entry) if isinstance(entry, dict) else None
