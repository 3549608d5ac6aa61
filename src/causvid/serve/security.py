"""Who may talk to the server: host, origin, token; and what a browser is told to forbid.

Checked before anything else, for HTTP and for WebSockets alike (CORS rules do not cover those). The
host check stops a foreign page that has its name resolve to this machine; the origin check stops
one that connects from elsewhere; the token is asked for where the server listens to others.
"""

import asyncio
import hmac
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from causvid.serve.protocol import TOKEN_PREFIX

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; connect-src 'self'; font-src 'self'; worker-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_OPEN = ("/", "/healthz", "/readyz", "/favicon.ico")
_UPLOADS = "/v1/uploads"
BODY_SECONDS = 30.0
_LOCAL = ("localhost", "127.0.0.1", "::1")
_NO_SUCH_HOST, _FOREIGN, _NO_TOKEN = (
    (421, "host", "this server is not addressed by that name; start it with --allow-host NAME to allow it."),
    (403, "origin", "a page from elsewhere may not use this server."),
    (401, "token", "say the token: Authorization: Bearer TOKEN, or the WebSocket subprotocol token.TOKEN."),
)


class Guard:
    """The outermost layer of the app.

    Args:
        token: what clients have to say; None: nothing.
        hosts: names of the server beside "localhost" and addresses in digits.
        body_bytes: the largest body, except for uploads, which are counted where they are written.
        body_seconds: within which it has to come.
    """

    def __init__(
        self, app: App, *, token: str | None, hosts: tuple[str, ...], body_bytes: int,
        body_seconds: float = BODY_SECONDS,
    ) -> None:  # fmt: skip
        self._app, self._token = app, token
        self._body_bytes, self._body_seconds = body_bytes, body_seconds
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        problem = self._problem(scope)
        if problem is not None:
            await _refuse(scope, send, *problem)
            return
        if scope["type"] == "http" and scope["path"] != _UPLOADS:
            receive = _counted(receive, self._body_bytes, seconds=self._body_seconds)
        await self._app(scope, receive, _with_headers(send))

    def _problem(self, scope: Scope) -> tuple[int, str, str] | None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        host = headers.get("host", "")
        if not self._known(_name_of(host)):
            return _NO_SUCH_HOST
        origin = headers.get("origin")
        if origin is not None and _place_of(origin) != host.lower():
            return _FOREIGN
        if self._token is not None and not self._public(scope) and not self._said(headers):
            return _NO_TOKEN
        return None

    def _known(self, name: str) -> bool:
        """A name that may be ours. An address in digits cannot be made to resolve to somewhere else."""
        if name in _LOCAL or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _public(self, scope: Scope) -> bool:
        """The page itself holds no secret: it asks for the token."""
        path = scope["path"]
        return scope["type"] == "http" and (path in _OPEN or path.startswith("/static/"))

    def _said(self, headers: dict[str, str]) -> bool:
        assert self._token is not None
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        offered = [bearer.strip()] if kind.lower() == "bearer" else []
        protocols = headers.get("sec-websocket-protocol", "").split(",")
        offered += [
            p.strip().removeprefix(TOKEN_PREFIX) for p in protocols if p.strip().startswith(TOKEN_PREFIX)
        ]
        return any(hmac.compare_digest(word.encode(), self._token.encode()) for word in offered)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    if host in _LOCAL:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name_of(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _place_of(origin: str) -> str:
    """Name and port of an Origin header; empty where it names none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _counted(receive: Receive, most: int, *, seconds: float) -> Receive:
    """The body as it comes, up to a size, and for so long."""
    size, complete, until = 0, False, time.monotonic() + seconds

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal size, complete
        try:
            async with asyncio.timeout(None if complete else until - time.monotonic()):
                message = await receive()
        except TimeoutError:
            what = f"the body did not come within {seconds:g} seconds."
            raise HTTPException(408, {"code": "slow", "message": what}) from None  # type: ignore[arg-type]
        complete = not message.get("more_body", False)
        size += len(message.get("body", b""))
        if size > most:
            what = f"the body has more than the {most} bytes accepted."
            raise HTTPException(413, {"code": "too_large", "message": what})  # type: ignore[arg-type]
        return message

    return receiving


def _with_headers(send: Send) -> Send:
    extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *extra]
        await send(message)

    return sending


async def _refuse(scope: Scope, send: Send, status: int, code: str, message: str) -> None:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    kind = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008})
            return
        kind = "websocket.http.response"
    await _with_headers(send)({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
