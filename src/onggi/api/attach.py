"""POST /containers/{name}/attach, POST /containers/{name}/resize"""

import asyncio
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from onggi.api.request import api_version, dimension, flag
from onggi.api.response import no_content
from onggi.api.route import Route
from onggi.api.stream import STDOUT, Hijack, frame, stream_type
from onggi.engine.attach import detach_keys
from onggi.engine.lifecycle import Verb, require
from onggi.engine.logs import LogQuery
from onggi.errors import OnggiError
from onggi.runtime.runtime import Attachment

if TYPE_CHECKING:
    from onggi.engine.container import Container
    from onggi.engine.engine import Engine


def routes(engine: "Engine") -> list[Route]:
    async def attach(request: web.Request) -> web.StreamResponse:
        container = engine.containers.get(request.match_info["name"])
        require(container, Verb.ATTACH)
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
            )
            try:
                await engine.containers.attach(container.id, attachment)
            except OnggiError as error:
                sentence = f"{error}\r\n".encode()
                hijack.send(frame(STDOUT, sentence) if framed else sentence)
                hijack.connection.close()
            return await hijack.handed_on()

    async def resize(request: web.Request) -> web.StreamResponse:
        rows, columns = dimension(request, "h", "height"), dimension(request, "w", "width")
        await engine.containers.resize(request.match_info["name"], rows, columns)
        return no_content(200)

    return [
        Route("POST", "/containers/{name}/attach", attach),
        Route("POST", "/containers/{name}/resize", resize),
    ]


async def _replay(engine: "Engine", container: "Container", hijack: Hijack, *, stdout: bool, stderr: bool) -> None:
    """Send what the log holds (`logs=1`), before the live streams."""
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=hijack.connection.duplicate().take()) as client:
        client.setblocking(False)

        async def write(piece: bytes) -> None:
            await loop.sock_sendall(client, piece)

        query = LogQuery(stdout=stdout, stderr=stderr, framed=not container.config.tty)
        await engine.logs.send(container, query, write)
