"""Does the server leak? Viewers come, steer, vanish, misbehave and return; its memory is watched.

    python benchmarks/soak.py --minutes 10
    python benchmarks/soak.py --minutes 0.5 --viewers 2        # to see that it works

Starts `causvid serve` as a process of its own and speaks to it like anybody. Every few seconds its
resident memory, threads, open files, tasks and files are read from /proc and /metrics. At the end, with
everybody gone, it prints their course, and the slope of memory after the first part, in MiB a minute.
Exits with 1 if something of the viewers is left, or if memory rises faster than `--most-slope`.
"""

import asyncio
import io
import json
import random
import re
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import linear_regression

import tyro
from PIL import Image
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

HEADER = struct.Struct("<2sBBBBHIII")
PROMPTS = (
    "a red ball bounces on the grass",
    "a yellow box circles around in the desert",
    "now it snows",
    "at night",
)
WATCHED = ("sessions", "works", "tasks", "files", "disk_bytes", "frames_total")


@dataclass(frozen=True)
class Sample:
    """The server at one moment."""

    minute: float
    rss_mib: float
    threads: int
    open_files: int
    sessions: int
    works: int
    tasks: int
    files: int
    disk_bytes: int
    frames_total: int


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: "subprocess.Popen[str]"
    address: str

    def sample(self, minute: float) -> Sample:
        folder = Path(f"/proc/{self.process.pid}")
        status = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", (folder / "status").read_text(), re.M))
        metrics = self.ask("GET", "/metrics").decode()
        values = {name: float(re.findall(rf"^causvid_{name} (\S+)", metrics, re.M)[0]) for name in WATCHED}
        return Sample(
            minute=round(minute, 2),
            rss_mib=round(int(status["VmRSS"]) / 1024, 1),
            threads=int(status["Threads"]),
            open_files=len(list((folder / "fd").iterdir())),
            **{name: int(value) for name, value in values.items()},
        )

    def ask(self, verb: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        request = urllib.request.Request(
            self.address + path, data=body, method=verb, headers={"content-type": kind}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())


def start_server(model: str, viewers: int) -> Server:
    command = [sys.executable, "-m", "causvid", "serve", model, "--port", "0", "--max-sessions", str(viewers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.search(r"http://[\d.]+:\d+", said)
    if found is None:
        raise SystemExit(f"the server did not start: {said!r}")
    return Server(process, found[0])


# What one viewer does.


class Viewer:
    """A connection that has said hello, and what it has seen."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self.socket, self.session, self.chunk = socket, session, -1

    async def say(self, **message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def watch(self, chunks: int, *, acknowledge: bool = True) -> None:
        """Until so many more chunks have begun, or it is told no."""
        while chunks > 0:
            async with asyncio.timeout(60):
                message = await self.socket.recv()
            if isinstance(message, bytes):
                if acknowledge:
                    await self.say(type="ack", frame=HEADER.unpack_from(message)[6])
                continue
            said = json.loads(message)
            if said["type"] in ("stopped", "paused", "error"):
                return
            if said["type"] == "chunk":
                self.chunk, chunks = said["chunk"], chunks - 1


async def polite(viewer: Viewer, server: Server, rng: random.Random) -> None:
    """Steers in every way there is, takes the video home and says goodbye."""
    await viewer.say(type="start", prompt=rng.choice(PROMPTS), seed=rng.randrange(1000), pace="fast")
    await viewer.watch(3)
    await viewer.say(
        type="prompt", prompt=rng.choice(PROMPTS), transition=rng.choice(["soft", "blend", "recache", "cut"])
    )
    await viewer.watch(2)
    await viewer.say(type="rewind", chunk=max(0, viewer.chunk - 1))
    await viewer.watch(2)
    await viewer.say(type="branch", chunk=max(0, viewer.chunk - 1), prompt=rng.choice(PROMPTS))
    await viewer.watch(2)
    await asyncio.to_thread(server.ask, "GET", f"/v1/sessions/{viewer.session}/video?branch=0")
    await viewer.say(type="stop")
    await viewer.watch(100)


async def vanishing(viewer: Viewer, server: Server, rng: random.Random) -> None:
    """Is gone in the middle of a chunk, without a word."""
    await viewer.say(type="start", prompt=rng.choice(PROMPTS), pace="fast")
    await viewer.watch(rng.randrange(1, 4))
    viewer.socket.transport.abort()


async def slow(viewer: Viewer, server: Server, rng: random.Random) -> None:
    """Never says what it has shown, so that its video waits."""
    await viewer.say(type="start", prompt=rng.choice(PROMPTS), pace="fast")
    await viewer.watch(1, acknowledge=False)  # with few credits a second one never comes
    await asyncio.sleep(2)


async def rude(viewer: Viewer, server: Server, rng: random.Random) -> None:
    """Talks nonsense."""
    for text in (
        "",
        "[]",
        '{"type": "start"}',
        '{"type": "rewind", "chunk": 5}',
        '{"type": "x"}',
        "\0" * 1000,
    ):
        await viewer.socket.send(text)
    await viewer.socket.send(b"CV" + bytes(30))
    await viewer.say(type="start", prompt="x", seed="seven")


async def filming(viewer: Viewer, server: Server, rng: random.Random) -> None:
    """Sends a camera's pictures and watches what becomes of them."""
    await viewer.say(type="start", prompt=rng.choice(PROMPTS), mode="camera", strength=0.6)
    film = asyncio.create_task(_film(viewer))
    await viewer.watch(3)
    film.cancel()


async def _film(viewer: Viewer) -> None:
    for number in count():
        out = io.BytesIO()
        Image.new("RGB", (64, 64), (number % 256, 90, 40)).save(out, "JPEG")
        header = HEADER.pack(b"CV", 1, 1, 1, 0, 0, number, number, 33 * number)
        await viewer.socket.send(header + out.getvalue())
        await asyncio.sleep(1 / 30)


async def orders(server: Server, rng: random.Random) -> None:
    """A job, fetched and deleted; an upload that is none."""

    def ask() -> None:
        wish = json.dumps({"prompt": rng.choice(PROMPTS), "seconds": 3}).encode()
        job = json.loads(server.ask("POST", "/v1/videos", wish))
        while job["status"] in ("queued", "in_progress"):
            time.sleep(0.3)
            job = json.loads(server.ask("GET", f"/v1/videos/{job['id']}"))
        server.ask("GET", f"/v1/videos/{job['id']}/content")
        server.ask("DELETE", f"/v1/videos/{job['id']}")
        with suppress(urllib.error.HTTPError):
            server.ask("POST", "/v1/uploads", rng.randbytes(5000), "video/mp4")

    await asyncio.to_thread(ask)


MANNERS: tuple[Callable[..., object], ...] = (polite, polite, vanishing, slow, rude, filming, orders)


async def visit_until(end: float, server: Server, seed: int, *, met: Counter[str]) -> None:
    """One person who comes again and again."""
    rng = random.Random(seed)
    while time.monotonic() < end:
        manner = rng.choice(MANNERS)
        try:
            await _visit(manner, server, rng)
            met[manner.__name__] += 1
        except (ConnectionClosed, OSError, TimeoutError) as error:
            met[f"{manner.__name__}: {type(error).__name__}"] += 1
            await asyncio.sleep(0.2)


async def _visit(manner: Callable[..., object], server: Server, rng: random.Random) -> None:
    if manner is orders:
        await orders(server, rng)
        return
    address = server.address.replace("http", "ws") + "/v1/stream"
    async with connect(address, subprotocols=["causvid.v1"], proxy=None, max_size=2**24) as socket:  # type: ignore[list-item]
        codec = rng.choice(["h264", "webp", "jpeg"])
        await socket.send(
            json.dumps({"type": "hello", "codecs": [codec], "credits": rng.choice([12, 36, 240])})
        )
        welcome = json.loads(await socket.recv())
        if welcome["type"] == "welcome":
            await manner(Viewer(socket, welcome["session"]), server, rng)  # type: ignore[misc]


async def soak(
    server: Server, *, minutes: float, viewers: int, every: float
) -> tuple[list[Sample], Counter[str]]:
    began, met = time.monotonic(), Counter[str]()
    end = began + 60 * minutes
    visitors = [asyncio.create_task(visit_until(end, server, seed, met=met)) for seed in range(viewers)]
    samples = []
    while time.monotonic() < end:
        await asyncio.sleep(every)
        samples.append(await asyncio.to_thread(server.sample, (time.monotonic() - began) / 60))
        print(json.dumps(asdict(samples[-1])), flush=True)
    await asyncio.gather(*visitors)
    await asyncio.sleep(5)
    samples.append(await asyncio.to_thread(server.sample, (time.monotonic() - began) / 60))
    return samples, met


def main(
    *,
    minutes: float = 10,
    viewers: int = 4,
    model: str = "tiny",
    every: float = 10.0,
    most_slope: float = 1.0,
) -> None:
    """Let viewers come and go, and say what is left of them.

    Args:
        viewers: people at one time; the server has a place for each.
        every: seconds between two looks at the server.
        most_slope: MiB a minute by which memory may rise after the first third.
    """
    server = start_server(model, viewers)
    try:
        first = server.sample(0.0)
        samples, met = asyncio.run(soak(server, minutes=minutes, viewers=viewers, every=every))
    finally:
        server.process.terminate()
        server.process.wait(60)
    steady, last = samples[len(samples) // 3 :], samples[-1]
    slope = (
        linear_regression([s.minute for s in steady], [s.rss_mib for s in steady]).slope
        if len(steady) > 2
        else 0.0
    )
    left = {name: getattr(last, name) for name in ("sessions", "works") if getattr(last, name)}
    if last.files > first.files:
        left["files"] = last.files
    print(json.dumps({"before": asdict(first), "after": asdict(last)}, indent=1))
    print(
        json.dumps({"visits": dict(met), "rss_slope_mib_per_minute": round(slope, 3), "left": left}, indent=1)
    )
    raise SystemExit(bool(left) or slope > most_slope)


if __name__ == "__main__":
    tyro.cli(main)
