"""One viewer's WebSocket: what it sends becomes commands, what its video says becomes messages.

Two tasks live as long as the connection: one reads, one writes in order, coding chunks in the pool
before it sends them. Nothing here waits for a model, and no message of a client is
trusted. Logs name the session, never a prompt.
"""

import asyncio
import json
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from causvid.errors import UserError
from causvid.serve.branches import Made
from causvid.serve.coding import Coder
from causvid.serve.frames import choose_codec
from causvid.serve.live import LiveVideo
from causvid.serve.orders import Wish, read_wish
from causvid.serve.pace import Credits
from causvid.serve.protocol import (
    SUBPROTOCOL,
    Ack,
    Hello,
    Message,
    Start,
    read_message,
)
from causvid.serve.service import Service

_LOG = logging.getLogger("causvid.serve.live")
_HELLO_SECONDS = 10.0
_GOODBYE_SECONDS = 2.0
_STOP_SECONDS = 60.0
_MOST_UNSENT = 256
_ID_BYTES = 18
_POLICY, _BUSY, _LEAVING = 1008, 1013, 1001


class Farewell(Exception):
    """The connection ends, for a reason that the client is told."""

    def __init__(self, code: str, message: str, close: int = _POLICY) -> None:
        super().__init__(message)
        self.code, self.message, self.close = code, message, close


@dataclass(frozen=True)
class _Close:
    code: int


class Connection:
    """A connected viewer."""

    def __init__(self, socket: WebSocket, service: Service) -> None:
        self.id = secrets.token_urlsafe(_ID_BYTES)
        self.video: LiveVideo | None = None
        self.coder: Coder | None = None
        self._socket, self._service = socket, service
        self._loop = asyncio.get_running_loop()
        self._outbox: asyncio.Queue[dict[str, Any] | Made | _Close] = asyncio.Queue()
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended = asyncio.Event()
        self._decoding: asyncio.Task[None] | None = None
        self._allowance = _Allowance(service.limits.messages_per_second)

    async def run(self) -> None:
        """From the first message to the last."""
        await self._socket.accept(subprotocol=SUBPROTOCOL)
        try:
            self._greet(await self._first_message())
        except Farewell as farewell:
            await self._say_no(farewell)
            return
        except WebSocketDisconnect:
            return
        _LOG.info("session %s: connected", self.id)
        writer = asyncio.create_task(self._write_all())
        reader = asyncio.create_task(self._read_all())
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await asyncio.shield(self._let_go(reader, writer))

    async def say_goodbye(self) -> None:
        """The server ends: finish the chunk, send what there is, and close."""
        if self.video is not None and not self._idle.is_set():
            self.video.finish("the server is shutting down")
            self._service.engine.wake()
            await self._idle.wait()
        self._outbox.put_nowait(
            _error("draining", "the server is shutting down; come back later.", fatal=True)
        )
        self._outbox.put_nowait(_Close(_LEAVING))
        await self._ended.wait()

    # Beginning and end.

    async def _first_message(self) -> Hello:
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise Farewell("hello", f"say hello within {_HELLO_SECONDS:g} seconds.") from None
        if not isinstance(message, Hello):
            raise Farewell("hello", "the first message has to be a hello.")
        return message

    def _greet(self, hello: Hello) -> None:
        """Take the client in, if there is room."""
        service, limits = self._service, self._service.limits
        if not service.ready:
            raise Farewell("draining", "the server takes nobody in now; try again in a moment.", _BUSY)
        if len(service.sessions) >= limits.sessions:
            what = f"all {limits.sessions} places are taken; try again when somebody has left."
            raise Farewell("busy", what, _BUSY)
        self._codec = choose_codec(hello.codecs)
        self._credits = Credits(min(hello.credits, limits.credits))
        service.sessions[self.id] = self
        self._outbox.put_nowait(
            {"type": "welcome", "session": self.id, **service.welcome(), "codec": self._codec}
        )

    async def _say_no(self, farewell: Farewell) -> None:
        self._service.metrics.error(farewell.code)
        with suppress(Exception):
            await self._socket.send_text(json.dumps(_error(farewell.code, farewell.message, fatal=True)))
            await self._socket.close(farewell.close)

    async def _let_go(self, *tasks: asyncio.Task[None]) -> None:
        """Whatever happened: nothing of this connection is left."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.video is not None and self.video.state != "ended":
            self.video.finish("nobody is watching")
            self._service.engine.wake()
        if self._decoding is not None:
            await self._decoding
        if self.coder is not None:
            self.coder.close()
        self._service.sessions.pop(self.id, None)
        self._ended.set()
        _LOG.info("session %s: gone", self.id)

    # Reading.

    async def _read_all(self) -> None:
        try:
            while True:
                await self._take(await self._next())
        except WebSocketDisconnect:
            return
        except Farewell as farewell:
            self._complain(farewell.code, farewell.message, fatal=True)
            self._outbox.put_nowait(_Close(farewell.close))
            await asyncio.sleep(_GOODBYE_SECONDS)  # the writer ends before that, or does not at all

    async def _next(self) -> Message | bytes:
        idle = self._service.limits.idle_seconds
        try:
            async with asyncio.timeout(idle):
                while self._outbox.qsize() > _MOST_UNSENT:  # it does not read its answers: nor do we
                    await asyncio.sleep(0.05)
                return await self._receive()
        except TimeoutError:
            raise Farewell("idle", f"nothing was heard for {idle:g} seconds.", _LEAVING) from None

    async def _receive(self) -> Message | bytes:
        while True:
            event = await self._socket.receive()
            if event["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(event.get("code", 1006))
            if not self._allowance.take():
                rate = self._service.limits.messages_per_second
                raise Farewell("rate", f"more than {rate:g} messages a second came; send fewer.")
            if event.get("bytes") is not None:
                return bytes(event["bytes"])
            try:
                return read_message(event["text"])
            except UserError as error:
                self._complain("protocol", str(error))

    async def _take(self, message: Message | bytes) -> None:
        try:
            if isinstance(message, Hello):
                raise UserError("hello is said once, at the beginning.")
            if isinstance(message, Start):
                await self._start(message)
                return
            video = self.video
            if video is None or (video.state == "ended" and not isinstance(message, Ack)):
                raise UserError("no video is running; send a start first.")
            if isinstance(message, Ack):
                video.ack(message.frame)
            elif isinstance(message, bytes):
                self._picture(video, message)
            else:
                video.do(message)
            self._service.engine.wake()
        except UserError as error:
            self._complain("refused", str(error))

    async def _start(self, start: Start) -> None:
        if not self._idle.is_set():
            if self.video is not None and not self.video.is_stopping:
                raise UserError("a video is running; send a stop first.")
            async with asyncio.timeout(_STOP_SECONDS):
                await self._idle.wait()
        service, spec = self._service, self._service.spec
        wish = Wish(
            mode=start.mode, prompt=start.prompt, seed=start.seed, image=start.image, video=start.video,
            strength=start.strength, timeline=start.timeline,
        )  # fmt: skip
        order = await read_wish(wish, service.uploads, limits=service.limits, size=spec.size, fps=spec.fps)
        order = replace(order, realtime=start.pace == "realtime", history=service.limits.history)
        if self.coder is not None:
            self.coder.close()
        self.coder = Coder(self._codec, spec, service.store)
        self.video = LiveVideo(
            order, name=f"session {self.id}", fps=spec.fps, limits=service.limits,
            credits=self._credits, emit=self._hear,
        )  # fmt: skip
        service.engine.add(self.video)
        self._idle.clear()

    def _picture(self, video: LiveVideo, data: bytes) -> None:
        """Take it at once: waiting for decoding would let old pictures pile up in the network."""
        video.picture(data)
        if self._decoding is None or self._decoding.done():
            self._decoding = asyncio.create_task(self._decode(video))

    async def _decode(self, video: LiveVideo) -> None:
        try:
            await self._loop.run_in_executor(self._service.pool, video.decode_pictures)
        except UserError as error:
            self._complain("refused", str(error))
        self._service.engine.wake()

    # Writing.

    def _hear(self, event: dict[str, Any] | Made) -> None:
        """On the engine's thread."""
        with suppress(RuntimeError):  # the loop has ended with the server
            self._loop.call_soon_threadsafe(self._outbox.put_nowait, event)

    def _complain(self, code: str, message: str, *, fatal: bool = False) -> None:
        self._outbox.put_nowait(_error(code, message, fatal=fatal))

    async def _write_all(self) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                event = await self._outbox.get()
                if isinstance(event, _Close):
                    await self._socket.close(event.code)
                    return
                if isinstance(event, Made):
                    await self._write_chunk(event)
                    continue
                if event["type"] == "error":
                    self._service.metrics.error(event["code"])
                await self._socket.send_text(json.dumps(event))
                if event["type"] == "stopped":
                    self._idle.set()

    async def _write_chunk(self, made: Made) -> None:
        coder, pool = self.coder, self._service.pool
        assert coder is not None
        message, packets = await self._loop.run_in_executor(pool, coder.code, made)
        self._service.metrics.chunk(made, message["timing"])
        await self._socket.send_text(json.dumps(message))
        for packet in packets:
            await self._socket.send_bytes(packet)
        if self.video is not None:
            self.video.wrote(made.sequence + len(packets) - 1)
            self._service.engine.wake()
        await self._loop.run_in_executor(pool, coder.record, made)


class _Allowance:
    """So many messages a second on average, and twice as many at once."""

    def __init__(self, rate: float) -> None:
        self._rate, self._left, self._then = rate, 2 * rate, time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._left = min(2 * self._rate, self._left + self._rate * (now - self._then))
        self._then = now
        self._left -= 1
        return self._left >= 0


def _error(code: str, message: str, *, fatal: bool) -> dict[str, Any]:
    return {"type": "error", "code": code, "message": message, "fatal": fatal}
