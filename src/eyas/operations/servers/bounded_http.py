"""An HTTP server that nobody can hold: bounded connections, time, headers and log, whatever the clients do.

uvicorn bounds the requests that it works on, not the connections that never send one, so its protocol is given both
bounds here. A connection ends after :data:`SECONDS`, however it was spent, and serves one request; where there are more
than :func:`most_connections`, the oldest goes. A signed call takes milliseconds: half-sent ones do not end it.
"""

import asyncio
import logging
import resource
import time
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 10.0
HEADER_BYTES = 16 * 1024
LINES_A_MINUTE = 60


def most_connections() -> int:
    """How many connections are held at once: one of eight descriptors.

    In one turn of the event loop as many more may be accepted, before those that they drive out are closed; what the
    process itself has open comes on top.
    """
    return max(min(128, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8), 1)


class BoundedProtocol(H11Protocol):
    """One connection; the last to come stays."""

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.ends_at = self.loop.call_later(SECONDS, transport.abort)
        held: list[Any] = [one for one in self.connections if not one.transport.is_closing()]
        if len(held) > most_connections():
            min(held, key=lambda one: one.ends_at.when()).transport.abort()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.ends_at.cancel()
        super().connection_lost(exc)


class LineLimit(logging.Filter):
    """Lets so many lines a minute through, then says how many it kept back."""

    def __init__(self, lines: int = LINES_A_MINUTE) -> None:
        super().__init__()
        self._lines, self._minute, self._count = lines, 0, 0

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            kept_back = max(self._count - self._lines, 0)
            self._minute, self._count = minute, 0
            if kept_back:
                record.msg, record.args = f"{record.getMessage()} ({kept_back} lines were left out before)", None
        self._count += 1
        return self._count <= self._lines


def serve_bounded(app: ASGIApp, host: str, port: int) -> None:
    """Answer until the process is told to stop; log to the standard error."""
    handler = logging.StreamHandler()
    handler.addFilter(LineLimit())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=[handler], force=True)
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        backlog=most_connections(),
        h11_max_incomplete_event_size=HEADER_BYTES,
        headers=[("connection", "close")],
        log_config=None,
        log_level="warning",
        access_log=False,
    )
