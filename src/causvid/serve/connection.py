"""One viewer's WebSocket: who it is, and what it sends.

Two tasks live as long as the connection: one reads here, one writes in `outbox.py`. Nothing here
waits for a model, and no message of a client is trusted. Logs name the session, never a prompt.
"""

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import replace

from starlette.websockets import WebSocket, WebSocketDisconnect

from causvid.errors import UserError
from causvid.serve.camera import Camera
from causvid.serve.coding import Coder
from causvid.serve.frames import choose_codec
from causvid.serve.live import LiveVideo
from causvid.serve.orders import Wish, read_wish
from causvid.serve.outbox import BROKEN, BUG, Outbox
from causvid.serve.pace import Credits
from causvid.serve.protocol import SUBPROTOCOL, Ack, Hello, Message, Start, read_message
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


class Connection:
    """A connected viewer."""

    def __init__(self, socket: WebSocket, service: Service) -> None:
        self.id = secrets.token_urlsafe(_ID_BYTES)
        self.video: LiveVideo | None = None
        self.coder: Coder | None = None
        self._socket, self._service = socket, service
        self._name = f"session {self.id[:6]}"  # whoever knows the whole id can fetch the video
        self._outbox = Outbox(socket, service, name=self._name)
        self._gone = asyncio.Event()
        self._decoding: asyncio.Task[None] | None = None
        self._allowance = _Allowance(service.limits.messages_per_second)

    async def run(self) -> None:
        """From the first message to the last."""
        await self._socket.accept(subprotocol=SUBPROTOCOL)
        writer = asyncio.create_task(self._outbox.write_all())
        reader = asyncio.create_task(self._read_all())
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await asyncio.shield(self._let_go(reader, writer))

    async def say_goodbye(self) -> None:
        """The server ends: finish the chunk, send what there is, and close."""
        if self.video is not None and not self._outbox.idle.is_set():
            self.video.finish("the server is shutting down")
            self._service.engine.wake()
            await self._outbox.idle.wait()
        self._outbox.part("draining", "the server is shutting down; come back later.", close=_LEAVING)
        await self._gone.wait()

    # Beginning and end.

    async def _greet(self) -> None:
        """Hear the hello and take the client in, if there is room."""
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                hello = await self._receive()
        except TimeoutError:
            raise Farewell("hello", f"say hello within {_HELLO_SECONDS:g} seconds.") from None
        if not isinstance(hello, Hello):
            raise Farewell("hello", "the first message has to be a hello.")
        service, limits = self._service, self._service.limits
        if not service.ready:
            raise Farewell("draining", "the server takes nobody in now; try again in a moment.", _BUSY)
        if len(service.sessions) >= limits.sessions:
            what = f"all {limits.sessions} places are taken; try again when somebody has left."
            raise Farewell("busy", what, _BUSY)
        self._codec = choose_codec(hello.codecs)
        self._credits = Credits(min(hello.credits, limits.credits))
        service.sessions[self.id] = self
        self._outbox.put({"type": "welcome", "session": self.id, "codec": self._codec, **service.welcome()})
        _LOG.info("%s: connected", self._name)

    async def _let_go(self, *tasks: asyncio.Task[None]) -> None:
        """Whatever happened: nothing of this connection is left."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.video is not None and self.video.state != "ended":
            self.video.finish("nobody is watching")
            self._service.engine.wake()
        if self._decoding is not None:
            self._decoding.cancel()
            await asyncio.gather(self._decoding, return_exceptions=True)
        if self.coder is not None:
            self.coder.close()
        self.coder = self.video = None
        self._outbox.let_go()
        if self._service.sessions.pop(self.id, None) is not None:
            _LOG.info("%s: gone", self._name)
        self._outbox.idle.set()  # for a goodbye that waits: nobody writes "stopped" any more
        self._gone.set()

    # Reading.

    async def _read_all(self) -> None:
        try:
            await self._greet()
            while True:
                await self._take(await self._next())
        except WebSocketDisconnect:
            return
        except Farewell as farewell:
            self._outbox.part(farewell.code, farewell.message, close=farewell.close)
        except Exception:
            _LOG.exception("%s: reading failed", self._name)
            self._outbox.part(*BROKEN, close=BUG)
        await asyncio.sleep(_GOODBYE_SECONDS)  # the writer ends before that, or nobody listens

    async def _next(self) -> Message | bytes:
        idle = self._service.limits.idle_seconds
        try:
            async with asyncio.timeout(idle):
                while len(self._outbox) > _MOST_UNSENT:  # it does not read its answers: nor do we
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
                return self._read(event["text"])
            except UserError as error:
                self._outbox.complain("protocol", str(error))

    def _read(self, text: str) -> Message:
        most = self._service.limits.body_bytes
        if len(text) > most:
            raise UserError(f"the message has {len(text)} characters; at most {most} are accepted.")
        return read_message(text)

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
            self._outbox.complain("refused", str(error))

    async def _start(self, start: Start) -> None:
        await self._until_idle()
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
        self._credits.forgive()
        video = LiveVideo(
            order, name=self._name, fps=spec.fps, limits=service.limits,
            credits=self._credits, emit=self._outbox.hear,
        )  # fmt: skip
        service.engine.add(video)
        self.video = video
        self._outbox.begin(video, self.coder)

    async def _until_idle(self) -> None:
        """Wait for a video that was asked to stop."""
        if self._outbox.idle.is_set():
            return
        if self.video is not None and not self.video.is_stopping:
            raise UserError("a video is running; send a stop first.")
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._outbox.idle.wait()
                return
        raise UserError("the video before has not ended yet; try again in a moment.")

    def _picture(self, video: LiveVideo, data: bytes) -> None:
        """Take it at once: waiting for decoding would let old pictures pile up in the network."""
        camera = video.camera
        camera.add(data)
        if self._decoding is None or self._decoding.done():
            self._decoding = asyncio.create_task(self._decode(camera))

    async def _decode(self, camera: Camera) -> None:
        """One picture at a time: between two of them the pool serves the others."""
        loop, pool = asyncio.get_running_loop(), self._service.pool
        while camera.waiting:
            try:
                await loop.run_in_executor(pool, camera.decode)
            except UserError as error:
                self._outbox.complain("refused", str(error))
            self._service.metrics.dropped.inc(camera.forget_dropped())
            self._service.engine.wake()


class _Allowance:
    """So many messages a second on average, and twice as many at once."""

    def __init__(self, rate: float | int) -> None:
        self._rate, self._left, self._then = rate, 2.0 * rate, time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._left = min(2 * self._rate, self._left + self._rate * (now - self._then))
        self._then = now
        self._left -= 1
        return self._left >= 0
