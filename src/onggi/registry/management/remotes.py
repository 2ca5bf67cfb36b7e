"""Other registries and who we are to them: /api/v1/remotes. A secret is taken, and never given out."""

from typing import Annotated, Any

import msgspec
from aiohttp import web

from onggi.errors import OnggiError
from onggi.registry import audit, remotes
from onggi.registry.database import Connection
from onggi.registry.permissions import Action
from onggi.registry.remotes import Remote
from onggi.registry.requests import SUBJECT, actor, body, json_reply
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.upstream import refusal

Text = Annotated[str, msgspec.Meta(max_length=4000)]


class NewRemote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    url: Text
    username: Text = ""
    password: Text = ""


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Both empty: none."""

    username: Text = ""
    password: Text = ""


_new = msgspec.json.Decoder(NewRemote)
_account = msgspec.json.Decoder(Account)


def _shown(row: Any) -> dict[str, Any]:
    return {key: row[key] for key in ("name", "url", "username", "created_by", "created_at")}


class Remotes:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def listing(self, _: web.Request) -> web.StreamResponse:
        return json_reply([_shown(row) for row in await self._service.read(remotes.listing)])

    async def create(self, request: web.Request) -> web.StreamResponse:
        given = await body(request, _new)

        def make(connection: Connection) -> Remote:
            by = request[SUBJECT].name
            made = remotes.create(connection, given.name, given.url, given.username, given.password, by)
            audit.record(connection, actor(request), "create remote", subject=made.name,
                         details={"url": made.url, "username": made.username})  # fmt: skip
            return made

        made = await self._service.write(make)
        return json_reply({"name": made.name, "url": made.url, "username": made.username}, 201)

    async def change(self, request: web.Request) -> web.StreamResponse:
        given, name = await body(request, _account), request.match_info["remote"]

        def apply(connection: Connection) -> None:
            remotes.set_account(connection, remotes.find(connection, name), given.username, given.password)
            audit.record(
                connection, actor(request), "change remote", subject=name, details={"username": given.username}
            )

        await self._service.write(apply)
        self._service.cache.forget_table()
        return web.Response(status=204)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["remote"]

        def forget(connection: Connection) -> None:
            remotes.delete(connection, name)
            audit.record(connection, actor(request), "delete remote", subject=name)

        await self._service.write(forget)
        return web.Response(status=204)

    async def check(self, request: web.Request) -> web.StreamResponse:
        """Does it answer, and does it take our account?"""
        name = request.match_info["remote"]
        remote = await self._service.read(lambda connection: remotes.find(connection, name))
        try:
            client = await self._service.reach.client(remote)
            await client.document("GET", client.endpoint.url(""), scopes=(), limit_bytes=64 * 1024, what="the answer")
        except OnggiError as error:
            raise refusal.of(error, remote, "NOT_FOUND") from error
        return web.Response(status=204)


def routes(service: Service) -> list[Route]:
    handlers = Remotes(service)
    one = "/api/v1/remotes/{remote}"
    return [
        Route("GET", "/api/v1/remotes", handlers.listing, Action.REGISTRY),
        Route("POST", "/api/v1/remotes", handlers.create, Action.REGISTRY),
        Route("PATCH", one, handlers.change, Action.REGISTRY),
        Route("DELETE", one, handlers.delete, Action.REGISTRY),
        Route("POST", one + "/check", handlers.check, Action.REGISTRY),
    ]
