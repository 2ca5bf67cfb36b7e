"""One endpoint: a method, a path and the coroutine that answers. Each resource module has `routes(engine)`.

    def routes(engine: Engine) -> list[Route]:
        async def start(request: web.Request) -> web.StreamResponse:
            await engine.containers.start(request.match_info["name"])
            return EMPTY()
        return [Route("POST", "/containers/{name}/start", start)]

Paths carry no version: `app.py` takes it off before it looks here. `{name}` matches one segment, `{name*}` any number
of them (image names hold slashes). A literal path wins over one with parameters; otherwise the first in the list wins.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

from onggi.path_pattern import compile_path

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: Handler


class Table:
    """All routes, found by a look-up for literal paths, else by the few patterns of the method and first segment."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._literal: dict[tuple[str, str], Handler] = {}
        self._patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Handler]]] = {}
        for route in routes:
            if "{" not in route.path:
                if (route.method, route.path) in self._literal:
                    raise ValueError(f"two routes for {route.method} {route.path}")
                self._literal[route.method, route.path] = route.handler
            else:
                key = (route.method, route.path.split("/", 2)[1])
                self._patterns.setdefault(key, []).append((compile_path(route.path), route.handler))

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        """The handler for `path`, without version, and what its parameters stand for."""
        handler = self._literal.get((method, path))
        if handler is not None:
            return handler, {}
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        for pattern, handler in self._patterns.get((method, first), ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return handler, match.groupdict()
        return None
