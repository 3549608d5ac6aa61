"""How a server feels to several viewers at once, measured from their side of the socket.

A server is started in this process on a free port of this machine, and for each number of viewers so
many clients watch at the pace of the video, acknowledge frames when they would have been shown, and change
their prompt. Everything a viewer waits for is in: the queue, the model, coding, the socket.
"""

import asyncio
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

from causvid.errors import UserError
from causvid.serve.limits import Limits
from causvid.serve.protocol import SUBPROTOCOL, read_packet
from causvid.serve.run import LiveServer, bind, load_to_serve
from causvid.serve.service import ServeOptions, Service

PROMPTS = (
    "a red ball bounces on the grass under a blue sky",
    "a red ball bounces on the grass while it snows",
)
_EDIT_EVERY = 3.0
_MOST_SESSIONS = 64
_FIRST_EDIT = 1.5


@dataclass
class Seen:
    """What one viewer measured."""

    first: float = 0.0
    edits: list[float] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    """When each chunk was there completely."""
    frames: int = 0
    seconds: float = 0.0
    late: float = 0.0
    """Seconds for which the picture stood still."""


def measure(
    model: str,
    *,
    sessions: Sequence[int],
    seconds: float | int,
    device: str = "auto",
    pace: Literal["realtime", "fast"],
) -> dict[str, Any]:
    """Numbers for each number of simultaneous viewers, and how they were measured.

    Raises:
        UserError: no such model, or numbers that make no sense.
    """
    if not sessions or not all(1 <= count <= _MOST_SESSIONS for count in sessions):
        raise UserError(
            f"the numbers of sessions are {list(sessions)}; each must be from 1 to {_MOST_SESSIONS}."
        )
    if not 1 <= seconds <= 3600:
        raise UserError(f"seconds is {seconds:g}; it must be from 1 to 3600.")
    limits = replace(Limits(), sessions=max(sessions))
    service = Service(lambda: load_to_serve(model, device), options=ServeOptions(limits=limits))
    with _listening(service) as port:
        asyncio.run(_watch(port, service, viewers=1, seconds=1.0, pace=pace))
        rows = [
            _row(count, asyncio.run(_watch(port, service, viewers=count, seconds=seconds, pace=pace)))
            for count in sessions
        ]
    spec = service.spec
    return {
        "model": spec.name, "size": list(spec.size), "fps": spec.fps, "pace": pace, "viewers": rows,
        "how": _how(service, seconds=seconds, pace=pace),
    }  # fmt: skip


def lines(measured: dict[str, Any]) -> list[str]:
    """The same as a table for people."""
    names = {
        "viewers": "viewers", "first_p50": "first p50", "first_p95": "p95",
        "edit_p50": "edit p50", "edit_p95": "p95", "frames_per_second": "frames/s each",
        "jitter": "jitter", "still": "still",
    }  # fmt: skip
    table = ["  ".join(f"{title:>13}" for title in names.values())]
    for row in measured["viewers"]:
        table.append("  ".join(f"{_cell(row[name]):>13}" for name in names))
    return [*table, measured["how"]]


def _cell(value: float | int | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"


@contextmanager
def _listening(service: Service) -> Iterator[int]:
    with closing(bind("127.0.0.1", 0)) as listener:
        server, loop = LiveServer(service, drain_seconds=5.0), asyncio.new_event_loop()
        thread = threading.Thread(
            target=lambda: loop.run_until_complete(server.serve(sockets=[listener])),
            name="server",
            daemon=True,
        )
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            loop.call_soon_threadsafe(server.end)
            thread.join(30)
            service.close()


async def _watch(port: int, service: Service, *, viewers: int, seconds: float | int, pace: str) -> list[Seen]:
    """So many viewers at the same time."""
    fps = service.spec.fps
    return await asyncio.gather(
        *(_view(port, seed=seed, fps=fps, seconds=seconds, pace=pace) for seed in range(viewers))
    )


async def _view(port: int, *, seed: int, fps: float | int, seconds: float | int, pace: str) -> Seen:
    from websockets.asyncio.client import connect

    address = f"ws://127.0.0.1:{port}/v1/stream"
    async with connect(address, subprotocols=[SUBPROTOCOL], max_size=None, max_queue=None) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "hello", "codecs": ["jpeg"], "credits": 240}))
        while json.loads(await socket.recv())["type"] != "welcome":
            pass
        started = time.perf_counter()
        await socket.send(json.dumps({"type": "start", "prompt": PROMPTS[0], "seed": seed, "pace": pace}))
        viewer = _Viewer(socket, fps, started)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await viewer.run()
        await viewer.end()
        return viewer.seen


class _Viewer:
    """Shows frames on time, as a page would, without a screen."""

    def __init__(self, socket: Any, fps: float | int, started: float) -> None:
        self.seen = Seen()
        self._socket, self._fps, self._started = socket, fps, started
        self._shown_until = 0.0
        self._next_edit = started + _FIRST_EDIT
        self._edited: tuple[float, int] | None = None
        self._edits = 0
        self._acks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        chunk: dict[str, Any] = {}
        left = 0
        async for data in self._socket:
            now = time.perf_counter()
            if isinstance(data, str):
                message = json.loads(data)
                if message["type"] in ("error", "stopped"):
                    raise UserError(f"the server ended a viewer of the bench: {message}.")
                if message["type"] == "chunk":
                    chunk, left = message, message["frames"]
                continue
            packet, left = read_packet(data), left - 1
            self._show(packet.sequence, now)
            if chunk["frames"] - left == 1:
                self._first_of(chunk, now)
            if left == 0:
                self.seen.arrivals.append(now)
            await self._edit(now)

    async def end(self) -> None:
        self.seen.seconds = (self.seen.arrivals or [self._started])[-1] - self._started
        for task in self._acks:
            task.cancel()

    def _show(self, sequence: int, now: float) -> None:
        if self.seen.frames:
            self.seen.late += max(0.0, now - self._shown_until)
        self._shown_until = max(self._shown_until, now) + 1 / self._fps
        self.seen.frames += 1
        task = asyncio.create_task(self._ack(sequence, self._shown_until - now))
        self._acks.add(task)
        task.add_done_callback(self._acks.discard)

    async def _ack(self, sequence: int, delay: float) -> None:
        await asyncio.sleep(delay)
        await self._socket.send(json.dumps({"type": "ack", "frame": sequence}))

    def _first_of(self, chunk: dict[str, Any], now: float) -> None:
        self.seen.first = self.seen.first or now - self._started
        if self._edited is not None and chunk["prompt"] == PROMPTS[self._edited[1]]:
            self.seen.edits.append(now - self._edited[0])
            self._edited = None

    async def _edit(self, now: float) -> None:
        if now < self._next_edit or self._edited is not None:
            return
        self._edits += 1
        self._edited, self._next_edit = (now, self._edits % 2), now + _EDIT_EVERY
        prompt = PROMPTS[self._edits % 2]
        await self._socket.send(json.dumps({"type": "prompt", "prompt": prompt, "id": self._edits}))


def _row(count: int, seen: list[Seen]) -> dict[str, Any]:
    firsts = [one.first for one in seen]
    edits = [seconds for one in seen for seconds in one.edits]
    gaps = [b - a for one in seen for a, b in pairwise(one.arrivals)]
    return {
        "viewers": count,
        "first_p50": _share(firsts, 0.5),
        "first_p95": _share(firsts, 0.95),
        "edit_p50": _share(edits, 0.5),
        "edit_p95": _share(edits, 0.95),
        "edits": len(edits),
        "frames_per_second": statistics.mean(
            one.frames / one.seconds if one.seconds else 0.0 for one in seen
        ),
        "jitter": statistics.pstdev(gaps) if gaps else 0.0,
        "still": statistics.mean(one.late for one in seen),
    }


def _share(values: list[float], share: float) -> float | None:
    """The value that so large a share stays at or below; None of nothing."""
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))] if ordered else None


def _how(service: Service, *, seconds: float | int, pace: str) -> str:
    import torch

    denoiser = service.engine.pipeline.bundle.denoiser
    assert denoiser is not None
    device = denoiser.transformer.out.weight.device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    spec = service.spec
    height, width = spec.size
    return (
        f"Model {spec.name}, {width}x{height} at {spec.fps:g} frames/s, pace {pace}, on {where}, "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads, torch {torch.__version__}; "
        f"server and viewers in one process, over sockets, JPEG, {seconds:g} s for each number of "
        "viewers, after one second of warming up. In seconds: first: from the start message to the first "
        "frame; edit: from a prompt message to the first frame made from it; jitter: deviation of the time "
        "between chunks; still: how long a picture stood still because the next was late. Loading is not "
        "measured."
    )
