"""Hijack: a client's connection leaves HTTP and carries a container's streams.

The socket itself is handed on (to a shim), with the bytes that had come after the request; aiohttp then lets go of it
without a word. Over TLS, whose keys stay with us, one end of a socket pair is handed on and `TlsRelay` carries the
bytes. A frame is the number of the stream (1 stdout, 2 stderr), three zeros, the length as 32 bits, the payload.
"""

import asyncio
import fcntl
import os
import socket
import sys
from types import TracebackType
from typing import Self

from aiohttp import web

from onggi.api.server import Connection
from onggi.linux.fd import Fd

STDOUT = 1
STDERR = 2

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
MULTIPLEXED_SINCE = (1, 42)


_HEAD_READ_TRIES = 500
_HEAD_READ_PAUSE_S = 0.001
_SIOCOUTQ = 0x5411  # unix(7): bytes that the peer has not read


def _unread_bytes(descriptor: int) -> int:
    try:
        return int.from_bytes(fcntl.ioctl(descriptor, _SIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0  # not a socket that counts


def frame(stream: int, payload: bytes) -> bytes:
    """One frame of Docker's multiplexed stream."""
    return bytes((stream, 0, 0, 0)) + len(payload).to_bytes(4, "big") + payload


def stream_type(*, framed: bool, version: tuple[int, ...]) -> str:
    """The Content-Type that tells a client whether it gets frames. Before 1.42 it had to know from the container."""
    return MULTIPLEXED if framed and version >= MULTIPLEXED_SINCE else RAW


class HandedOn(web.StreamResponse):
    """What a handler returns after it has handed the connection on: nothing is written, aiohttp closes its side."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class _Rest:
    """Takes the place of aiohttp's HTTP parser: what still arrives is the stream's, not another request."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = False
        self.relay: TlsRelay | None = None

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if self.relay is not None:
            self.relay.received(data)
        else:
            self.data += data
        return False, b""

    def feed_eof(self) -> None:
        self.ended = True
        if self.relay is not None:
            self.relay.client_ended()


class Hijack:
    """The client's connection, taken from aiohttp. Leave it by an exception and HTTP can still answer (once)."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._rest = _Rest()
        self.upgrade = "upgrade" in request.headers.get("Connection", "").lower()

    def __enter__(self) -> Self:
        request = self._request
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        protocol = request.protocol
        if isinstance(protocol, Connection) and protocol.held is not None:
            self._rest.data = bytes(protocol.held)
            protocol.held.clear()
        protocol.set_parser(self._rest)  # type: ignore[arg-type]  # it wants a WebSocket's reader, and calls feed_* only
        # No further request comes on this connection, however this one ends.
        protocol.keep_alive(False)
        self._transport: asyncio.Transport = transport
        self._transport.pause_reading()
        if transport.get_extra_info("ssl_object") is None:
            self.connection = Fd(os.dup(transport.get_extra_info("socket").fileno()))
            self.received = self._rest.data
        else:
            ours, theirs = socket.socketpair()
            self._rest.relay = TlsRelay(request, self._transport, ours)
            self.connection = Fd(theirs.detach())
            self.received = self._rest.data
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            return
        self._request.protocol.close()
        if not self.connection.closed:
            self.connection.close()
        if self._rest.relay is not None:
            self._rest.relay.close()

    def head(self, content_type: str, headers: dict[str, str]) -> bytes:
        """The head of the answer, as Docker writes it: 101 for a client that asked to upgrade, else 200."""
        if self.upgrade:
            lines = ["HTTP/1.1 101 UPGRADED", f"Content-Type: {content_type}", "Connection: Upgrade", "Upgrade: tcp"]
        else:
            lines = ["HTTP/1.1 200 OK", f"Content-Type: {RAW}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")

    def send(self, data: bytes) -> None:
        """Write a few bytes before the connection is handed on. A client that has gone or does not read loses them."""
        try:
            with socket.socket(fileno=os.dup(self.connection.fileno())) as client:
                client.setblocking(False)
                client.sendall(data)
        except OSError:
            # Whoever gets the connection next sees the same and drops it.
            return

    async def announce(self, head: bytes) -> None:
        """Send the head of the answer before there is any output.

        docker-py reads the head through a buffer and the stream around it, so that output which comes with the head is
        lost. For that client we wait, within reason, until it has read the head: on a unix socket the kernel tells.
        """
        self.send(head)
        if not self._request.headers.get("User-Agent", "").startswith("docker-sdk-python"):
            return
        with self.connection.duplicate() as connection:
            for _ in range(_HEAD_READ_TRIES):
                if _unread_bytes(connection.fileno()) == 0:
                    return
                await asyncio.sleep(_HEAD_READ_PAUSE_S)

    async def handed_on(self) -> web.StreamResponse:
        """End the handler. Over TLS it stays until the streams have ended, as the bytes go through us."""
        if self._rest.relay is not None:
            await self._rest.relay.run()
        return HandedOn()


class TlsRelay:
    """Carries bytes between a TLS connection and the end of a socket pair whose other end was handed on."""

    def __init__(self, request: web.Request, transport: asyncio.Transport, ours: socket.socket) -> None:
        self._request = request
        self._transport = transport
        self._ours = ours
        self._ours.setblocking(False)
        self._pending = bytearray()
        self._news = asyncio.Event()
        self._ended = False

    def received(self, data: bytes) -> None:
        self._pending += data
        self._transport.pause_reading()
        self._news.set()

    def client_ended(self) -> None:
        self._ended = True
        self._news.set()

    def close(self) -> None:
        self._ours.close()

    async def run(self) -> None:
        """Carry until the container's side has ended. A client that has gone cancels the handler, and so this."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                inward = group.create_task(self._carry_in(loop))
                while data := await loop.sock_recv(self._ours, 64 * 1024):
                    self._transport.write(data)
                    await self._request.writer.drain()
                inward.cancel()
        finally:
            self._ours.close()

    async def _carry_in(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            while self._pending:
                data = bytes(self._pending)
                self._pending.clear()
                await loop.sock_sendall(self._ours, data)
            if self._ended:
                self._ours.shutdown(socket.SHUT_WR)
                return
            self._news.clear()
            self._transport.resume_reading()
            await self._news.wait()
