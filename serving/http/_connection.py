"""Connections whose request does not come are closed: who opens many and sends nothing would else keep everybody out."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["TimedProtocol"]


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes a connection whose next head has not come ``request_seconds`` after its first byte.

    One timer a connection looks at how it stands; one a request would cost each of them. uvicorn itself closes connections
    that are idle between requests, and the guard sees to bodies.
    """

    def __init__(self, *arguments: Any, request_seconds: float, **known: Any) -> None:
        super().__init__(*arguments, **known)
        self._seconds = request_seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Wait for the first head."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(self._seconds, self._look)

    def on_message_begin(self) -> None:
        """Wait for a further head."""
        super().on_message_begin()
        self._since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        idle = self.timeout_keep_alive_task is not None
        rest = self._seconds if answering or idle else self._since + self._seconds - self.loop.time()
        if rest > 0:
            self._timer = self.loop.call_later(rest, self._look)
        else:
            self.transport.close()
