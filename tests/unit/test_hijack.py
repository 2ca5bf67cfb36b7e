"""Hijack over real connections: the socket leaves HTTP with all its bytes, over TLS by a relay."""

import asyncio
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from onggi.api.server import ApiRunner
from onggi.api.stream import MULTIPLEXED, RAW, STDERR, STDOUT, Hijack, frame, stream_type
from onggi.linux.fd import Fd

DEADLINE_S = 60
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Shim:
    """What gets the connection: answers in capitals, from a thread's point of view a process of its own."""

    def __init__(self) -> None:
        self.received = b""
        self.taken: Fd | None = None

    async def serve(self) -> None:
        """Echo in capitals until the client has ended its side, then end ours."""
        assert self.taken is not None
        with socket.socket(fileno=self.taken.take()) as connection:
            connection.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(connection, self.received.upper())
            while data := await loop.sock_recv(connection, 65536):
                await loop.sock_sendall(connection, data.upper())


def handler_for(shim: Shim) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        with Hijack(request) as hijack:
            if "fail" in request.query:
                raise web.HTTPConflict(text="no")
            hijack.send(hijack.head(RAW, {"X-More": "1"}))
            shim.received, shim.taken = hijack.received, Fd(hijack.connection.take())
            async with asyncio.TaskGroup() as group:
                group.create_task(shim.serve())
                return await hijack.handed_on()

    return handler


@asynccontextmanager
async def served(tmp_path: Path, handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str | int]:
    app = web.Application()
    app.router.add_post("/x", handler)
    runner = ApiRunner(app)
    await runner.setup()
    try:
        if tls is None:
            path = str(tmp_path / "s")
            await web.UnixSite(runner, path).start()
            yield path
        else:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"
HEAD = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\n"
    b"Upgrade: tcp\r\nX-More: 1\r\n\r\n"
)


async def _bytes_after_the_request(tmp_path: Path, body: bytes, *, late: bool) -> bytes:
    shim = Shim()
    async with served(tmp_path, handler_for(shim)) as path, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_unix_connection(str(path))
        length = b"Content-Length: %d\r\n" % len(body)
        writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\n" + length + UPGRADE + b"\r\n" + body)
        if late:
            assert await reader.readexactly(len(HEAD)) == HEAD
        writer.write(b"first GET / HTTP/1.1\r\n\r\n")
        if not late:
            assert await reader.readexactly(len(HEAD)) == HEAD
        writer.write(b" second")
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer


@pytest.mark.parametrize("body", [b"", b'{"Detach":false}'])
@pytest.mark.parametrize("late", [False, True])
def test_every_byte_after_the_request_is_the_streams(tmp_path: Path, body: bytes, late: bool) -> None:
    answer = asyncio.run(_bytes_after_the_request(tmp_path, body, late=late))
    assert answer == b"FIRST GET / HTTP/1.1\r\n\r\n SECOND"


async def _without_upgrade(tmp_path: Path) -> bytes:
    shim = Shim()
    async with served(tmp_path, handler_for(shim)) as path, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello")
        writer.write_eof()
        answer = head + await reader.read()
        writer.close()
        return answer


def test_without_upgrade_the_answer_is_200(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\nX-More: 1\r\n\r\n"
    assert asyncio.run(_without_upgrade(tmp_path)) == head + b"HELLO"


async def _refused(tmp_path: Path) -> bytes:
    async with served(tmp_path, handler_for(Shim())) as path, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"POST /x?fail=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + UPGRADE + b"\r\nearly bytes")
        answer = await reader.read()
        writer.close()
        return answer


def test_a_refusal_is_answered_in_http_and_ends_the_connection(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    answer = asyncio.run(_refused(tmp_path))
    assert answer.startswith(b"HTTP/1.1 409 Conflict\r\n")
    assert answer.endswith(b"\r\n\r\nno")
    assert len(os.listdir("/proc/self/fd")) == before


def _certificate(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    client.check_hostname = False
    return server, client


async def _over_tls(tmp_path: Path, size: int) -> bytes:
    server, client = _certificate(tmp_path)
    shim = Shim()
    async with served(tmp_path, handler_for(shim), server) as port, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port), ssl=client)
        writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + UPGRADE + b"\r\nearly ")

        async def send() -> None:
            for _ in range(size // 10_000):
                writer.write(b"x" * 10_000)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            assert await reader.readexactly(len(HEAD)) == HEAD
            answer = await reader.readexactly(len(b"early ") + size)
        writer.close()
        return answer


def test_over_tls_the_bytes_are_relayed(tmp_path: Path) -> None:
    assert asyncio.run(_over_tls(tmp_path, 5_000_000)) == b"EARLY " + b"X" * 5_000_000


def test_frames_and_types() -> None:
    assert frame(STDOUT, b"abc") == b"\1\0\0\0\0\0\0\3abc"
    assert frame(STDERR, b"") == b"\2\0\0\0\0\0\0\0"
    assert stream_type(framed=True, version=(1, 42)) == MULTIPLEXED
    assert stream_type(framed=True, version=(1, 41)) == RAW
    assert stream_type(framed=False, version=(1, 51)) == RAW
