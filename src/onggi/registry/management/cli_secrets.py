"""One's own CLI secrets: /api/v1/user/cli-secrets. A secret is shown once, when it is made."""

from datetime import timedelta
from typing import Annotated, Any

import msgspec
from aiohttp import web

from onggi.errors import Forbidden
from onggi.registry import audit, cli_secrets
from onggi.registry.database import Connection
from onggi.registry.permissions import AuthenticationNeeded, PasswordNotChosen, Subject, SubjectKind
from onggi.registry.requests import SUBJECT, actor, body, json_reply
from onggi.registry.route import Route
from onggi.registry.service import Service

MOST_DAYS = 366


class NewSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    days: Annotated[int, msgspec.Meta(ge=1, le=MOST_DAYS)] = cli_secrets.USUAL_LIFETIME.days
    """How long it is good."""


_new_secret = msgspec.json.Decoder(NewSecret)


def _shown(row: Any) -> dict[str, Any]:
    return {key: row[key] for key in ("id", "name", "created_at", "expires_at", "used_at")}


def _person(request: web.Request) -> Subject:
    """Who asks, if it is a person and no token. Raises AuthenticationNeeded, Forbidden."""
    subject = request[SUBJECT]
    if not subject.known:
        raise AuthenticationNeeded
    if subject.kind is not SubjectKind.USER or subject.granted is not None:
        raise Forbidden("only people have CLI secrets: a robot's secret is renewed in its project")
    if subject.must_change_password:
        raise PasswordNotChosen
    return subject


class CliSecrets:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def listing(self, request: web.Request) -> web.StreamResponse:
        subject = _person(request)
        rows = await self._service.read(lambda connection: cli_secrets.of_user(connection, subject.id))
        return json_reply([_shown(row) for row in rows])

    async def create(self, request: web.Request) -> web.StreamResponse:
        subject = _person(request)
        if subject.by_secret:
            raise Forbidden("a CLI secret makes no other: sign in with your password, or at /oidc/login")
        given = await body(request, _new_secret)

        def make(connection: Connection) -> dict[str, Any]:
            row, secret = cli_secrets.create(connection, subject.id, given.name, timedelta(days=given.days))
            audit.record(connection, actor(request), "create CLI secret", subject=given.name,
                         details={"expires_at": row["expires_at"]})  # fmt: skip
            return _shown(row) | {"secret": secret}

        return json_reply(await self._service.database.write(make), 201, {"Cache-Control": "no-store"})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        subject, text = _person(request), request.match_info["id"]
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0

        def forget(connection: Connection) -> None:
            cli_secrets.delete(connection, subject.id, number)
            audit.record(connection, actor(request), "delete CLI secret", subject=str(number))

        await self._service.database.write(forget)
        return web.Response(status=204)


def routes(service: Service) -> list[Route]:
    handlers = CliSecrets(service)
    many = "/api/v1/user/cli-secrets"
    return [
        Route("GET", many, handlers.listing, None),
        Route("POST", many, handlers.create, None),
        Route("DELETE", many + "/{id}", handlers.delete, None),
    ]
