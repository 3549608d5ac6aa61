"""A file from a stranger, decoded in a process of its own that can do nothing else.

    frames = read_untrusted(path, kind="video", size=(64, 64), fps=12, limits=MediaLimits())

Decoders are large and written in C. Here each file is read by a fresh child process
(`data/untrusted_child.py`) with limits on memory, time and open files: it can open no
other file and no socket, write nothing but its answer, and inherits no secrets. If it
dies or does not come to an end, that is one sentence about the file. What it answers
is not trusted either: shapes and sizes are checked on this side.

Blocks until the child is done, so a server calls it in a thread.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Literal, cast

import torch

from causvid.data.files import reading
from causvid.errors import UserError
from causvid.types import Frames

Kind = Literal["image", "video"]

_VERDICT_BYTES = 4096
_MESSAGE_LETTERS = 300
_ENDLESS = 1e9
_SOURCE = Path(__file__).parents[2]
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """What a file may hold, and what reading it may cost."""

    file_bytes: int = 64 * 2**20
    image_pixels: int = 64_000_000
    video_pixels: int = 4096 * 2304
    """In one frame."""
    seconds: float | int = 60.0
    """Of video."""
    frames: int = 3600
    """Read from the file, and again returned."""
    result_bytes: int = 2**30
    """Of the frames returned."""
    memory_bytes: int = 2 * 2**30
    """Address space of the child; about 250 MB of it is the interpreter and its libraries."""
    cpu_seconds: int = 60
    wall_seconds: float | int = 90.0


@dataclass(frozen=True, kw_only=True)
class MediaFacts:
    """What a file claims to hold. Its first frame could be decoded; the rest was not looked at."""

    kind: Kind
    width: int
    height: int
    frames: int | None = None
    """Of a video, where it says; about, if it only says how long it is."""
    seconds: float | int | None = None
    fps: float | int | None = None


def probe_untrusted(
    path: str | Path, *, limits: MediaLimits | None = None, name: str | None = None
) -> MediaFacts:
    """What kind of file it is, its upright size and its length.

    Args:
        path: a regular file: JPEG, PNG, WebP, MP4, MOV, MKV or WebM.
        limits: the default ones, if None.
        name: what messages call the file; its own name, without the folder, if None.

    Raises:
        UserError: the file is missing, of another kind, damaged or beyond a limit.
    """
    label, allowed = _label(path, name), limits or MediaLimits()
    frames, verdict = _ask(path, label, allowed, {"do": "probe"}, frame_bytes=0)
    facts = verdict.get("facts")
    if frames or not isinstance(facts, dict):
        raise _odd_answer(label)
    return _facts(facts, label)


def read_untrusted(
    path: str | Path,
    *,
    kind: Kind,
    size: tuple[int, int],
    fps: float | int | None = None,
    limits: MediaLimits | None = None,
    name: str | None = None,
) -> Frames:
    """All frames, upright, scaled to cover `size` and cropped to its centre.

    Args:
        path: a regular file; no link, no device.
        kind: "image" (JPEG, PNG, WebP; one frame) or "video" (MP4, MOV, MKV, WebM).
        size: height and width.
        fps: at each of its moments the frame then on show is taken; None keeps every frame.
        limits, name: as for `probe_untrusted`.

    Raises:
        UserError: the file is missing, of another kind, damaged or beyond a limit.
    """
    label, allowed = _label(path, name), limits or MediaLimits()
    if kind not in ("image", "video"):
        raise UserError(f"kind is {kind!r}; it is 'image' or 'video'.")
    request = {"do": "read", "kind": kind, "size": list(size), "fps": fps}
    frames, _ = _ask(path, label, allowed, request, frame_bytes=size[0] * size[1] * 3)
    if not frames:
        raise UserError(f"{label} holds not a single frame that can be decoded.")
    return torch.frombuffer(frames, dtype=torch.uint8).view(-1, *size, 3)


def _label(path: str | Path, name: str | None) -> str:
    return _one_line(Path(path).name if name is None else name)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_MESSAGE_LETTERS]


def _ask(
    path: str | Path, label: str, limits: MediaLimits, request: Mapping[str, Any], *, frame_bytes: int
) -> tuple[bytearray, dict[str, Any]]:
    """The frames and the last word of a child that was given the file and nothing else."""
    errand = json.dumps({**request, "name": label, "limits": asdict(limits)})
    with _opened(path, label, limits) as file:
        child = start_child(errand, file)
    late = threading.Event()

    def give_up() -> None:
        late.set()
        end_child(child)

    watch = threading.Timer(limits.wall_seconds, give_up)
    watch.daemon = True
    watch.start()
    try:
        frames, verdict = _receive(cast(BufferedIOBase, child.stdout), label, limits, frame_bytes)
    finally:
        status = end_child(child)
        watch.cancel()
        cast(BufferedIOBase, child.stdout).close()
    if late.is_set():
        took = f"took longer than {limits.wall_seconds:g} seconds to read"
        raise UserError(f"{label} {took}; send a smaller file.")
    if verdict is None:
        raise UserError(f"{label} cannot be read: its decoder {_end(status)}. Send it in another format.")
    if isinstance(verdict.get("error"), str):
        raise UserError(_one_line(verdict["error"]))
    return frames, verdict


def start_child(
    errand: str, file: BufferedIOBase, *, module: str = "causvid.data.untrusted_child"
) -> "subprocess.Popen[bytes]":
    """A process that runs `module` with this argument, reads the file and answers in its standard output."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, errand],
        stdin=file.fileno(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        cwd="/",
        start_new_session=True,  # Ctrl-C is for the server, which says when the child ends
    )


def end_child(child: "subprocess.Popen[bytes]") -> int:
    """End it, and what it may have started; gives the status with which it ended."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def _opened(path: str | Path, label: str, limits: MediaLimits) -> BufferedIOBase:
    """The file, opened without following a link or waiting for a pipe."""
    with reading(Path(label), "a picture or video"):
        if os.path.islink(path):
            raise UserError(f"{label} is a link; a file itself is accepted.")
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        file = os.fdopen(handle, "rb", closefd=True) if stat.S_ISREG(os.fstat(handle).st_mode) else None
        if file is None:
            os.close(handle)
            raise UserError(f"{label} is no regular file; a picture or video in a file is accepted.")
        size = os.fstat(handle).st_size
        if not 0 < size <= limits.file_bytes:
            file.close()
            large = f"has {size} bytes; at most {limits.file_bytes} are accepted"
            raise UserError(f"{label} {large if size else 'is empty'}.")
        return file


def _environment() -> dict[str, str]:
    """What the child needs to start: no tokens, no proxies, no settings of ours."""
    kept = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    return {**kept, "PYTHONPATH": str(_SOURCE), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _receive(
    pipe: BufferedIOBase, label: str, limits: MediaLimits, frame_bytes: int
) -> tuple[bytearray, dict[str, Any] | None]:
    """Frames, each behind an "F", then one line of JSON; None for the line of a child that died."""
    frames = bytearray()
    most = min(limits.result_bytes, limits.frames * frame_bytes)
    while (mark := pipe.read(1)) == b"F":
        if len(frames) + frame_bytes > most:
            raise UserError(
                f"{label} gives more than {limits.frames} frames or {limits.result_bytes >> 20} MiB of them. "
                "Cut it first."
            )
        frame = pipe.read(frame_bytes)
        if len(frame) < frame_bytes:
            return frames, None
        frames += frame
    line = mark + pipe.readline(_VERDICT_BYTES)
    if not line.endswith(b"\n"):
        return frames, None
    try:
        verdict = json.loads(line)
    except (ValueError, RecursionError):
        raise _odd_answer(label) from None
    if not isinstance(verdict, dict):
        raise _odd_answer(label)
    return frames, verdict


def _end(status: int) -> str:
    return f"was stopped by signal {-status}" if status < 0 else f"ended with status {status}"


def _facts(facts: Mapping[str, Any], label: str) -> MediaFacts:
    """Checked: the child read a stranger's file and may say anything."""
    kind: Any
    width: Any
    height: Any
    kind, width, height, frames = (facts.get(key) for key in ("kind", "width", "height", "frames"))
    seconds, fps = facts.get("seconds"), facts.get("fps")
    if (
        kind not in ("image", "video")
        or not all(type(side) is int and side > 0 for side in (width, height))
        or not (frames is None or (type(frames) is int and frames > 0))
        or not all(x is None or (type(x) in (int, float) and 0 <= x < _ENDLESS) for x in (seconds, fps))
    ):
        raise _odd_answer(label)
    return MediaFacts(kind=kind, width=width, height=height, frames=frames, seconds=seconds, fps=fps)


def _odd_answer(label: str) -> UserError:
    return UserError(f"{label} cannot be read: its decoder gave no sensible answer. Send another format.")
