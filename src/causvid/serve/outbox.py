"""What goes to one viewer, in order: messages, and chunks that are coded on their way.

Anything may be put in from the event loop, and from the engine's thread with `hear`. One task writes;
the pool codes. Knows the socket and the coder; nothing of what a viewer asks for.
"""

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from causvid.serve.branches import Made
from causvid.serve.coding import Coder
from causvid.serve.live import LiveVideo
from causvid.serve.service import Service

_LOG = logging.getLogger("causvid.serve.live")
BROKEN = ("internal", "the connection failed for a reason that only the server's log knows.")
BUG = 1011


@dataclass(frozen=True)
class Close:
    """The last thing: close the socket with this code."""

    code: int


class Outbox:
    """The way to one viewer."""

    def __init__(self, socket: WebSocket, service: Service, *, name: str) -> None:
        self._socket, self._service, self._name = socket, service, name
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[dict[str, Any] | Made | Close] = asyncio.Queue()
        self._coder: Coder | None = None
        self._video: LiveVideo | None = None
        self._gone = False
        self.idle = asyncio.Event()
        """Set while no video runs: the last thing it said has been written."""
        self.idle.set()

    def __len__(self) -> int:
        return self._queue.qsize()

    def begin(self, video: LiveVideo, coder: Coder) -> None:
        """What comes from now on is of this video."""
        self._video, self._coder = video, coder
        self.idle.clear()

    def let_go(self) -> None:
        """Nobody is there any more. The video holds on to this, so this must not hold on to the video."""
        self._gone = True
        self._video = self._coder = None
        while not self._queue.empty():
            self._queue.get_nowait()

    def put(self, event: dict[str, Any] | Made | Close) -> None:
        if not self._gone:
            self._queue.put_nowait(event)

    def hear(self, event: dict[str, Any] | Made) -> None:
        """On any thread."""
        with suppress(RuntimeError):  # the loop has ended with the server
            self._loop.call_soon_threadsafe(self.put, event)

    def complain(self, code: str, message: str, *, fatal: bool = False) -> None:
        self.put({"type": "error", "code": code, "message": message, "fatal": fatal})

    def part(self, code: str, message: str, *, close: int) -> None:
        """Say why, and close."""
        self.complain(code, message, fatal=True)
        self.put(Close(close))

    async def write_all(self) -> None:
        """Until the socket is closed."""
        try:
            await self._write_until_closed()
        except WebSocketDisconnect:
            return
        except Exception:
            _LOG.exception("%s: writing failed", self._name)
            with suppress(WebSocketDisconnect):
                await self._say({"type": "error", "code": BROKEN[0], "message": BROKEN[1], "fatal": True})
                await self._socket.close(BUG)

    async def _write_until_closed(self) -> None:
        while True:
            event = await self._queue.get()
            if isinstance(event, Close):
                await self._socket.close(event.code)
                return
            if isinstance(event, Made):
                await self._write_chunk(event)
                continue
            await self._say(event)
            if event["type"] == "stopped":
                self.idle.set()

    async def _write_chunk(self, made: Made) -> None:
        coder, video, pool = self._coder, self._video, self._service.pool
        assert coder is not None and video is not None
        message, packets = await self._loop.run_in_executor(pool, coder.code, made)
        self._service.metrics.chunk(made, message["timing"])
        await self._say(message)
        for packet in packets:
            await self._send(packet)
        video.wrote(made.sequence + len(packets) - 1)
        self._service.engine.wake()
        await self._loop.run_in_executor(pool, coder.record, made)

    async def _say(self, message: dict[str, Any]) -> None:
        if message["type"] == "error":
            self._service.metrics.error(message["code"])
        await self._send(json.dumps(message))

    async def _send(self, data: str | bytes) -> None:
        try:
            await (self._socket.send_text(data) if isinstance(data, str) else self._socket.send_bytes(data))
        except RuntimeError as error:  # it has been closed from our side
            raise WebSocketDisconnect from error
