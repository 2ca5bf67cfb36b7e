"""/api/v1/projects/PROJECT/replication: rules, their runs, and what came of each image; and the feature itself.

Rules are made by administrators of the registry: they act with a remote's account.
"""

from typing import Annotated, Any

import msgspec
from aiohttp import web

from onggi.errors import InvalidParameter
from onggi.registry import audit
from onggi.registry.database import Connection
from onggi.registry.permissions import Action
from onggi.registry.replication import rules, running, runs
from onggi.registry.replication.rules import Direction, Rule
from onggi.registry.replication.runs import Cause
from onggi.registry.requests import SUBJECT, actor, body, json_reply, number
from onggi.registry.route import Route
from onggi.registry.service import Service

Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Every = Annotated[int, msgspec.Meta(ge=0, le=366 * 86400)]
MOST = 500


class NewRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    direction: Direction
    remote: str
    prefix: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    """None: the project's own name."""
    repositories: Pattern = "*"
    tags: Pattern = "*"
    on_event: bool = False
    every_s: Every = 0
    deletes: bool = False


class RuleChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool | None = None
    every_s: Every | None = None


class NewRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dry_run: bool = False


_new = msgspec.json.Decoder(NewRule)
_change = msgspec.json.Decoder(RuleChange)
_run = msgspec.json.Decoder(NewRun)


def shown(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name, "direction": rule.direction, "remote": rule.remote.name, "prefix": rule.prefix,
        "repositories": rule.repositories, "tags": rule.tags, "on_event": rule.on_event, "every_s": rule.every_s,
        "deletes": rule.deletes, "enabled": rule.enabled,
    }  # fmt: skip


class Replication:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @staticmethod
    def _rule(connection: Connection, request: web.Request) -> Rule:
        return rules.find(connection, request.match_info["project"], request.match_info["rule"])

    async def listing(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["project"]
        found = await self._service.read(lambda connection: rules.of_project(connection, name))
        return json_reply([shown(rule) for rule in found])

    async def create(self, request: web.Request) -> web.StreamResponse:
        given, project = await body(request, _new), request.match_info["project"]

        def make(connection: Connection) -> dict[str, Any]:
            rule = rules.create(
                connection, project, given.name, given.direction, given.remote,
                prefix=project if given.prefix is None else given.prefix, repositories=given.repositories,
                tags=given.tags, on_event=given.on_event, every_s=given.every_s, deletes=given.deletes,
                by=request[SUBJECT].name,
            )  # fmt: skip
            runs.plan(connection, rule)
            audit.record(connection, actor(request), "create replication rule", project=project, subject=rule.name,
                         details=shown(rule))  # fmt: skip
            return shown(rule)

        return json_reply(await self._service.write(make), 201)

    async def look(self, request: web.Request) -> web.StreamResponse:
        return json_reply(shown(await self._service.read(lambda connection: self._rule(connection, request))))

    async def change(self, request: web.Request) -> web.StreamResponse:
        given = await body(request, _change)

        def apply(connection: Connection) -> dict[str, Any]:
            rules.change(connection, self._rule(connection, request), enabled=given.enabled, every_s=given.every_s)
            rule = self._rule(connection, request)
            runs.plan(connection, rule)
            audit.record(connection, actor(request), "change replication rule", project=rule.project, subject=rule.name,
                         details=msgspec.to_builtins(given))  # fmt: skip
            return shown(rule)

        return json_reply(await self._service.write(apply))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        def forget(connection: Connection) -> None:
            rule = self._rule(connection, request)
            rules.delete(connection, rule)
            audit.record(connection, actor(request), "delete replication rule", project=rule.project, subject=rule.name)

        await self._service.write(forget)
        return web.Response(status=204)

    async def runs(self, request: web.Request) -> web.StreamResponse:
        before, n = number(request, "before", 0, 2**62), number(request, "n", 50, MOST)
        return json_reply(await self._service.read(
            lambda connection: runs.listing(connection, self._rule(connection, request), before, n)
        ))  # fmt: skip

    async def begin(self, request: web.Request) -> web.StreamResponse:
        given = await body(request, _run)

        def begin(connection: Connection) -> int:
            rule = self._rule(connection, request)
            made = runs.begin(connection, rule, Cause.HAND, dry_run=given.dry_run)
            audit.record(connection, actor(request), "run replication rule", project=rule.project, subject=rule.name,
                         details={"run": made, "dry_run": given.dry_run})  # fmt: skip
            return made

        return json_reply({"id": await self._service.write(begin)}, 202)

    async def items(self, request: web.Request) -> web.StreamResponse:
        text = request.match_info["run"]
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise InvalidParameter(f"{text[:60]!a} is no run's number")
        after, n = number(request, "after", 0, 2**62), number(request, "n", 100, MOST)
        return json_reply(await self._service.read(
            lambda connection: runs.items(connection, self._rule(connection, request), int(text), after, n)
        ))  # fmt: skip


def install(service: Service) -> list[Route]:
    """The feature: jobs, subscriber and routes."""
    running.install(service)
    handlers = Replication(service)
    path = "/api/v1/projects/{project}/replication"
    one = path + "/{rule}"
    return [
        Route("GET", path, handlers.listing, Action.PROJECT_READ),
        Route("POST", path, handlers.create, Action.REGISTRY),
        Route("GET", one, handlers.look, Action.PROJECT_READ),
        Route("PATCH", one, handlers.change, Action.REGISTRY),
        Route("DELETE", one, handlers.delete, Action.REGISTRY),
        Route("GET", one + "/runs", handlers.runs, Action.PROJECT_READ),
        Route("POST", one + "/runs", handlers.begin, Action.PROJECT_EDIT),
        Route("GET", one + "/runs/{run}", handlers.items, Action.PROJECT_READ),
    ]
