"""Files that are whole or absent, and errors about files said in one line.

What is written goes to `NAME.part` beside the target and takes the name only when
it is finished; what is read came from anybody and may be damaged anywhere. Knows
nothing about what is inside.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from causvid.errors import UserError

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or write elsewhere",
    errno.EDQUOT: "the disk quota is used up; free some space or write elsewhere",
    errno.EFBIG: "the file would be larger than is allowed here; write elsewhere",
    errno.ENOENT: "there is no such file or folder",
    errno.EACCES: "permission denied",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOTDIR: "its parent is a file, not a folder",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Failures of the file system inside become a UserError about `path`.

    Raises:
        UserError: the disk is full, the folder is read-only, the name too long ...
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {_reason(error)}.") from error


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Whatever goes wrong inside while foreign bytes are read becomes a UserError about `path`.

    Decoders meet damaged files with nearly every exception there is (InvalidDataError,
    UnicodeDecodeError, IndexError, MemoryError, SyntaxError, struct.error ...), so all
    are caught. Keep the block small: it would hide a mistake of ours too.

    Args:
        path: the file.
        what: what it should be and which kinds are accepted, for the message.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _REASONS:
            raise UserError(f"{path} cannot be read: {_reason(error)}.") from error
        raise UserError(f"{path} is damaged or not {what} ({type(error).__name__}).") from error


def open_part(path: Path) -> Path:
    """Create the empty `NAME.part` a file grows in, so that an impossible target fails at once.

    Raises:
        UserError: `path` is a folder, its folder is missing or cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with writing(path):
        if path.is_dir():
            raise UserError(f"{path} is a folder; name a file inside it.")
        if not path.parent.exists():
            raise UserError(f"{path} cannot be written: create the folder {path.parent} first.")
        part.unlink(missing_ok=True)
        part.touch()
    return part


def finish_part(part: Path, path: Path) -> None:
    """Give a finished part its name, in place of an earlier file."""
    with writing(path):
        os.replace(part, path)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing, in UTF-8.

    Raises:
        UserError: the disk is full, the folder is missing or read-only.
    """
    part = path.with_name(path.name + ".part")
    with writing(path):
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)


def drop_part(part: Path) -> None:
    """Remove an unfinished part."""
    with suppress(OSError):  # the folder itself may have vanished; the first error is the one to tell
        part.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0) or error.strerror or type(error).__name__


def straight(path: Path) -> Path:
    """The same place without "..": a way through a folder that is not there yet leads nowhere."""
    return Path(os.path.normpath(path))
