"""A server from its first to its last moment: address, signals, an orderly end.

SIGTERM or Ctrl-C: nothing new is taken, viewers are told, the chunk being made is finished and
sent, and the process ends. A second signal ends it at once.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace

import uvicorn

from causvid.errors import UserError
from causvid.generate.machine import use_threads
from causvid.generate.pipeline import Pipeline, load
from causvid.serve.app import make_app
from causvid.serve.patience import PatientProtocol
from causvid.serve.security import is_loopback
from causvid.serve.service import ServeOptions, Service

DRAIN_SECONDS = 20.0
_TOKEN_BYTES = 24
_PING_SECONDS = 20.0
_MOST_CONNECTIONS = 512


class LiveServer(uvicorn.Server):
    """Uvicorn, with our way to end."""

    def __init__(self, service: Service, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        config = uvicorn.Config(
            make_app(service),
            http=PatientProtocol,
            ws_max_size=service.limits.message_bytes,
            ws_ping_interval=_PING_SECONDS,
            ws_ping_timeout=_PING_SECONDS,
            ws_per_message_deflate=False,  # frames are compressed already
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=3,
            log_level="warning",
            access_log=False,  # addresses hold session ids
            server_header=False,
        )
        super().__init__(config)
        self._service, self._drain_seconds = service, drain_seconds
        self._drained: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal drains, the second ends the process."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        try:
            for number in numbers:
                loop.add_signal_handler(number, self.end)
        except (RuntimeError, ValueError):  # not the main thread: whoever runs it calls `end`
            yield
            return
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def end(self) -> None:
        """Drain and stop; a second time, stop at once. On the event loop."""
        if self._drained is not None:
            os._exit(130)
        self._drained = asyncio.ensure_future(self._drain())

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the server."""
        if self._service.engine.broken and self._drained is None:
            self.end()
        return await super().on_tick(counter)

    async def _drain(self) -> None:
        await self._service.drain(seconds=self._drain_seconds)
        self.should_exit = True


def serve(
    model: str,
    *,
    host: str,
    port: int,
    options: ServeOptions,
    device: str = "auto",
    open_page: bool = False,
) -> None:
    """Serve a model until a signal comes.

    Raises:
        UserError: no such model, an address that cannot be used, a bad token.
    """
    if options.token is None and not is_loopback(host):
        options = replace(options, token=secrets.token_urlsafe(_TOKEN_BYTES))
    _check_token(options.token)
    listener = bind(host, port)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with contextlib.closing(listener):
        service = Service(lambda: load_to_serve(model, device), options=options)
        address = page_address(host, listener.getsockname()[1], options.token)
        print(f"Serving {service.spec.name} at {address}", flush=True)
        try:
            if open_page:
                import webbrowser

                webbrowser.open(address)
            LiveServer(service).run(sockets=[listener])
        finally:
            service.close()
    if service.engine.broken:
        raise UserError("the device failed and the model could not be loaded again; the log says why.")
    print("The server has ended.", flush=True)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        UserError: the port is taken or the address is not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # from now on browsers wait instead of being refused
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen on {host} port {port}: {reason}. Choose another --port or --host."
        ) from error
    return listener


def page_address(host: str, port: int, token: str | None) -> str:
    """What to type into a browser. The part after # is never sent to a server or logged."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + ("" if token is None else f"#token={token}")


def load_to_serve(model: str, device: str) -> Pipeline:
    """The model, with the threads that suit it."""
    pipeline = load(model, device=device)
    use_threads(pipeline.bundle)
    return pipeline


def _check_token(token: str | None) -> None:
    if token is not None and not (8 <= len(token) <= 200 and token.replace("-", "").replace("_", "").isalnum()
                                  and token.isascii()):  # fmt: skip
        raise UserError("a token has 8 to 200 letters, digits, - and _; leave it out to have one made.")
