"""/api/v1/projects/PROJECT/webhooks: hooks, tests, deliveries, and one more try. A secret is shown once, when it is made."""

from typing import Annotated, Any

import msgspec
from aiohttp import web

from onggi.errors import InvalidParameter
from onggi.registry import audit, projects
from onggi.registry.database import Connection
from onggi.registry.events import EventKind
from onggi.registry.permissions import Action
from onggi.registry.requests import actor, body, json_reply, number
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.webhooks import delivering, hooks
from onggi.registry.webhooks.hooks import Hook, SwitchedOff
from onggi.registry.webhooks.targets import check_url

MOST = 200


class NewHook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    events: Annotated[list[EventKind], msgspec.Meta(max_length=20)] = []
    """Empty: all."""
    repositories: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] = "*"


class HookChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool


_new = msgspec.json.Decoder(NewHook)
_change = msgspec.json.Decoder(HookChange)
_DELIVERY = ("sequence", "name", "event", "state", "status", "error", "attempts", "took_ms", "created_at", "tried_at")


def _shown(hook: Hook) -> dict[str, Any]:
    return {
        "id": hook.id,
        "url": hook.url,
        "events": hook.events,
        "repositories": hook.repositories,
        "enabled": hook.enabled,
    }


def _number(request: web.Request) -> int:
    text = request.match_info["hook"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidParameter(f"{text[:60]!a} is no webhook's number")
    return int(text)


class Webhooks:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @staticmethod
    def _find(connection: Connection, request: web.Request) -> Hook:
        project = projects.find(connection, request.match_info["project"])
        return hooks.find(connection, project["id"], _number(request))

    async def listing(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["project"]
        found = await self._service.read(
            lambda connection: hooks.of_project(connection, projects.find(connection, name)["id"])
        )
        return json_reply([_shown(hook) for hook in found])

    async def create(self, request: web.Request) -> web.StreamResponse:
        given, name = await body(request, _new), request.match_info["project"]
        check_url(given.url)

        def make(connection: Connection) -> dict[str, Any]:
            by = actor(request)
            project = projects.find(connection, name)
            hook = hooks.create(connection, project["id"], given.url, given.events, given.repositories, by.name)
            audit.record(
                connection, by, "create webhook", project=name, subject=str(hook.id), details={"url": hook.url}
            )
            return _shown(hook) | {"secret": hook.secret}

        return json_reply(await self._service.write(make), 201, {"Cache-Control": "no-store"})

    async def change(self, request: web.Request) -> web.StreamResponse:
        given = await body(request, _change)

        def apply(connection: Connection) -> dict[str, Any]:
            hook = self._find(connection, request)
            hooks.enable(connection, hook, enabled=given.enabled)
            audit.record(connection, actor(request), "enable webhook" if given.enabled else "disable webhook",
                         project=request.match_info["project"], subject=str(hook.id))  # fmt: skip
            return _shown(self._find(connection, request))

        return json_reply(await self._service.write(apply))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        def forget(connection: Connection) -> None:
            hook = self._find(connection, request)
            hooks.delete(connection, hook)
            audit.record(
                connection,
                actor(request),
                "delete webhook",
                project=request.match_info["project"],
                subject=str(hook.id),
            )

        await self._service.write(forget)
        return web.Response(status=204)

    async def test(self, request: web.Request) -> web.StreamResponse:
        """Send it something now, whatever events it wants: a delivery as any other."""

        def send(connection: Connection) -> str:
            hook, by, name = self._find(connection, request), actor(request), request.match_info["project"]
            if not hook.enabled:
                raise SwitchedOff
            audit.record(connection, by, "test webhook", project=name, subject=str(hook.id))
            return delivering.enqueue(connection, hook.id, delivering.TEST, delivering.test_body(name, by.name))

        return json_reply({"name": await self._service.write(send)}, 202)

    async def deliveries(self, request: web.Request) -> web.StreamResponse:
        before, n = number(request, "before", 0, 2**62), number(request, "n", 50, MOST)

        def read(connection: Connection) -> list[dict[str, Any]]:
            rows = hooks.deliveries(connection, self._find(connection, request).id, before, n)
            return [{key: row[key] for key in _DELIVERY} | {"body": msgspec.Raw(row["body"])} for row in rows]

        return json_reply(await self._service.read(read))

    async def replay(self, request: web.Request) -> web.StreamResponse:
        """The same body once more, as a delivery of its own."""

        def again(connection: Connection) -> str:
            hook = self._find(connection, request)
            row = hooks.delivery(connection, hook.id, request.match_info["delivery"])
            audit.record(connection, actor(request), "replay delivery", project=request.match_info["project"],
                         subject=f"{hook.id} {row['name']}")  # fmt: skip
            return delivering.enqueue(connection, hook.id, row["event"], row["body"])

        return json_reply({"name": await self._service.write(again)}, 202)


def install(service: Service) -> list[Route]:
    """The feature: jobs and routes."""
    delivering.install(service)
    handlers = Webhooks(service)
    path = "/api/v1/projects/{project}/webhooks"
    return [
        Route("GET", path, handlers.listing, Action.PROJECT_READ),
        Route("POST", path, handlers.create, Action.PROJECT_EDIT),
        Route("PATCH", f"{path}/{{hook}}", handlers.change, Action.PROJECT_EDIT),
        Route("DELETE", f"{path}/{{hook}}", handlers.delete, Action.PROJECT_EDIT),
        Route("POST", f"{path}/{{hook}}/test", handlers.test, Action.PROJECT_EDIT),
        Route("GET", f"{path}/{{hook}}/deliveries", handlers.deliveries, Action.PROJECT_READ),
        Route("POST", f"{path}/{{hook}}/deliveries/{{delivery}}/replay", handlers.replay, Action.PROJECT_EDIT),
    ]
