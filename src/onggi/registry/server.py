"""Serving the app: connections with deadlines, and TLS whose certificate is read again when it changes."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger
from aiohttp.web_protocol import RequestHandler

from onggi.errors import InvalidParameter, System
from onggi.registry.settings import Settings, Tls

log = logging.getLogger("onggi.registry")
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
HEAD_DEADLINE_S = 30.0
"""From the first byte of a request's head to its last."""
KEEPALIVE_S = 120.0
BACKLOG = 1024
READ_BUFFER_BYTES = 256 * 1024


class Malformed(logging.Filter):
    """Keeps what is no HTTP out of the log: whoever can connect could fill the disk with tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


class Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ("_head_timer",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_DEADLINE_S, self.force_close)

    def data_received(self, data: bytes) -> None:
        if self._payload_parser is not None:
            super().data_received(data)
            return
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._stop_timer()
        elif self._head_timer is None and not self._request_in_progress and not self._messages:
            self._head_timer = asyncio.get_running_loop().call_later(HEAD_DEADLINE_S, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _unless_more_is_expected(answer: Handler) -> Handler:
    """`Expect` asks for a go-ahead before the body, or for what nobody offers. (RFC 9110, 10.1.1)

    aiohttp refuses the latter by quoting it, which it can't where that is not ASCII.
    """

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "100-continue").lower() != "100-continue":
            raise web.HTTPExpectationFailed(text="of what can be expected only 100-continue is offered\n")
        return await answer(request)

    return handle


class Runner(web.AppRunner):
    """Runs the app. A client that hangs up does not end its handler: what it began is finished, or fails by itself."""

    def __init__(self, app: web.Application) -> None:
        server_logger.addFilter(Malformed())
        super().__init__(app, handle_signals=False, access_log=None, shutdown_timeout=10.0)

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.request_handler = _unless_more_is_expected(server.request_handler)
        return server

    @property
    def server(self) -> "Callable[[], Connection] | None":  # type: ignore[override]  # sites only call it
        server = super().server
        if server is None:
            return None
        loop = asyncio.get_running_loop()
        # What a client says is compressed is not unpacked here: blobs are kept as they come.
        return lambda: Connection(
            server, loop=loop, access_log=None, auto_decompress=False, keepalive_timeout=KEEPALIVE_S,
            read_bufsize=READ_BUFFER_BYTES,
        )  # fmt: skip


def listener(settings: Settings) -> socket.socket:
    """Raises System."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise System(f"can't listen on {settings.host} port {settings.port}: {error.strerror or error}") from error


class Certificates:
    """The context for TLS, and its certificate as it is on the disk: who renews it tells nobody, or sends SIGHUP."""

    LOOK_S = 60.0

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._seen = self._look()
        self._load()

    def _look(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in (self._tls.certificate, self._tls.key) if path.exists())

    def _load(self) -> None:
        try:
            self.context.load_cert_chain(self._tls.certificate, self._tls.key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidParameter(
                f"can't use the certificate {self._tls.certificate} with the key {self._tls.key}: {error}"
            ) from error

    def reload(self) -> None:
        """Read the files again; new connections get the new certificate. One that can't be used changes nothing."""
        trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            trial.load_cert_chain(self._tls.certificate, self._tls.key)
        except (OSError, ssl.SSLError) as error:
            log.error("the old certificate stays in use: %s can't be used: %s", self._tls.certificate, error)
            return
        self._load()
        log.info("the certificate %s was read again", self._tls.certificate)

    async def watch(self) -> None:
        """Look at the files once a minute, until cancelled."""
        while True:
            await asyncio.sleep(self.LOOK_S)
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                self.reload()
