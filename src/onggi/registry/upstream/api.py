"""/api/v1/projects/PROJECT/upstream: make a project a cache, look at it, end it; and the feature itself."""

from typing import Annotated, Any

import msgspec
from aiohttp import web

from onggi.registry import audit
from onggi.registry.database import Connection
from onggi.registry.permissions import Action
from onggi.registry.requests import actor, body, json_reply
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.upstream import eviction, upstreams
from onggi.registry.upstream.upstreams import CHECK_S, Upstream


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    remote: str
    prefix: Annotated[str, msgspec.Meta(max_length=200)] = ""
    check_s: Annotated[int, msgspec.Meta(ge=0, le=30 * 86400)] = CHECK_S
    limit_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**60)] = 0
    keep_days: Annotated[int, msgspec.Meta(ge=0, le=36500)] = 0


_setting = msgspec.json.Decoder(Setting)


def _shown(upstream: Upstream) -> dict[str, Any]:
    return {
        "remote": upstream.remote.name, "url": upstream.remote.url, "namespace": upstream.remote.namespace,
        "prefix": upstream.prefix, "check_s": upstream.check_s, "limit_bytes": upstream.limit_bytes,
        "keep_days": upstream.keep_days,
    }  # fmt: skip


class Upstreams:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def look(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["project"]
        return json_reply(_shown(await self._service.read(lambda connection: upstreams.find(connection, name))))

    async def put(self, request: web.Request) -> web.StreamResponse:
        given, name = await body(request, _setting), request.match_info["project"]

        def apply(connection: Connection) -> dict[str, Any]:
            upstreams.put(connection, name, given.remote, prefix=given.prefix, check_s=given.check_s,
                          limit_bytes=given.limit_bytes, keep_days=given.keep_days)  # fmt: skip
            audit.record(connection, actor(request), "set upstream", project=name, details=msgspec.to_builtins(given))
            return _shown(upstreams.find(connection, name))

        shown = await self._service.write(apply)
        self._service.cache.forget_table()
        return json_reply(shown)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["project"]

        def forget(connection: Connection) -> None:
            upstreams.delete(connection, name)
            audit.record(connection, actor(request), "delete upstream", project=name)

        await self._service.write(forget)
        self._service.cache.forget_table()
        return web.Response(status=204)


def install(service: Service) -> list[Route]:
    """The feature: its job, and its routes."""
    eviction.install(service)
    handlers = Upstreams(service)
    path = "/api/v1/projects/{project}/upstream"
    return [
        Route("GET", path, handlers.look, Action.PROJECT_READ),
        Route("PUT", path, handlers.put, Action.REGISTRY),
        Route("DELETE", path, handlers.delete, Action.REGISTRY),
    ]
