"""GET /containers/{name}/logs, and of Onggi's own: POST /onggi/containers/{name}/log/clear"""

from typing import TYPE_CHECKING

from aiohttp import web

from onggi.api.request import api_version, flag, timestamp_ns
from onggi.api.response import no_content
from onggi.api.route import Route
from onggi.api.stream import stream_type
from onggi.engine.logs import LogQuery
from onggi.errors import InvalidParameter

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


def _tail(text: str) -> int | None:
    """As in Docker, whatever is not a count means all."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None


def routes(engine: "Engine") -> list[Route]:
    async def logs(request: web.Request) -> web.StreamResponse:
        container = engine.containers.get(request.match_info["name"])
        framed = not container.config.tty
        query = LogQuery(
            stdout=flag(request, "stdout"),
            stderr=flag(request, "stderr"),
            follow=flag(request, "follow"),
            timestamps=flag(request, "timestamps"),
            details=flag(request, "details"),
            tail=_tail(request.query.get("tail", "")),
            since_ns=timestamp_ns(request.query.get("since", "")),
            until_ns=timestamp_ns(request.query.get("until", "")),
            framed=framed,
        )
        if not (query.stdout or query.stderr):
            raise InvalidParameter("Bad parameters: you must choose at least one stream")
        engine.logs.check(container)
        response = web.StreamResponse(
            headers={"Content-Type": stream_type(framed=framed, version=api_version(request))}
        )
        await response.prepare(request)
        await engine.logs.send(container, query, response.write)
        return response

    async def clear(request: web.Request) -> web.StreamResponse:
        await engine.logs.clear(engine.containers.get(request.match_info["name"]))
        return no_content()

    return [
        Route("GET", "/containers/{name}/logs", logs),
        Route("POST", "/onggi/containers/{name}/log/clear", clear),
    ]
