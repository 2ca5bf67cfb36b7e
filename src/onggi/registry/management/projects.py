"""Projects and their members: /api/v1/projects."""

from typing import Annotated, Any

import msgspec
from aiohttp import web

from onggi.errors import Forbidden, NotFound
from onggi.registry import accounts, audit, names, projects, quotas, retention, users
from onggi.registry.database import Connection
from onggi.registry.jsonform import encode
from onggi.registry.permissions import Action, Role, may
from onggi.registry.requests import SUBJECT, actor, body, json_reply, number
from onggi.registry.retention import ImmutableRule, RetentionRule
from onggi.registry.route import Route
from onggi.registry.service import Service

Quota = Annotated[int, msgspec.Meta(ge=0, le=2**60)]
Text = Annotated[str, msgspec.Meta(max_length=2000)]
Rules = Annotated[list[RetentionRule], msgspec.Meta(max_length=50)]
Immutables = Annotated[list[ImmutableRule], msgspec.Meta(max_length=50)]


class NewProject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    public: bool = False
    owner: str = ""
    """A user; who makes it, where none is named."""


class ProjectChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    public: bool | None = None
    description: Text | None = None
    quota_bytes: Quota | None = None
    """0: none. Administrators only: a quota is not set by who it binds."""
    immutable: Immutables | None = None
    retention: Rules | None = None


class MemberSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: Role


_new_project = msgspec.json.Decoder(NewProject)
_change = msgspec.json.Decoder(ProjectChange)
_member = msgspec.json.Decoder(MemberSetting)


class NotMember(NotFound):
    def __init__(self, user: str, project: str) -> None:
        super().__init__(f"{user[:100]!a} is no member of {project}")


class QuotaIsNotYours(Forbidden):
    def __init__(self) -> None:
        super().__init__("a project's quota is set by an administrator of the registry")


def _shown(connection: Connection, row: Any) -> dict[str, Any]:
    count = connection.execute(
        "SELECT COUNT(*) AS count FROM repositories WHERE project_id = ?", (row["id"],)
    ).fetchone()["count"]
    return {
        "name": row["name"], "public": bool(row["public"]), "description": row["description"],
        "created_at": row["created_at"], "repositories": count, "quota_bytes": row["quota_bytes"],
        "used_bytes": quotas.used_bytes(connection, row["id"]), "immutable": msgspec.Raw(row["immutable"].encode()),
        "retention": msgspec.Raw(row["retention"].encode()),
    }  # fmt: skip


class Projects:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def listing(self, request: web.Request) -> web.StreamResponse:
        """Those in which the subject sees something."""
        subject, last, n = request[SUBJECT], request.query.get("last", ""), number(request, "n", 100, 1000)

        def read(connection: Connection) -> list[dict[str, Any]]:
            viewer = accounts.viewer(connection, subject)
            condition, parameters = projects.visible(viewer)
            rows = connection.execute(
                "SELECT p.*, (SELECT COUNT(*) FROM repositories r WHERE r.project_id = p.id) AS repositories"  # noqa: S608
                f" FROM projects p WHERE p.name > ? AND {condition} ORDER BY p.name LIMIT ?",
                (last, *parameters, n),
            ).fetchall()
            return [
                {"name": row["name"], "public": bool(row["public"]), "description": row["description"],
                 "created_at": row["created_at"], "repositories": row["repositories"],
                 "role": projects.standing(connection, row["name"], viewer).role}
                for row in rows
            ]  # fmt: skip

        return json_reply(await self._service.read(read))

    async def create(self, request: web.Request) -> web.StreamResponse:
        given = await body(request, _new_project)
        name = names.project_name(given.name)

        def make(connection: Connection) -> dict[str, Any]:
            owner_id = users.find(connection, given.owner)["id"] if given.owner else request[SUBJECT].id
            projects.create(connection, name, public=given.public, owner_id=owner_id)
            audit.record(connection, actor(request), "create project", project=name, details={"public": given.public})
            return _shown(connection, projects.find(connection, name))

        return json_reply(await self._service.write(make), 201)

    async def look(self, request: web.Request) -> web.StreamResponse:
        """`actions` is what the one who asks may do in it."""
        name, subject = request.match_info["project"], request[SUBJECT]

        def read(connection: Connection) -> dict[str, Any]:
            standing = projects.standing(connection, name, subject)
            allowed = [action for action in Action if may(subject, action, standing)]
            return _shown(connection, projects.find(connection, name)) | {"role": standing.role, "actions": allowed}

        return json_reply(await self._service.database.scan(read))

    async def change(self, request: web.Request) -> web.StreamResponse:
        given, name = await body(request, _change), request.match_info["project"]
        if given.quota_bytes is not None and not request[SUBJECT].admin:
            raise QuotaIsNotYours
        if given.retention is not None:
            retention.check_rules(given.retention)

        def apply(connection: Connection) -> dict[str, Any]:
            row = projects.find(connection, name)
            projects.change(
                connection, row["id"], public=given.public, description=given.description,
                quota_bytes=given.quota_bytes,
                immutable=encode(given.immutable).decode() if given.immutable is not None else None,
                retention=encode(given.retention).decode() if given.retention is not None else None,
            )  # fmt: skip
            audit.record(connection, actor(request), "change project", project=name,
                         details=msgspec.to_builtins(given))  # fmt: skip
            return _shown(connection, projects.find(connection, name))

        return json_reply(await self._service.write(apply))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["project"]

        def forget(connection: Connection) -> None:
            projects.delete(connection, name)
            audit.record(connection, actor(request), "delete project", project=name)

        await self._service.write(forget)
        return web.Response(status=204)

    async def members(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["project"]
        rows = await self._service.read(
            lambda connection: projects.members(connection, projects.find(connection, name)["id"])
        )
        return json_reply([{"user": row["name"], "role": row["role"]} for row in rows])

    async def set_member(self, request: web.Request) -> web.StreamResponse:
        given, name, user = await body(request, _member), request.match_info["project"], request.match_info["user"]

        def change(connection: Connection) -> None:
            project = projects.find(connection, name)
            projects.set_member(connection, project["id"], users.find(connection, user)["id"], given.role)
            audit.record(connection, actor(request), "set member", project=name, subject=user,
                         details={"role": given.role})  # fmt: skip

        await self._service.write(change)
        return web.Response(status=204)

    async def remove_member(self, request: web.Request) -> web.StreamResponse:
        name, user = request.match_info["project"], request.match_info["user"]

        def forget(connection: Connection) -> None:
            project = projects.find(connection, name)
            if not projects.remove_member(connection, project["id"], users.find(connection, user)["id"]):
                raise NotMember(user, name)
            audit.record(connection, actor(request), "remove member", project=name, subject=user)

        await self._service.write(forget)
        return web.Response(status=204)

    async def retention_run(self, request: web.Request) -> web.StreamResponse:
        """Apply the rules now; with `dry_run=true` only say what they would delete."""
        service, name = self._service, request.match_info["project"]
        if request.query.get("dry_run", "") == "true":
            found = await service.database.scan(
                lambda connection: retention.doomed(connection, projects.find(connection, name))
            )
        else:
            found = await service.write(
                lambda connection: retention.apply(connection, service.events, name, actor(request))
            )
        return json_reply([
            {"repository": item.repository, "tag": item.tag, "digest": item.digest, "since": item.since}
            for item in found
        ])  # fmt: skip


def routes(service: Service) -> list[Route]:
    handlers = Projects(service)
    one = "/api/v1/projects/{project}"
    return [
        Route("GET", "/api/v1/projects", handlers.listing, None),
        Route("POST", "/api/v1/projects", handlers.create, Action.REGISTRY),
        Route("GET", one, handlers.look, Action.PULL),
        Route("PATCH", one, handlers.change, Action.PROJECT_EDIT),
        Route("DELETE", one, handlers.delete, Action.PROJECT_DELETE),
        Route("GET", one + "/members", handlers.members, Action.PROJECT_READ),
        Route("PUT", one + "/members/{user}", handlers.set_member, Action.MEMBERS),
        Route("DELETE", one + "/members/{user}", handlers.remove_member, Action.MEMBERS),
        Route("POST", one + "/retention", handlers.retention_run, Action.PROJECT_EDIT),
    ]
