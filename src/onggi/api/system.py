"""The engine itself: `_ping`, `version`, `info`, `system/df`, `events`."""

from typing import TYPE_CHECKING

from aiohttp import web

from onggi.api.route import Route

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
    return [Route("GET", "/_ping", ping), Route("HEAD", "/_ping", ping)]
