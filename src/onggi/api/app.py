"""Docker's Engine API over aiohttp: one entry that finds the version, the route and the reply to a failure.

A request passes `_Api.answer` once: no middleware, no second router, so what the frame costs is one dictionary look-up.
Resource modules are listed in `_RESOURCES`; each offers `routes(engine)`.
"""

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from aiohttp import web

from onggi.api import (
    attach,
    auto_update,
    containers,
    copying,
    disk_usage,
    exec,
    images,
    logs,
    manifests,
    networks,
    processes,
    pull,
    signatures,
    system,
    unoffered,
    verify,
    volumes,
)
from onggi.api.failure import reply_to
from onggi.api.guard import Guard
from onggi.api.request import BODY_LIMIT_BYTES, VERSION
from onggi.api.response import MARK
from onggi.api.route import Route, Table
from onggi.api.stream import HandedOn
from onggi.api.version import NEWEST, negotiate
from onggi.errors import NotFound

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

log = logging.getLogger(__name__)

_RESOURCES = (
    system,
    disk_usage,
    containers,
    attach,
    copying,
    exec,
    logs,
    processes,
    images,
    manifests,
    networks,
    pull,
    volumes,
    unoffered,
    auto_update,
    signatures,
    verify,
)
"""Add a resource's module here."""

_VERSIONED = re.compile(r"/v([0-9][0-9.]*)(/.*)", re.DOTALL)


class PageNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("page not found")


class _Api:
    def __init__(self, routes: Iterable[Route], guard: Guard, *, debug: bool) -> None:
        self._table = Table(routes)
        self._guard = guard
        self._debug = debug

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Find the version and the handler, run it; a failure becomes Docker's error reply."""
        path = request.path
        if "//" in path:
            # As Go's mux, so that a base URL with a slash at its end works.
            query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
            raise web.HTTPMovedPermanently(re.sub("/{2,}", "/", request.rel_url.raw_path) + query)
        if self._debug:
            log.debug("%s %s", request.method, path)
        try:
            self._guard.check(request)
            versioned = _VERSIONED.fullmatch(path)
            request[VERSION] = NEWEST if versioned is None else negotiate(versioned[1])
            found = self._table.find(request.method, path if versioned is None else versioned[2])
            if found is None:
                raise PageNotFound
            handler, parameters = found
            request.match_info.update(parameters)
            return await handler(request)
        except web.HTTPRequestEntityTooLarge as error:
            return self._failed(request, error)
        except web.HTTPException:
            raise
        except ExceptionGroup as group:
            return self._failed(request, _single(group))
        except Exception as error:  # the edge: nobody above could answer
            return self._failed(request, error)

    def _failed(self, request: web.Request, error: Exception) -> web.StreamResponse:
        if isinstance(error, ConnectionError) and request.transport is None:
            return HandedOn()  # the client has gone: nobody reads a reply
        reply = reply_to(error)
        if "Upgrade" in request.headers:
            reply.force_close()  # what follows such a request is not HTTP
        if request.writer.output_size > 0:
            # The head is on the wire; only an early end can tell the client now.
            if request.transport is not None:
                request.transport.abort()
            return HandedOn()
        return reply


def _single(group: ExceptionGroup[Exception]) -> Exception:
    """A task group wraps what one of its tasks raised; the client is told of that one."""
    first = group.exceptions[0]
    return _single(first) if isinstance(first, ExceptionGroup) else first


async def _mark(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(MARK)


def make_app(engine: "Engine") -> web.Application:
    """The API of one engine, to be served by `server.ApiRunner`."""
    routes = [route for resource in _RESOURCES for route in resource.routes(engine)]
    app = web.Application(client_max_size=BODY_LIMIT_BYTES)
    app.router.add_route(
        "*", "/{path:.*}", _Api(routes, Guard(engine.settings.api_names), debug=engine.settings.debug).answer
    )
    app.on_response_prepare.append(_mark)
    return app
