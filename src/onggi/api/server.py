"""Serving the app: connections with deadlines, and with a clean cut between an upgrade request and what follows it.

aiohttp knows upgrades of WebSockets only. After a request with `Upgrade: tcp` it would read the first bytes of the
stream as another request; `Connection` keeps them back for whoever hijacks the connection.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

HEAD_DEADLINE_S = 30.0
"""From the first byte of a request's head to its last."""
KEEPALIVE_S = 600.0
READ_BYTES = 1 << 20
"""So much of a body may wait for its handler: archives of gigabytes come in."""
_MOST_HELD_BYTES = 64 * 1024
_HEAD_END = b"\r\n\r\n"
_UPGRADE_TCP = re.compile(rb"\r\nupgrade:[ \t]*tcp[ \t]*\r\n", re.IGNORECASE)
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)


class Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ("_body_left", "_head_timer", "held")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.held: bytearray | None = None
        """What came after a request to upgrade; None while there was no such request."""
        self._body_left = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if self._payload_parser is not None:
            super().data_received(data)
            return
        if self.held is None and b"pgrade" in data:
            self._expect_upgrade(data)
        if self.held is not None:
            request, rest = data[: self._body_left], data[self._body_left :]
            self._body_left -= len(request)
            self.held += rest
            if len(self.held) >= _MOST_HELD_BYTES and self.transport is not None:
                self.transport.pause_reading()
            data = request
            if not data:
                return
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._stop_timer()
        elif self._head_timer is None and not self._request_in_progress and not self._messages:
            self._head_timer = asyncio.get_running_loop().call_later(HEAD_DEADLINE_S, self.force_close)

    def _expect_upgrade(self, data: bytes) -> None:
        """Find the end of a request to upgrade. Clients send its head in one piece: one that does not loses nothing
        but the bytes it sent before it was answered.
        """
        end = data.find(_HEAD_END)
        head = data[: end + 2]
        if end < 0 or _UPGRADE_TCP.search(head) is None:
            return
        length = _CONTENT_LENGTH.search(head)
        self.held = bytearray()
        self._body_left = end + len(_HEAD_END) + (int(length[1]) if length is not None else 0)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class ApiRunner(web.AppRunner):
    """Runs the app that `make_app` has made. A client that hangs up cancels its handler."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, handle_signals=False, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)

    @property
    def server(self) -> "Callable[[], Connection] | None":  # type: ignore[override]  # sites only call it
        server = super().server
        if server is None:
            return None
        loop = asyncio.get_running_loop()
        # Bodies are taken as they come: what a client says is compressed is not unpacked here without limits.
        return lambda: Connection(
            server,
            loop=loop,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_S,
            read_bufsize=READ_BYTES,
        )
