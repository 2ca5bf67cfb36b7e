"""GET /containers/{name}/top, GET /containers/{name}/stats"""

from typing import TYPE_CHECKING

from aiohttp import web

from onggi.api.request import flag
from onggi.api.response import json_response, stream_json
from onggi.api.route import Route
from onggi.engine.top import top
from onggi.errors import InvalidParameter

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


def routes(engine: "Engine") -> list[Route]:
    async def show_top(request: web.Request) -> web.StreamResponse:
        container = engine.containers.get(request.match_info["name"])
        answer = await top(engine.runtime, container, request.query.get("ps_args", ""))
        engine.events.publish("container", "top", container.id, container.attributes())
        return json_response(answer)

    async def stats(request: web.Request) -> web.StreamResponse:
        container = engine.containers.get(request.match_info["name"])
        one_shot = flag(request, "one-shot")
        if not flag(request, "stream", default=True):
            return json_response(await engine.stats.once(container, compare=not one_shot))
        if one_shot:
            raise InvalidParameter("cannot have stream=true and one-shot=true")
        return await stream_json(request, engine.stats.stream(container))

    return [
        Route("GET", "/containers/{name}/top", show_top),
        Route("GET", "/containers/{name}/stats", stats),
    ]
