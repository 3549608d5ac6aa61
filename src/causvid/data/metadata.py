"""How a clip was made, stored inside the clip.

Prompt, seed, model and whatever else the caller gives are one JSON object, in pure
ASCII, in the place each format has for remarks: the `comment` tag of an MP4, the
comment of a GIF, the EXIF image description of a WebP, the text chunk "Comment" of a
PNG. The object is wrapped as {"causvid": ...}, so that remarks of others are not
taken for ours.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
from PIL import Image

from causvid.data.bombs import bombs_are_errors
from causvid.data.files import reading
from causvid.errors import UserError

EXIF_IMAGE_DESCRIPTION = 0x010E
PNG_KEYWORD = "Comment"
_SUFFIXES = (".mp4", ".gif", ".webp", ".png")
_MOST_CHARACTERS = 1_000_000
"""More than this is no description of a clip (and PNG readers refuse it)."""


def pack(metadata: Mapping[str, Any]) -> str:
    """The text that is stored."""
    text = json.dumps({"causvid": dict(metadata)}, ensure_ascii=True, separators=(",", ":"))
    if len(text) > _MOST_CHARACTERS:
        raise UserError(
            f"the description of the clip has {len(text)} characters; {_MOST_CHARACTERS} fit into a file."
        )
    return text


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What the writer of a clip stored in it: prompt, seed, model ...

    Raises:
        UserError: the file is missing, damaged, of another kind, or was not written by causvid.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path} is of no kind that holds a description; accepted: {', '.join(_SUFFIXES)}.")
    with reading(path, f"a {path.suffix.lower()} file"):
        text = _read_mp4(path) if path.suffix.lower() == ".mp4" else _read_picture(path)
    try:
        stored = json.loads(text or "")
    except (ValueError, RecursionError):
        stored = None
    ours = stored.get("causvid") if isinstance(stored, dict) else None
    if not isinstance(ours, dict):
        raise UserError(f"{path} holds no description; only clips that causvid wrote do.")
    return ours


def _read_mp4(path: Path) -> str | None:
    with (
        path.open("rb") as file,
        av.open(file, "r", container_options={"format_whitelist": "mov"}) as container,
    ):
        return container.metadata.get("comment")


def _read_picture(path: Path) -> str | None:
    with (
        bombs_are_errors(),
        path.open("rb") as file,
        Image.open(file, formats=("GIF", "WEBP", "PNG")) as image,
    ):
        if image.format == "GIF":
            comment = image.info.get("comment", b"")
            return comment.decode("ascii") if isinstance(comment, bytes) else comment
        if image.format == "PNG":
            return image.info.get(PNG_KEYWORD)
        return image.getexif().get(EXIF_IMAGE_DESCRIPTION)
