"""Videos of a collection, decoded apart or here, frame by frame.

"apart" gives each file to a process of its own that can do nothing but decode it
(`data/untrusted_child.py` says what it gives up): a decoder that crashes, hangs or is
taken over costs one file. "here" decodes in this process, which saves a start of about a
third of a second per file, for collections one has made oneself. Frames are the same.
"""

import json
import os
import select
import tempfile
from collections.abc import Generator
from dataclasses import asdict, dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from causvid.data.collection.items import Item
from causvid.data.collection.pictures import ACCEPTED, Errand, Facts, Pictures, pictures_of
from causvid.data.files import reading
from causvid.data.untrusted import end_child, start_child
from causvid.errors import UserError

Where = Literal["apart", "here"]
CHILD = "causvid.data.collection.child"
_VERDICT_BYTES = 4096
_FACTS = ("height", "width", "fps", "seconds", "codec", "audio", "frames")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """What decoding one file may cost."""

    memory_bytes: int = 3 * 2**30
    cpu_seconds: int = 7200
    silent_seconds: float = 120.0
    """Between two pictures."""


def frames_of(item: Item, errand: Errand, *, where: Where, patience: Patience) -> Pictures:
    """The frames that are asked for; returns the facts about the file.

    Raises:
        UserError: the file is missing, damaged, beyond a limit or shorter than it says.
    """
    with _opened(item) as file:
        if where == "here":
            with reading(Path(errand.name), ACCEPTED):
                return (yield from pictures_of(file, errand))
        return (yield from _apart(file, errand, patience))


def _opened(item: Item) -> BufferedIOBase:
    """The file itself, or a copy of the stretch of a tar file, which a decoder may seek in."""
    path = Path(item.path)
    with reading(path, ACCEPTED):
        if not path.is_file():  # a pipe would wait for ever
            raise UserError(f"{path} is no file.")
        whole = path.open("rb")
        if item.size is None:
            return whole
        with whole:
            whole.seek(item.offset)
            copy = tempfile.TemporaryFile()  # noqa: SIM115
            left = item.size
            while left and (piece := whole.read(min(left, 2**20))):
                copy.write(piece)
                left -= len(piece)
            copy.flush()
            copy.seek(0)
            return cast(BufferedIOBase, copy)


def _apart(file: BufferedIOBase, errand: Errand, patience: Patience) -> Pictures:
    limits = {"memory_bytes": patience.memory_bytes, "cpu_seconds": patience.cpu_seconds}
    child = start_child(json.dumps({"errand": asdict(errand), "limits": limits}), file, module=CHILD)
    pipe = cast(BufferedIOBase, child.stdout)
    try:
        answer = _answer(pipe, errand, patience)
        frames = 0
        while True:
            try:
                picture = next(answer)
            except StopIteration as end:
                verdict = end.value
                break
            frames += 1
            yield picture
    finally:
        status = end_child(child)
        pipe.close()
    if verdict is None:
        how = f"was stopped by signal {-status}" if status < 0 else f"ended with status {status}"
        raise UserError(f"{errand.name} cannot be read: its decoder {how}.")
    if isinstance(verdict.get("error"), str):
        raise UserError("".join(c if c.isprintable() else "?" for c in verdict["error"])[:500])
    return _checked(verdict.get("facts"), frames, errand.name)


def _answer(pipe: BufferedIOBase, errand: Errand, patience: Patience) -> Generator[Any, None, Any]:
    """Pictures as they come; returns the last word, or None if there was none."""
    height, width = errand.size
    reader = _PatientReader(pipe, errand.name, patience.silent_seconds)
    while (mark := reader.take(1)) == b"F":
        content = reader.take(height * width * 3)
        if len(content) < height * width * 3:
            return None
        yield np.frombuffer(content, np.uint8).reshape(height, width, 3)
    line = mark + reader.line(_VERDICT_BYTES)
    try:
        verdict = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return verdict if isinstance(verdict, dict) else None


class _PatientReader:
    """Reads a pipe, but does not wait for ever."""

    def __init__(self, pipe: BufferedIOBase, name: str, seconds: float) -> None:
        self.handle, self.name, self.seconds = pipe.fileno(), name, seconds
        self.waiting = select.poll()  # select() knows no file numbers above 1023
        self.waiting.register(self.handle, select.POLLIN)
        self.rest = bytearray()

    def take(self, count: int) -> bytes:
        """So many bytes; fewer at the end."""
        while len(self.rest) < count and self._more():
            pass
        taken, self.rest = bytes(self.rest[:count]), self.rest[count:]
        return taken

    def line(self, most: int) -> bytes:
        while len(self.rest) < most and self._more():
            pass
        return bytes(self.rest[:most])

    def _more(self) -> bool:
        if not self.waiting.poll(1000 * self.seconds):
            raise UserError(f"{self.name} gave no picture for {self.seconds:g} seconds.")
        piece = os.read(self.handle, 2**20)
        self.rest += piece
        return bool(piece)


def _checked(facts: Any, frames: int, name: str) -> Facts:
    """The child read a file that may have taken it over, and may say anything."""
    kinds: dict[str, tuple[type, ...]] = {"codec": (str,), "audio": (bool,)}
    if not isinstance(facts, dict) or not all(
        type(facts.get(key)) in kinds.get(key, (int, float)) for key in _FACTS
    ):
        raise UserError(f"{name} cannot be read: its decoder gave no sensible answer.")
    return {**{key: facts[key] for key in _FACTS}, "codec": facts["codec"][:16], "frames": frames}
