"""Pictures and videos that clients send to start from.

A body is written to a file while it comes, counted as it does, decoded in a process of its own
(`data/untrusted.py`), and kept as plain frames of the model's size. Knows files and frames.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from causvid.data.untrusted import MediaFacts, MediaLimits, probe_untrusted, read_untrusted
from causvid.errors import UserError
from causvid.serve.limits import Limits
from causvid.serve.store import Store
from causvid.types import Frames

SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    "video/quicktime": ".mov",
}
_ID_BYTES = 18


class TooLarge(UserError):
    """The body has more bytes than are accepted."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What was sent, decoded."""

    id: str
    kind: Literal["image", "video"]
    width: int
    height: int
    frames: int
    """At the model's rate."""
    seconds: float
    path: Path
    """Frames of the model's size, as a numpy file."""
    created: float

    def public(self) -> dict[str, Any]:
        names = ("id", "kind", "width", "height", "frames", "seconds")
        return {name: getattr(self, name) for name in names}

    def read(self) -> Frames:
        """The frames, read from the disk as they are used: many jobs may wait with the same ones."""
        return torch.from_numpy(np.load(self.path, mmap_mode="c", allow_pickle=False))


class Uploads:
    """All uploads of one server."""

    def __init__(self, store: Store, limits: Limits, *, size: tuple[int, int], fps: float | int) -> None:
        self._store, self._limits, self._size, self._fps = store, limits, size, fps
        self._known: dict[str, Upload] = {}
        self._decoding = asyncio.Semaphore(1)
        self._coming = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, id: str, kind: Literal["image", "video"]) -> Upload:
        """The upload of this name.

        Raises:
            UserError: there is none, or it is of the other kind.
        """
        upload = self._known.get(id)
        if upload is None:
            raise UserError(f"there is no such upload; send the {kind} to /v1/uploads first (it is kept for "
                            f"{self._limits.upload_keep_seconds:g} seconds).")  # fmt: skip
        if upload.kind != kind:
            raise UserError(f"the upload given as {kind} is of the kind {upload.kind}.")
        return upload

    async def add(self, content_type: str, body: AsyncIterator[bytes]) -> Upload:
        """Take one.

        Raises:
            TooLarge: the body has too many bytes.
            UserError: it is no such file, damaged, or beyond a limit.
        """
        kind = content_type.partition(";")[0].strip().lower()
        if kind not in SUFFIXES:
            raise UserError(f"the content type {kind[:60]!r} is not accepted; send {', '.join(SUFFIXES)}.")
        if len(self._known) + self._coming >= self._limits.uploads:
            raise UserError(f"the server keeps {self._limits.uploads} uploads already; try again later.")
        path = self._store.new(SUFFIXES[kind])
        self._coming += 1
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                await self._receive(path, body)
            async with self._decoding:
                upload = await asyncio.to_thread(self._decode, path)
            self._known[upload.id] = upload
            return upload
        except TimeoutError:
            raise UserError(f"the file did not come within {self._limits.idle_seconds:g} seconds.") from None
        finally:
            self._coming -= 1
            self._store.remove(path)

    async def _receive(self, path: Path, body: AsyncIterator[bytes]) -> None:
        size = 0
        async for part in body:
            size += len(part)
            if size > self._limits.upload_bytes:
                raise TooLarge(f"the file is larger than the {self._limits.upload_bytes} bytes accepted.")
            await asyncio.to_thread(self._store.append, path, part)
        if size == 0:
            raise UserError("the body is empty; send the picture or the video itself.")

    def _decode(self, path: Path) -> Upload:
        limits = self._media_limits()
        facts: MediaFacts = probe_untrusted(path, limits=limits, name="the file")
        rate = self._fps if facts.kind == "video" else None
        frames = read_untrusted(
            path, kind=facts.kind, size=self._size, fps=rate, limits=limits, name="the file"
        )
        kept = self._store.new(".npy")
        try:
            self._store.spend(kept, frames.numel())
            np.save(kept, frames.numpy(), allow_pickle=False)
            self._store.measure(kept)
        except BaseException:
            self._store.remove(kept)
            raise
        return Upload(
            id=secrets.token_urlsafe(_ID_BYTES), kind=facts.kind, width=facts.width, height=facts.height,
            frames=len(frames), seconds=len(frames) / self._fps if facts.kind == "video" else 0.0,
            path=kept, created=time.monotonic(),
        )  # fmt: skip

    def _media_limits(self) -> MediaLimits:
        return MediaLimits(
            file_bytes=self._limits.upload_bytes,
            image_pixels=self._limits.upload_pixels,
            video_pixels=self._limits.upload_pixels,
            seconds=self._limits.upload_seconds,
        )

    def expire(self) -> None:
        """Let those go that were kept long enough."""
        oldest = time.monotonic() - self._limits.upload_keep_seconds
        for upload in [upload for upload in self._known.values() if upload.created < oldest]:
            del self._known[upload.id]
            self._store.remove(upload.path)
