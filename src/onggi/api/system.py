"""The engine itself: `_ping`, `version`, `info`, `events`, `system/df`."""

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from onggi.api.request import filters, timestamp_ns
from onggi.api.response import json_response, stream_json
from onggi.api.route import Route
from onggi.api.version import NEWEST, OLDEST, text
from onggi.engine.events import FILTERS
from onggi.engine.system_info import version
from onggi.errors import InvalidParameter

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

_PING_HEADERS = {
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Swarm": "inactive",
}


async def ping(request: web.Request) -> web.Response:
    return web.Response(text="" if request.method == "HEAD" else "OK", headers=_PING_HEADERS)


def routes(engine: "Engine") -> list[Route]:
    async def show_version(_request: web.Request) -> web.StreamResponse:
        return json_response(version(text(NEWEST), text(OLDEST)))

    async def info(_request: web.Request) -> web.StreamResponse:
        return json_response(await engine.system_info.info())

    async def events(request: web.Request) -> web.StreamResponse:
        since_ns, until_ns = (
            0 if request.query.get(name) == "0" else timestamp_ns(request.query.get(name, ""))
            for name in ("since", "until")
        )  # 0 is 1970 here; elsewhere no bound
        if since_ns is not None and until_ns is not None and until_ns < since_ns:
            raise InvalidParameter(
                f"`since` time ({request.query['since']}) cannot be after `until` time ({request.query['until']})"
            )
        chosen = filters(request, FILTERS)

        async def documents() -> AsyncIterator[Mapping[str, Any]]:
            async with engine.events.subscribe(since_ns=since_ns, until_ns=until_ns, filters=chosen) as found:
                async for event in found:
                    yield event.document()

        return await stream_json(request, documents())

    return [
        Route("GET", "/_ping", ping),
        Route("HEAD", "/_ping", ping),
        Route("GET", "/version", show_version),
        Route("GET", "/info", info),
        Route("GET", "/events", events),
    ]
