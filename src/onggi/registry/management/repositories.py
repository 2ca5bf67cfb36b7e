"""Repositories, tags and manifests: /api/v1/repositories/NAME/-/…

`/-/` ends the repository's name, which has slashes itself; no part of a name is a hyphen alone.
"""

from typing import Annotated, Any

import msgspec
from aiohttp import web

from onggi.oci.digest import Digest
from onggi.registry import audit, details, manifests, projects, repositories, tags
from onggi.registry.database import Connection
from onggi.registry.events import Event, EventKind
from onggi.registry.names import project_of, tag_name
from onggi.registry.permissions import Action
from onggi.registry.requests import REPOSITORY, SUBJECT, actor, body, json_reply, number
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.tags import TagAction

MOST = 500


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: str
    """Where the tag is to point: something it pointed to before, or any manifest of the repository."""


class RepositoryChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    description: Annotated[str, msgspec.Meta(max_length=2000)]


_rollback = msgspec.json.Decoder(Rollback)
_change = msgspec.json.Decoder(RepositoryChange)


class Repositories:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def of_project(self, request: web.Request) -> web.StreamResponse:
        name, last, n = request.match_info["project"], request.query.get("last", ""), number(request, "n", 100, MOST)

        def read(connection: Connection) -> list[Any]:
            project = projects.find(connection, name)
            return connection.execute(
                "SELECT r.*, (SELECT COUNT(*) FROM tags t WHERE t.repository_id = r.id) AS tags FROM repositories r"
                " WHERE r.project_id = ? AND r.name > ? ORDER BY r.name LIMIT ?",
                (project["id"], last, n),
            ).fetchall()

        rows = await self._service.read(read)
        return json_reply([_repository(row) | {"tags": row["tags"]} for row in rows])

    async def look(self, request: web.Request) -> web.StreamResponse:
        row = await self._service.read(lambda connection: repositories.find(connection, request[REPOSITORY]))
        return json_reply(_repository(row))

    async def change(self, request: web.Request) -> web.StreamResponse:
        given, name = await body(request, _change), request[REPOSITORY]

        def apply(connection: Connection) -> Any:
            row = repositories.find(connection, name)
            connection.execute("UPDATE repositories SET description = ? WHERE id = ?", (given.description, row["id"]))
            audit.record(connection, actor(request), "change repository", project=project_of(name), subject=name)
            return repositories.find(connection, name)

        return json_reply(_repository(await self._service.write(apply)))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """The repository with all that is in it, at once and for good. Immutable tags forbid it."""
        service, name = self._service, request[REPOSITORY]

        def forget(connection: Connection) -> None:
            repositories.delete(connection, name)
            audit.record(connection, actor(request), "delete repository", project=project_of(name), subject=name)
            service.events.publish(connection, Event(EventKind.DELETE, name, request[SUBJECT].name))

        await service.write(forget)
        return web.Response(status=204)

    async def history(self, request: web.Request) -> web.StreamResponse:
        tag, before, n = (
            tag_name(request.match_info["tag"]),
            number(request, "before", 0, 2**62),
            number(request, "n", 50, MOST),
        )

        def read(connection: Connection) -> list[dict[str, Any]]:
            repository_id = repositories.find(connection, request[REPOSITORY])["id"]
            return [
                {key: row[key] for key in ("sequence", "digest", "action", "at", "by")}
                for row in tags.history(connection, repository_id, tag, before, n)
            ]

        return json_reply(await self._service.read(read))

    async def rollback(self, request: web.Request) -> web.StreamResponse:
        """Make the tag point to a manifest that is (still, or again) in the repository."""
        service, name, tag = self._service, request[REPOSITORY], tag_name(request.match_info["tag"])
        digest = Digest((await body(request, _rollback)).digest)

        def move(connection: Connection) -> dict[str, Any]:
            repository_id = repositories.find(connection, name)["id"]
            manifests.find(connection, name, digest)
            by = request[SUBJECT].name
            previous = tags.point(connection, repository_id, tag, digest, by, TagAction.ROLLBACK)
            audit.record(connection, actor(request), "roll tag back", project=project_of(name), subject=f"{name}:{tag}",
                         details={"digest": digest, "previous": previous})  # fmt: skip
            service.events.publish(connection, Event(EventKind.ROLLBACK, name, by, tag, digest, {"previous": previous}))
            return {"name": tag, "digest": digest, "previous": previous}

        return json_reply(await service.write(move))

    async def manifests(self, request: web.Request) -> web.StreamResponse:
        """All manifests; those that can be brought back have `deleted_at`."""
        last, n = request.query.get("last", ""), number(request, "n", 100, MOST)

        def read(connection: Connection) -> list[dict[str, Any]]:
            repository_id = repositories.find(connection, request[REPOSITORY])["id"]
            rows = connection.execute(
                "SELECT digest, media_type, artifact_type, subject, size_bytes, pushed_at, pushed_by, pulled_at, deleted_at"
                " FROM manifests WHERE repository_id = ? AND digest > ? ORDER BY digest LIMIT ?",
                (repository_id, last, n),
            ).fetchall()
            return [
                {key: row[key] for key in row.keys()}  # noqa: SIM118  # a row is no mapping
                | {"tags": tags.of_manifest(connection, repository_id, row["digest"]),
                   "details": details.of(connection, repository_id, row["digest"])}
                for row in rows
            ]  # fmt: skip

        return json_reply(await self._service.read(read))

    async def restore(self, request: web.Request) -> web.StreamResponse:
        service, name, digest = self._service, request[REPOSITORY], Digest(request.match_info["digest"])

        def bring_back(connection: Connection) -> None:
            manifests.restore(connection, repositories.find(connection, name)["id"], digest)
            audit.record(connection, actor(request), "restore manifest", project=project_of(name),
                         subject=f"{name}@{digest}")  # fmt: skip

        await service.write(bring_back)
        return web.Response(status=204)


def _repository(row: Any) -> dict[str, Any]:
    return {
        "name": row["name"], "description": row["description"], "created_at": row["created_at"],
        "updated_at": row["updated_at"], "pulls": row["pulls"],
    }  # fmt: skip


def routes(service: Service) -> list[Route]:
    handlers = Repositories(service)
    one = "/api/v1/repositories/{name*}/-"
    return [
        Route("GET", "/api/v1/projects/{project}/repositories", handlers.of_project, Action.PULL),
        Route("GET", one + "/tags/{tag}/history", handlers.history, Action.PULL),
        Route("POST", one + "/tags/{tag}/rollback", handlers.rollback, Action.DELETE),
        Route("GET", one + "/manifests", handlers.manifests, Action.PULL),
        Route("POST", one + "/manifests/{digest}/restore", handlers.restore, Action.DELETE),
        Route("GET", one, handlers.look, Action.PULL),
        Route("PATCH", one, handlers.change, Action.PROJECT_EDIT),
        Route("DELETE", one, handlers.delete, Action.DELETE),
    ]
