"""People: /api/v1/user (oneself) and /api/v1/users (administrators)."""

import asyncio
from typing import Annotated, Any

import msgspec
from aiohttp import web

from onggi.errors import Forbidden
from onggi.registry import accounts, audit, passwords, users
from onggi.registry.authentication import BadCredentials, sign_in
from onggi.registry.database import Connection
from onggi.registry.permissions import Action, AuthenticationNeeded, SubjectKind
from onggi.registry.requests import ADDRESS, SUBJECT, actor, body, json_reply
from onggi.registry.route import Route
from onggi.registry.service import Service

Email = Annotated[str, msgspec.Meta(max_length=300)]


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    password: str
    email: Email = ""
    admin: bool = False


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    email: Email | None = None
    admin: bool | None = None
    disabled: bool | None = None


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    current: str
    new: str


class PasswordSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    new: str


_new_user = msgspec.json.Decoder(NewUser)
_change = msgspec.json.Decoder(UserChange)
_password_change = msgspec.json.Decoder(PasswordChange)
_password_setting = msgspec.json.Decoder(PasswordSetting)


def shown(row: Any) -> dict[str, Any]:
    """A user as the API shows one: never the password's hash."""
    return {
        "name": row["name"], "email": row["email"], "admin": bool(row["admin"]), "disabled": bool(row["disabled"]),
        "created_at": row["created_at"],
    }  # fmt: skip


class Users:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def _hash(self, password: str) -> str:
        passwords.check_new(password)
        return await asyncio.get_running_loop().run_in_executor(None, passwords.hash_of, password)

    async def oneself(self, request: web.Request) -> web.StreamResponse:
        subject = request[SUBJECT]
        if not subject.known:
            raise AuthenticationNeeded
        now = await self._service.read(lambda connection: accounts.current(connection, subject))
        return json_reply({
            "name": now.name, "kind": now.kind, "admin": now.admin, "must_change_password": now.must_change_password,
        })  # fmt: skip

    async def change_own_password(self, request: web.Request) -> web.StreamResponse:
        """With the old password again, whatever else was shown: a stolen session or secret can't take the account over."""
        subject = request[SUBJECT]
        if not subject.known:
            raise AuthenticationNeeded
        if subject.kind is not SubjectKind.USER or subject.granted is not None:
            raise Forbidden("only people have passwords: a robot's secret is renewed in its project")
        given = await body(request, _password_change)
        shown = await sign_in(self._service, subject.name, given.current, request[ADDRESS], by_secret=False)
        if shown.id != subject.id:
            raise BadCredentials
        hashed = await self._hash(given.new)

        def change(connection: Connection) -> None:
            users.set_password(connection, subject.id, hashed)
            audit.record(connection, actor(request), "change password", subject=subject.name)

        await self._service.write(change)
        return web.Response(status=204)

    async def listing(self, request: web.Request) -> web.StreamResponse:
        rows = await self._service.read(
            lambda connection: connection.execute("SELECT * FROM users ORDER BY name LIMIT 1000").fetchall()
        )
        return json_reply([shown(row) for row in rows])

    async def create(self, request: web.Request) -> web.StreamResponse:
        given = await body(request, _new_user)
        users.user_name(given.name)
        hashed = await self._hash(given.password)

        def make(connection: Connection) -> Any:
            users.create(connection, given.name, hashed, admin=given.admin, email=given.email)
            audit.record(connection, actor(request), "create user", subject=given.name, details={"admin": given.admin})
            return users.find(connection, given.name)

        return json_reply(shown(await self._service.write(make)), 201)

    async def look(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["user"]
        return json_reply(shown(await self._service.read(lambda connection: users.find(connection, name))))

    async def change(self, request: web.Request) -> web.StreamResponse:
        given, name = await body(request, _change), request.match_info["user"]

        def apply(connection: Connection) -> Any:
            row = users.find(connection, name)
            if row["admin"] and (given.admin is False or given.disabled):
                users.check_not_last_administrator(connection, row["id"])
            users.change(connection, row["id"], email=given.email, admin=given.admin, disabled=given.disabled)
            audit.record(connection, actor(request), "change user", subject=name,
                         details={"admin": given.admin, "disabled": given.disabled})  # fmt: skip
            return users.find(connection, name)

        return json_reply(shown(await self._service.write(apply)))

    async def set_password(self, request: web.Request) -> web.StreamResponse:
        """An administrator gives somebody a password, which is to be changed at the next sign-in."""
        given, name = await body(request, _password_setting), request.match_info["user"]
        hashed = await self._hash(given.new)

        def change(connection: Connection) -> None:
            users.set_password(connection, users.find(connection, name)["id"], hashed, one_time=True)
            audit.record(connection, actor(request), "set password", subject=name)

        await self._service.write(change)
        return web.Response(status=204)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["user"]

        def forget(connection: Connection) -> None:
            users.delete(connection, name)
            audit.record(connection, actor(request), "delete user", subject=name)

        await self._service.write(forget)
        return web.Response(status=204)


def routes(service: Service) -> list[Route]:
    handlers = Users(service)
    one = "/api/v1/users/{user}"
    return [
        Route("GET", "/api/v1/user", handlers.oneself, None),
        Route("PUT", "/api/v1/user/password", handlers.change_own_password, None),
        Route("GET", "/api/v1/users", handlers.listing, Action.REGISTRY),
        Route("POST", "/api/v1/users", handlers.create, Action.REGISTRY),
        Route("GET", one, handlers.look, Action.REGISTRY),
        Route("PATCH", one, handlers.change, Action.REGISTRY),
        Route("DELETE", one, handlers.delete, Action.REGISTRY),
        Route("PUT", one + "/password", handlers.set_password, Action.REGISTRY),
    ]
