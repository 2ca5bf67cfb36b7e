"""HEAD, GET, PUT /containers/{name}/archive, GET /containers/{name}/export, GET /containers/{name}/changes"""

import base64
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from onggi.api.request import flag
from onggi.api.response import json_response
from onggi.api.route import Route
from onggi.engine.copying import PathStat, Target
from onggi.engine.diff import mount_points, without_mount_points
from onggi.errors import InvalidParameter

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


def _path(request: web.Request) -> str:
    path = request.query.get("path", "")
    if not path:
        raise InvalidParameter("bad parameter: pathcannot be empty")
    if "\0" in path or len(path) > 4095:
        raise InvalidParameter("bad parameter: path holds a NUL or is too long")
    return path


def _header(found: PathStat) -> dict[str, str]:
    return {"X-Docker-Container-Path-Stat": base64.b64encode(msgspec.json.encode(found)).decode("ascii")}


def routes(engine: "Engine") -> list[Route]:
    async def head(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        found = await engine.copying.stat(engine.containers.get(name), name, _path(request))
        return web.Response(headers=_header(found))

    async def get(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        async with engine.copying.read(engine.containers.get(name), name, _path(request)) as (found, pieces):
            response = web.StreamResponse(headers={**_header(found), "Content-Type": "application/x-tar"})
            await response.prepare(request)
            async for piece in pieces:
                await response.write(piece)
        return response

    async def put(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        target = Target(
            path=_path(request),
            strict=flag(request, "noOverwriteDirNonDir"),
            owned_by_user=flag(request, "copyUIDGID"),
        )
        await engine.copying.write(engine.containers.get(name), name, target, request.content.iter_any())
        return web.Response()

    async def export(request: web.Request) -> web.StreamResponse:
        async with engine.copying.export(engine.containers.get(request.match_info["name"])) as pieces:
            response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
            await response.prepare(request)
            async for piece in pieces:
                await response.write(piece)
        return response

    async def changes(request: web.Request) -> web.StreamResponse:
        container = engine.containers.get(request.match_info["name"])
        every = await engine.snapshots.changes(container.id)
        found = without_mount_points(every, mount_points(container))
        shown = [{"Path": change.path.decode("utf-8", "replace"), "Kind": int(change.kind)} for change in found]
        return json_response(shown or None)

    return [
        Route("HEAD", "/containers/{name}/archive", head),
        Route("GET", "/containers/{name}/archive", get),
        Route("PUT", "/containers/{name}/archive", put),
        Route("GET", "/containers/{name}/export", export),
        Route("GET", "/containers/{name}/changes", changes),
    ]
