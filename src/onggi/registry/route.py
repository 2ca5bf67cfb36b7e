"""One endpoint: method, path, handler, and what the subject must be allowed to do before the handler runs.

    Route("PUT", "/v2/{name*}/manifests/{reference}", put, Action.PUSH)

`{word}` matches one segment of the path, `{word*}` any number. What the action is on is read off the path: `{name*}` is
a repository, `{project}` a project, else it is the registry. `action=None` is for what anybody may ask, or what the
handler itself decides by `authorization.may_in` (lists that show what the subject may see).
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

from onggi.path_pattern import compile_path
from onggi.registry.permissions import Action, Subject

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Authenticate = Callable[[web.Request], Awaitable[Subject]]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: Handler
    action: Action | None
    authenticate: Authenticate | None = None
    """How the subject is found; None: by the Authorization header, as /v2 and /api do. Pages use their session."""
    body_limit_bytes: int | None = 1024 * 1024
    """More is refused. None: the handler reads the body as a stream and bounds it itself."""


@dataclass(frozen=True, slots=True)
class Found:
    route: Route
    parameters: dict[str, str]


class Table:
    """All routes. A literal path wins over one with parameters; of those the first in the list wins."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._literal: dict[str, dict[str, Route]] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            if "{" not in route.path:
                methods = self._literal.setdefault(route.path, {})
                if route.method in methods:
                    raise ValueError(f"two routes for {route.method} {route.path}")
                methods[route.method] = route
            else:
                self._patterns.setdefault(_first(route.path), []).append((compile_path(route.path), route))

    def find(self, method: str, path: str) -> Found | set[str]:
        """The route of `path`; or, where there is none for `method`, the methods that there are.

        HEAD is GET without the body, where it has no route of its own. (RFC 9110, 9.3.2)
        """
        methods = self._literal.get(path, {})
        if method in methods:
            return Found(methods[method], {})
        others = set(methods)
        for pattern, route in self._patterns.get(_first(path), ()):
            match = pattern.fullmatch(path)
            if match is not None:
                if route.method == method:
                    return Found(route, match.groupdict())
                others.add(route.method)
        return self.find("GET", path) if method == "HEAD" and "GET" in others else others


def _first(path: str) -> str:
    """The first segment: what patterns are sorted by."""
    parts = path.split("/", 2)
    return parts[1] if len(parts) > 1 else ""
