"""Asking the API in this process, as whoever the request's session says."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.web_urldispatcher import UrlMappingMatchInfo
from yarl import URL

from onggi.registry.app import perform
from onggi.registry.jsonform import encode
from onggi.registry.requests import ADDRESS, BASE, SUBJECT
from onggi.registry.route import Found, Route
from onggi.registry.service import Service


class Api:
    """The registry's routes, to be asked by what they are called."""

    def __init__(self, service: Service, routes: Iterable[Route]) -> None:
        self._service = service
        self._routes = {
            (route.method, route.path): (
                route,
                [part[1:-1].rstrip("*") for part in route.path.split("/") if part[:1] == "{"],
            )
            for route in routes
        }
        """Each with the names of its path's parameters."""

    async def get(self, request: web.Request, path: str, query: Mapping[str, str] | None = None, **given: str) -> Any:
        """What GET answers, from JSON. Parameters of the path that are not `given` are those of the page's own path.

        Raises what the API's handler raises, and its refusals.
        """
        return json.loads(await self.body(request, "GET", path, None, query, **given))

    async def send(
        self, request: web.Request, method: str, path: str, value: Any = None, query: Mapping[str, str] | None = None,
        **given: str,
    ) -> Any:  # fmt: skip
        """As `get`, with a body; None where the answer has none."""
        answer = await self.body(request, method, path, value, query, **given)
        return json.loads(answer) if answer else None

    async def body(
        self, request: web.Request, method: str, path: str, value: Any, query: Mapping[str, str] | None, **given: str
    ) -> bytes:
        """The answer's bytes."""
        route, names = self._routes[method, path]
        parameters = {name: given[name] if name in given else request.match_info[name] for name in names}
        inner = request.clone(
            method=method, rel_url=URL.build(path="/api", query=query or {}),
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        # Not the browser's body, and not its path: the handler reads just what is given here.
        inner._read_bytes = encode(value) if value is not None else b""
        inner._match_info = UrlMappingMatchInfo({}, request.match_info.route)
        inner[SUBJECT], inner[ADDRESS], inner[BASE] = request[SUBJECT], request[ADDRESS], request[BASE]
        response = await perform(self._service, inner, Found(route, parameters))
        assert isinstance(response, web.Response), "the API answers in one piece"
        return response.body if isinstance(response.body, bytes) else b""
