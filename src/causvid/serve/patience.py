"""HTTP connections on which nothing happens are closed.

Uvicorn waits for ever for the first request of a connection, and for one that was begun. A few hundred
clients that send half a request, or nothing, would take all the connections that a server has. Knows
connections; nothing of what is asked.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class PatientProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, for clients that say what they want."""

    request_seconds = 15.0
    """Within which a whole request has to come, its body excepted; up to twice that for a further one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._seen: object = None
        self.loop.call_later(self.request_seconds, self._look)

    def _look(self) -> None:
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return  # it has become a WebSocket
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self._seen is self.cycle:
            self.transport.abort()
            return
        self._seen = self.cycle if waits else self
        self.loop.call_later(self.request_seconds, self._look)
