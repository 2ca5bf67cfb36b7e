"""/containers: create, list, inspect, and the verbs that change a state. Streams are in attach.py, logs.py, exec.py."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, get_args

import msgspec
from aiohttp import web

from onggi.api import request as http
from onggi.api.response import json_response, no_content
from onggi.api.route import Handler, Route
from onggi.api.wire.containers import (
    CreateAnswer,
    CreateRequest,
    UpdateAnswer,
    UpdateRequest,
    WaitAnswer,
    WaitError,
)
from onggi.engine import links, listing, pruning
from onggi.engine.container_config import ContainerConfig
from onggi.engine.containers import WaitCondition
from onggi.engine.filters import Filters
from onggi.engine.stopping import grace
from onggi.errors import InvalidParameter, NotModified, System
from onggi.oci.platform import parse_platform

if TYPE_CHECKING:
    from onggi.engine.container import WaitResult
    from onggi.engine.engine import Engine

START_AND_WAIT = "Onggi-Wait"
"""Header of a start: a wait's condition, and the mark of the attach to wait for (`attach.MARK`)."""
TRACE = "Onggi-Trace"
"""Header of a start that asks for its phases, and of the answer that tells them (as Server-Timing does)."""
_CONDITIONS: dict[str, WaitCondition] = {text: text for text in get_args(WaitCondition)}


def routes(engine: "Engine") -> list[Route]:
    """The endpoints of this module."""
    api = _Containers(engine)
    named = "/containers/{name}"
    verbs: list[tuple[str, Handler]] = [
        ("start", api.start), ("stop", api.stop), ("restart", api.restart), ("kill", api.kill), ("pause", api.pause),
        ("unpause", api.unpause), ("rename", api.rename), ("update", api.update), ("wait", api.wait),
    ]  # fmt: skip
    return [
        Route("POST", "/containers/create", api.create),
        Route("GET", "/containers/json", api.list),
        Route("POST", "/containers/prune", api.prune),
        Route("GET", f"{named}/json", api.inspect),
        Route("DELETE", named, api.remove),
        # As a link names a container: by who is linked to it, and the alias.
        Route("GET", f"{named}/{{alias}}/json", api.inspect),
        Route("DELETE", f"{named}/{{alias}}", api.remove),
        *(Route("POST", f"{named}/{verb}", handler) for verb, handler in verbs),
    ]


def _name(request: web.Request) -> str:
    return request.match_info["name"]


def _filters(request: web.Request, accepted: frozenset[str]) -> Filters:
    return Filters.parse(request.query.get("filters", ""), accepted)


class _Containers:
    """A handler decodes, calls one use case, encodes."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._containers = engine.containers

    async def create(self, request: web.Request) -> web.StreamResponse:
        body = await http.read_json_text(request)
        config = http.decode_json(body, ContainerConfig)
        beside = http.decode_json(body, CreateRequest)
        text = request.query.get("platform", "")
        container, warnings = await self._containers.create(
            request.query.get("name", ""),
            config,
            beside.host_config,
            beside.networking_config,
            platform=parse_platform(text) if text else None,
        )
        return json_response(CreateAnswer(container.id, list(warnings)), status=201)

    async def list(self, request: web.Request) -> web.StreamResponse:
        filters = _filters(request, listing.FILTERS)
        limit = http.number(request, "limit", 0) or 0
        found = self._containers.list(every=http.flag(request, "all"), limit=limit, filters=filters)
        if http.flag(request, "size"):
            found = [{**summary, **await self._sizes(summary["Id"])} for summary in found]
        return json_response(found)

    async def _sizes(self, name: str) -> dict[str, int]:
        container = self._containers.get(name)
        written = await self._engine.snapshots.written_bytes(container.id)
        return {"SizeRw": written, "SizeRootFs": written + self._engine.images.get(container.image_id).size_bytes}

    async def inspect(self, request: web.Request) -> web.StreamResponse:
        alias = request.match_info.get("alias", "")
        name = links.find(self._engine, _name(request), alias).id if alias else _name(request)
        document = self._containers.inspect(name)
        if http.flag(request, "size"):
            document = {**document, **await self._sizes(document["Id"])}
        return json_response(document)

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Our own command line may ask with it for what others ask a `wait` for: start when it has attached (which it
        does on another connection, with the same mark), then tell the end. One request less for a run, and one way
        there and back."""
        asked = request.headers.get(START_AND_WAIT)
        if asked is None:
            return web.Response(status=204, headers=await self._start(request))
        condition, _, mark = asked.partition(" ")
        with self._ending(_name(request), condition) as ending:
            await self._containers.attached(_name(request), mark)
            try:
                headers = await self._start(request)
            except NotModified:
                headers = {}  # it runs already, and its end is told all the same
            return await _tell_end(request, ending, headers)

    async def _start(self, request: web.Request) -> dict[str, str]:
        """Returns the trace, as a header, if it was asked for."""
        if request.query.get("checkpoint"):
            raise InvalidParameter("checkpoint is only supported in experimental mode")
        traced = TRACE in request.headers
        phases = await self._containers.start(_name(request), traced=traced)
        return {TRACE: ", ".join(f"{name};dur={took_ns / 1e6:.3f}" for name, took_ns in phases)} if traced else {}

    async def stop(self, request: web.Request) -> web.StreamResponse:
        signal, grace_s = request.query.get("signal", ""), grace(request.query.get("t"))
        await self._containers.stop(_name(request), signal=signal, grace_s=grace_s)
        return no_content()

    async def restart(self, request: web.Request) -> web.StreamResponse:
        signal, grace_s = request.query.get("signal", ""), grace(request.query.get("t"))
        await self._containers.restart(_name(request), signal=signal, grace_s=grace_s)
        return no_content()

    async def kill(self, request: web.Request) -> web.StreamResponse:
        await self._containers.kill(_name(request), signal=request.query.get("signal", ""))
        return no_content()

    async def pause(self, request: web.Request) -> web.StreamResponse:
        await self._containers.pause(_name(request))
        return no_content()

    async def unpause(self, request: web.Request) -> web.StreamResponse:
        await self._containers.unpause(_name(request))
        return no_content()

    async def rename(self, request: web.Request) -> web.StreamResponse:
        await self._containers.rename(_name(request), request.query.get("name", ""))
        return no_content()

    async def update(self, request: web.Request) -> web.StreamResponse:
        asked = await http.read_json(request, UpdateRequest)
        warnings: list[str] = []
        if asked.changes is None or asked != UpdateRequest(changes=asked.changes):
            warnings += await self._containers.update(_name(request), asked, asked.restart_policy)
        if asked.changes is not None:
            warnings += await self._containers.change(_name(request), asked.changes)
        return json_response(UpdateAnswer(list(warnings)))

    async def wait(self, request: web.Request) -> web.StreamResponse:
        with self._ending(_name(request), request.query.get("condition", "") or "not-running") as ending:
            # The head at once: a client starts the container only when it knows that its wait is heard.
            return await _tell_end(request, ending, {})

    @contextmanager
    def _ending(self, name: str, condition: str) -> "Iterator[asyncio.Future[WaitResult]]":
        if condition not in _CONDITIONS:
            raise InvalidParameter(f'invalid condition: "{condition}"')
        ending = self._containers.wait(name, _CONDITIONS[condition])
        try:
            yield ending
        finally:
            ending.cancel()

    async def remove(self, request: web.Request) -> web.StreamResponse:
        name, alias = _name(request), request.match_info.get("alias", "")
        if http.flag(request, "link"):
            if not alias:
                raise System("Conflict, cannot remove the default link name of the container")
            await links.remove(self._engine, name, alias)
            return no_content()
        await self._containers.remove(
            links.find(self._engine, name, alias).id if alias else name,
            force=http.flag(request, "force"),
            volumes=http.flag(request, "v"),
        )
        return no_content()

    async def prune(self, request: web.Request) -> web.StreamResponse:
        return json_response(await self._containers.prune(_filters(request, pruning.FILTERS)))


async def _tell_end(
    request: web.Request, ending: "asyncio.Future[WaitResult]", headers: dict[str, str]
) -> web.StreamResponse:
    """Answer with the head now, and with the exit status when the container has ended."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", **headers})
    await response.prepare(request)
    await response.write(b"")
    result = await ending
    answer = WaitAnswer(result.exit_code, WaitError(result.error) if result.error else None)
    await response.write(msgspec.json.encode(answer) + b"\n")
    return response
