"""The server's one folder: everything it writes for clients, never more than a limit.

Files have names that nobody can guess and that no client chooses. A full disk, or a limit that
is reached, is one sentence for the client who asked. Knows bytes and paths.
"""

import secrets
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from causvid.errors import UserError

_NAME_BYTES = 18


class DiskFull(UserError):
    """There is no room for this."""

    def __init__(self) -> None:
        super().__init__(
            "the server has no disk space left for this; delete old videos and uploads, or wait."
        )


class Store:
    """Files of one server, which go when it ends.

    Args:
        folder: where its own folder is made; the system's place for temporary files, if None.
        limit: bytes of all files together.
    """

    def __init__(self, folder: Path | None, *, limit: int) -> None:
        try:
            self.root = Path(tempfile.mkdtemp(prefix="causvid-", dir=folder))
        except OSError as error:
            raise UserError(
                f"no folder can be made in {folder or tempfile.gettempdir()}: {error.strerror}."
            ) from error
        self.limit = limit
        self._sizes: dict[Path, int] = {}
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        with self._lock:
            return sum(self._sizes.values())

    @property
    def files(self) -> int:
        with self._lock:
            return len(self._sizes)

    def new(self, suffix: str) -> Path:
        """A name for a file that is not there yet."""
        path = self.root / (secrets.token_urlsafe(_NAME_BYTES) + suffix)
        with self._lock:
            self._sizes[path] = 0
        return path

    def append(self, path: Path, data: bytes) -> int:
        """Write bytes at the end of a file; gives where they begin.

        Raises:
            DiskFull: the limit or the disk does not allow it.
        """
        self.spend(path, len(data))
        try:
            with open(path, "ab") as file:
                start = file.tell()
                file.write(data)
        except OSError as error:
            raise DiskFull from error
        return start

    def spend(self, path: Path, size: int) -> None:
        """Count bytes that are about to be written to a file.

        Raises:
            DiskFull: the limit does not allow it, or the file is gone.
        """
        with self._lock:
            if path not in self._sizes or sum(self._sizes.values()) + size > self.limit:
                raise DiskFull
            self._sizes[path] += size

    def measure(self, path: Path) -> None:
        """Count a file that somebody else has written as it is now.

        Raises:
            DiskFull: it is more than the limit allows.
        """
        with self._lock:
            self._sizes[path] = path.stat().st_size
            if sum(self._sizes.values()) > self.limit:
                raise DiskFull

    def remove(self, path: Path) -> None:
        with self._lock:
            self._sizes.pop(path, None)
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
