"""Robots of a project: /api/v1/projects/PROJECT/robots. A secret is shown once, when it is made."""

from datetime import timedelta
from typing import Annotated, Any

import msgspec
from aiohttp import web

from onggi.registry import audit, clock, passwords, projects, robots
from onggi.registry.database import Connection
from onggi.registry.permissions import Action
from onggi.registry.requests import actor, body, json_reply
from onggi.registry.robots import RobotScope
from onggi.registry.route import Route
from onggi.registry.service import Service

MOST_DAYS = 3650


class NewRobot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    scopes: list[RobotScope]
    days: Annotated[int, msgspec.Meta(ge=1, le=MOST_DAYS)] = 90
    """How long it may sign in."""


_new_robot = msgspec.json.Decoder(NewRobot)


def _shown(row: Any) -> dict[str, Any]:
    return {
        "name": row["name"], "scopes": robots.scopes_of(row), "created_by": row["created_by"],
        "created_at": row["created_at"], "expires_at": row["expires_at"], "used_at": row["used_at"],
    }  # fmt: skip


class Robots:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def listing(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["project"]
        rows = await self._service.read(
            lambda connection: robots.of_project(connection, projects.find(connection, name)["id"])
        )
        return json_reply([_shown(row) for row in rows])

    async def create(self, request: web.Request) -> web.StreamResponse:
        given, name = await body(request, _new_robot), request.match_info["project"]
        ends = clock.now() + timedelta(days=given.days)

        def make(connection: Connection) -> dict[str, Any]:
            project, by = projects.find(connection, name), actor(request)
            full, secret = robots.create(connection, project, given.name, given.scopes, ends, by.name)
            audit.record(connection, by, "create robot", project=name, subject=full,
                         details={"scopes": msgspec.to_builtins(given.scopes), "expires_at": clock.stamp(ends)})  # fmt: skip
            return _shown(robots.find(connection, project["id"], full)) | {"secret": secret}

        return json_reply(await self._service.write(make), 201, {"Cache-Control": "no-store"})

    async def renew(self, request: web.Request) -> web.StreamResponse:
        """Another secret; the old one ends at once."""
        name, robot, secret = request.match_info["project"], request.match_info["robot"], passwords.new_secret()

        def change(connection: Connection) -> None:
            row = robots.find(connection, projects.find(connection, name)["id"], robot)
            connection.execute(
                "UPDATE robots SET secret_hash = ? WHERE id = ?", (passwords.secret_hash(secret), row["id"])
            )
            audit.record(connection, actor(request), "renew robot", project=name, subject=robot)

        await self._service.write(change)
        return json_reply({"name": robot, "secret": secret}, headers={"Cache-Control": "no-store"})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        name, robot = request.match_info["project"], request.match_info["robot"]

        def forget(connection: Connection) -> None:
            row = robots.find(connection, projects.find(connection, name)["id"], robot)
            connection.execute("DELETE FROM robots WHERE id = ?", (row["id"],))
            audit.record(connection, actor(request), "delete robot", project=name, subject=robot)

        await self._service.write(forget)
        return web.Response(status=204)


def routes(service: Service) -> list[Route]:
    handlers = Robots(service)
    many = "/api/v1/projects/{project}/robots"
    return [
        Route("GET", many, handlers.listing, Action.ROBOTS),
        Route("POST", many, handlers.create, Action.ROBOTS),
        Route("POST", many + "/{robot}/secret", handlers.renew, Action.ROBOTS),
        Route("DELETE", many + "/{robot}", handlers.delete, Action.ROBOTS),
    ]
