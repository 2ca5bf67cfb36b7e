"""Exec: POST /containers/{name}/exec, POST /exec/{id}/start, GET /exec/{id}/json, POST /exec/{id}/resize,
POST /exec/{id}/kill"""

from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from onggi.api.request import api_version, dimension, read_json
from onggi.api.response import MARK, json_response, no_content
from onggi.api.route import Route
from onggi.api.stream import STDOUT, Hijack, frame, stream_type
from onggi.engine.execs import ExecConfig
from onggi.errors import OnggiError
from onggi.runtime.runtime import Attachment

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


class ExecStart(msgspec.Struct, rename="pascal", frozen=True):
    detach: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None
    """Rows, columns."""


def routes(engine: "Engine") -> list[Route]:
    async def create(request: web.Request) -> web.StreamResponse:
        config = await read_json(request, ExecConfig)
        return json_response({"Id": engine.execs.create(request.match_info["name"], config).id}, 201)

    async def start(request: web.Request) -> web.StreamResponse:
        asked = await read_json(request, ExecStart, optional=True)
        exec_id = request.match_info["id"]
        exec = engine.execs.startable(exec_id)
        if asked.detach:
            await engine.execs.start(exec_id, (), asked.console_size)
            return web.Response()
        version = api_version(request)
        framed = not asked.tty
        with Hijack(request) as hijack:
            await hijack.announce(hijack.head(stream_type(framed=framed, version=version), MARK))
            attachment = Attachment(
                connection=hijack.connection,
                stdin=exec.config.attach_stdin,
                stdout=exec.config.attach_stdout,
                stderr=exec.config.attach_stderr,
                framed=framed,
                received=hijack.received,
                detach_keys=exec.detach_keys,
            )
            try:
                await engine.execs.start(exec_id, (attachment,), asked.console_size)
            except OnggiError as error:
                # As from Docker, the client reads the reason as output of the command.
                sentence = f"{error}\r\n".encode()
                hijack.send(frame(STDOUT, sentence) if framed else sentence)
                hijack.connection.close()
            return await hijack.handed_on()

    async def inspect(request: web.Request) -> web.StreamResponse:
        document: dict[str, Any] = engine.execs.inspect(request.match_info["id"])
        return json_response(document)

    async def resize(request: web.Request) -> web.StreamResponse:
        rows, columns = dimension(request, "h", "height"), dimension(request, "w", "width")
        await engine.execs.resize(request.match_info["id"], rows, columns)
        return no_content(200)

    async def kill(request: web.Request) -> web.StreamResponse:
        await engine.execs.kill(request.match_info["id"], request.query.get("signal", ""))
        return no_content()

    return [
        Route("POST", "/containers/{name}/exec", create),
        Route("POST", "/exec/{id}/start", start),
        Route("GET", "/exec/{id}/json", inspect),
        Route("POST", "/exec/{id}/resize", resize),
        Route("POST", "/exec/{id}/kill", kill),  # ours: Docker has none
    ]
