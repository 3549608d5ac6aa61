"""Captions as people keep them: a text file beside each video, or one JSONL or CSV file for all.

Knows text and files, nothing of videos.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from causvid.data.files import reading
from causvid.errors import UserError

NAME_COLUMNS = ("file", "file_name", "video", "path", "key", "name")
"""What the column with the video may be called; the first that is there counts."""
CAPTION_COLUMNS = ("caption", "text", "prompt")
TABLES = (".jsonl", ".csv")
MOST_LETTERS = 10_000


def tidy(caption: str) -> str | None:
    """On one line; None for one that says nothing or is no caption at all."""
    text = " ".join(caption.split())
    return text if 0 < len(text) <= MOST_LETTERS else None


def beside(video: Path) -> str | None:
    """The caption in the text file of the same name, if there is one."""
    path = video.with_suffix(".txt")
    try:
        return decoded(path.read_bytes())
    except OSError:
        return None


def decoded(content: bytes) -> str | None:
    """A caption from the bytes of a text file; None where they are no UTF-8."""
    try:
        return tidy(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return None


def caption_in(entry: Mapping[str, Any]) -> str | None:
    """The caption among the entries of a row or an object."""
    found = (entry[name] for name in CAPTION_COLUMNS if isinstance(entry.get(name), str))
    return tidy(next(found, ""))


def read_table(path: Path) -> dict[str, str | None]:
    """Names of videos and their captions, from a JSONL or CSV file with a heading.

    Raises:
        UserError: the file is missing or damaged, or a row lacks the name of its video.
    """
    if path.suffix.lower() not in TABLES:
        raise UserError(f"{path} is no table of captions; accepted: {', '.join(TABLES)}.")
    with reading(path, "a table of captions in UTF-8"):
        text = path.read_text(encoding="utf-8-sig")
    rows = _json_rows(path, text) if path.suffix.lower() == ".jsonl" else csv.DictReader(text.splitlines())
    found: dict[str, str | None] = {}
    for number, row in enumerate(rows, 1):
        name = next((row[c] for c in NAME_COLUMNS if isinstance(row.get(c), str) and row[c].strip()), None)
        if name is None:
            raise UserError(
                f"{path}, entry {number}, names no video; its column is called one of "
                f"{', '.join(NAME_COLUMNS)}, and that of the caption one of {', '.join(CAPTION_COLUMNS)}."
            )
        found[name.strip()] = caption_in(row)
    return found


def _json_rows(path: Path, text: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UserError(f'{path}, line {number}, is no JSON object; {{"file": ..., "caption": ...}} is.')
        yield row
