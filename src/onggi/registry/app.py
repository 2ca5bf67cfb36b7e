"""The frame every request passes once: find the route, learn who asks, ask `allow`, run the handler, answer failures.

Modules with routes are listed in `service.FEATURES`. No middleware, no second router.
"""

import json
import logging
import re
import time
from collections.abc import Iterable, Sequence

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from onggi.errors import Forbidden, NotFound
from onggi.registry import origin
from onggi.registry.authentication import authenticate
from onggi.registry.authorization import allow
from onggi.registry.failure import Failure, failure_of, reply_of
from onggi.registry.names import InvalidName, project_name, repository_name
from onggi.registry.permissions import Action, AuthenticationNeeded
from onggi.registry.refusals import MethodWrong
from onggi.registry.requests import ADDRESS, BASE, REPOSITORY, SUBJECT
from onggi.registry.route import Found, Route, Table
from onggi.registry.service import Service

log = logging.getLogger("onggi.registry.access")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
CLIENT_GONE = 499
"""What the log and the metrics call a request whose client did not wait for its answer (nginx's number)."""
_CONTROL = re.compile(r"[^\x20-\x7e]")
_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Docker-Distribution-Api-Version", "registry/2.0"),
)
SANDBOX = "default-src 'none'; frame-ancestors 'none'; sandbox"
"""The Content-Security-Policy of everything that is not a page of ours: what strangers pushed never runs."""


class PathUnknown(NotFound):
    def __init__(self) -> None:
        super().__init__("there is nothing at this path")


class App:
    """Answers the requests of one service. `answer` is aiohttp's handler."""

    def __init__(self, service: Service, routes: Iterable[Route]) -> None:
        self._service = service
        self._table = Table(routes)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request)
        begun = time.perf_counter()
        kind = "none"
        try:
            request[ADDRESS], request[BASE] = origin.of(request, self._service.settings)
            found = self._find(request)
            kind = found.route.path
            response = await self._carry_out(request, found)
        except web.HTTPRequestEntityTooLarge as error:
            response = await self._failed(request, error)
        except web.HTTPException as redirect:
            response = redirect
        except Exception as error:  # the edge: nobody above could answer
            if request.transport is None and isinstance(error, ConnectionError | RequestPayloadError):
                response = web.Response(status=CLIENT_GONE)  # nobody reads it
            elif getattr(request.writer, "output_size", 0) > 0:
                if request.transport is not None:
                    request.transport.abort()  # the head is on the wire: only an early end can tell the client now
                raise
            else:
                response = await self._failed(request, error)
        self._note(request, response, kind, time.perf_counter() - begun)
        return response

    def _find(self, request: web.Request) -> Found:
        found = self._table.find(request.method, request.path)
        if isinstance(found, Found):
            return found
        if not found:
            raise PathUnknown
        raise MethodWrong(f"{request.method[:20]} is not offered here, only {', '.join(sorted(found))}")

    async def _carry_out(self, request: web.Request, found: Found) -> web.StreamResponse:
        route, service = found.route, self._service
        if route.authenticate is not None:
            request[SUBJECT] = await route.authenticate(request)
        else:
            request[SUBJECT] = await authenticate(service, request)
        if request.method not in ("GET", "HEAD"):
            _refuse_other_sites(request)
        return await perform(service, request, found)

    async def _failed(self, request: web.Request, error: Exception) -> web.Response:
        failure = failure_of(error)
        page = await self._page_of(request, error, failure)
        response = page or reply_of(failure)
        if page is None and isinstance(error, AuthenticationNeeded):
            # Not with a page: the browser would ask for a password in a box of its own, which begins no session.
            response.headers["WWW-Authenticate"] = self._challenge(request, error)
        if request.body_exists and not request.content.at_eof():
            response.force_close()  # the rest of its body is not waited for
        return response

    async def _page_of(self, request: web.Request, error: Exception, failure: Failure) -> web.Response | None:
        """What a browser is shown; None for other clients."""
        show = self._service.show_failure
        try:
            return await show(request, error, failure) if show is not None else None
        except Exception:  # the edge: whatever is wrong with the page, the client gets an answer
            log.exception("the page of a failure could not be made")
            return None

    def _challenge(self, request: web.Request, error: AuthenticationNeeded) -> str:
        if not request.path.startswith("/v2/"):
            return 'Basic realm="Onggi registry"'
        text = f'Bearer realm="{request[BASE]}/token",service="{self._service.settings.service}"'
        if error.scope:
            text += f',scope="{error.scope}"'
            if request.headers.get("Authorization"):
                text += ',error="insufficient_scope"'
        return text

    def _note(self, request: web.Request, response: web.StreamResponse, kind: str, took_s: float) -> None:
        metrics = self._service.metrics
        method = request.method if request.method in ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE") else "other"
        metrics.requests.add(method, kind, str(response.status))
        metrics.latency.observe(took_s, kind)
        if request.path in _QUIET or not log.isEnabledFor(logging.INFO):
            return
        subject = request.get(SUBJECT)
        log.info("%s", json.dumps({
            "method": method, "path": _CONTROL.sub("?", request.path)[:500], "status": response.status,
            "ms": round(took_s * 1000, 1), "subject": subject.name if subject is not None else "",
            "address": request.get(ADDRESS, ""), "agent": _CONTROL.sub("?", request.headers.get("User-Agent", ""))[:200],
        }))  # fmt: skip


async def perform(service: Service, request: web.Request, found: Found) -> web.StreamResponse:
    """Run a route's handler for the request's subject, if that may do what the route names. Raises what the handler does."""
    route, project = found.route, found.parameters.get("project", "")
    request.match_info.update(found.parameters)
    if project:
        project_name(project)
    if "{name*}" in route.path:
        try:
            named = repository_name(found.parameters["name"])
        except InvalidName:
            if not request[SUBJECT].known:
                raise AuthenticationNeeded from None  # before that, nobody learns anything
            raise
        request[REPOSITORY] = await _meant(service, request, named)
    if route.action is not None:
        await allow(service.database, request[SUBJECT], route.action, project=project,
                    repository=request.get(REPOSITORY, ""))  # fmt: skip
    if route.action is Action.PUSH:
        await service.cache.refuse_push(request[REPOSITORY])
    if route.body_limit_bytes is not None:
        request._client_max_size = route.body_limit_bytes
    return await route.handler(request)


async def _meant(service: Service, request: web.Request, name: str) -> str:
    """The repository that the client calls so: one of a cache may have two names, and be mirrored."""
    cache, reading = service.cache, request.method in ("GET", "HEAD")
    await cache.load()
    if cache.empty:
        return name
    return await service.read(
        lambda connection: cache.canonical(connection, name, request.query.get("ns", ""), reading=reading)
    )


def _refuse_other_sites(request: web.Request) -> None:
    """A page of another site must not act with what the browser knows of us. Raises Forbidden."""
    site = request.headers.get("Origin")
    if site is not None and site != request[BASE]:
        raise Forbidden(f"a page of {site[:200]!a} may not do this; if it is ours, --url must say how it is reached")


async def _mark(request: web.Request, response: web.StreamResponse) -> None:
    headers = response.headers
    for name, value in _HEADERS:
        headers[name] = value
    headers["Server"] = "Onggi"
    headers.setdefault("Content-Security-Policy", SANDBOX)


def make_app(service: Service, routes: Sequence[Route]) -> web.Application:
    """The application of one service, to be served by `server.Runner`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", App(service, routes).answer)
    app.on_response_prepare.append(_mark)
    return app
