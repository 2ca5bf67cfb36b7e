"""POST /containers/{name}/attach, GET /containers/{name}/attach/ws, POST /containers/{name}/resize"""

import asyncio
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from onggi.api.request import api_version, dimension, flag
from onggi.api.response import no_content
from onggi.api.route import Route
from onggi.api.stream import STDOUT, Hijack, frame, stream_type
from onggi.engine.attach import detach_keys
from onggi.engine.lifecycle import Verb, called, require
from onggi.engine.logs import LogQuery
from onggi.errors import InvalidParameter, OnggiError
from onggi.linux.fd import Fd
from onggi.runtime.runtime import Attachment

if TYPE_CHECKING:
    from onggi.engine.container import Container
    from onggi.engine.engine import Engine


MARK = "Onggi-Mark"
"""Header of an attach: by this a start that waits for it knows it (see `containers.START_AND_WAIT`)."""


def routes(engine: "Engine") -> list[Route]:
    async def attach(request: web.Request) -> web.StreamResponse:
        container = engine.containers.get(request.match_info["name"])
        require(called(container, request.match_info["name"]), Verb.ATTACH)
        keys = detach_keys(request.query.get("detachKeys", ""))
        stream, logs = flag(request, "stream"), flag(request, "logs")
        stdin = flag(request, "stdin") and container.config.open_stdin
        stdout, stderr = flag(request, "stdout"), flag(request, "stderr")
        framed = not container.config.tty
        with Hijack(request) as hijack:
            # A client that attaches before the start waits for the head, and starts the container only then.
            await hijack.announce(hijack.head(stream_type(framed=framed, version=api_version(request)), {}))
            if logs and container.logs_to_file:
                await _replay(engine, container, hijack, stdout=stdout, stderr=stderr)
            if not stream or not (stdin or stdout or stderr):
                engine.events.publish("container", "attach", container.id, container.attributes())
                hijack.connection.close()
                return await hijack.handed_on()
            attachment = Attachment(
                connection=hijack.connection,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                framed=framed,
                received=hijack.received,
                detach_keys=keys if container.config.tty else b"",
                mark=request.headers.get(MARK, ""),
            )
            try:
                await engine.containers.attach(container.id, attachment)
            except OnggiError as error:
                sentence = f"{error}\r\n".encode()
                hijack.send(frame(STDOUT, sentence) if framed else sentence)
                hijack.connection.close()
            return await hijack.handed_on()

    async def attach_websocket(request: web.Request) -> web.StreamResponse:
        container = engine.containers.get(request.match_info["name"])
        require(called(container, request.match_info["name"]), Verb.ATTACH)
        keys = detach_keys(request.query.get("detachKeys", ""))
        websocket = web.WebSocketResponse()
        if not websocket.can_prepare(request):
            raise InvalidParameter("this endpoint speaks WebSocket only: send a request to upgrade")
        ours, theirs = socket.socketpair()
        with ours, Fd(theirs.detach()) as connection:
            attachment = Attachment(
                connection=connection,
                stdin=flag(request, "stdin") and container.config.open_stdin,
                stdout=flag(request, "stdout"),
                stderr=flag(request, "stderr"),
                framed=False,  # as in Docker: a WebSocket's own frames do
                detach_keys=keys if container.config.tty else b"",
            )
            await engine.containers.attach(container.id, attachment)
            await websocket.prepare(request)
            await _relay(websocket, ours)
        return websocket

    async def resize(request: web.Request) -> web.StreamResponse:
        rows, columns = dimension(request, "h", "height"), dimension(request, "w", "width")
        await engine.containers.resize(request.match_info["name"], rows, columns)
        return no_content(200)

    return [
        Route("POST", "/containers/{name}/attach", attach),
        Route("GET", "/containers/{name}/attach/ws", attach_websocket),
        Route("POST", "/containers/{name}/resize", resize),
    ]


async def _relay(websocket: web.WebSocketResponse, ours: socket.socket) -> None:
    """Carry bytes between a WebSocket and the end of a pair whose other end the container has, until that ends."""
    loop = asyncio.get_running_loop()
    ours.setblocking(False)

    async def carry_in() -> None:
        async for message in websocket:
            if message.type in (web.WSMsgType.BINARY, web.WSMsgType.TEXT):
                data = message.data.encode() if isinstance(message.data, str) else message.data
                await loop.sock_sendall(ours, data)
        ours.shutdown(socket.SHUT_RDWR)  # the client has gone

    async with asyncio.TaskGroup() as group:
        inward = group.create_task(carry_in())
        while data := await loop.sock_recv(ours, 64 * 1024):
            await websocket.send_bytes(data)
        await websocket.close()
        inward.cancel()


async def _replay(engine: "Engine", container: "Container", hijack: Hijack, *, stdout: bool, stderr: bool) -> None:
    """Send what the log holds (`logs=1`), before the live streams."""
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=hijack.connection.duplicate().take()) as client:
        client.setblocking(False)

        async def write(piece: bytes) -> None:
            await loop.sock_sendall(client, piece)

        query = LogQuery(stdout=stdout, stderr=stderr, framed=not container.config.tty)
        await engine.logs.send(container, query, write)
