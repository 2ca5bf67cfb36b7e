"""Who asks: the Authorization header → a Subject. Bearer tokens of ours, or Basic with a user's or robot's name."""

import base64
from dataclasses import replace
from typing import Any

from aiohttp import web

from onggi.registry import audit, cli_secrets, robots, users
from onggi.registry.audit import Actor, Outcome
from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.passwords import secret_fits
from onggi.registry.permissions import ANONYMOUS, AuthenticationNeeded, Subject
from onggi.registry.requests import ADDRESS
from onggi.registry.service import Service
from onggi.registry.throttle import neighbourhood
from onggi.registry.tokens import InvalidToken


class BadCredentials(AuthenticationNeeded):
    """Wrong name or wrong password: which one is not said."""

    def __init__(self) -> None:
        super().__init__("", "incorrect username or password")


async def authenticate(service: Service, request: web.Request) -> Subject:
    """Raises AuthenticationNeeded for credentials that are not right, TooManyTries for too many of those."""
    header = request.headers.get("Authorization", "")
    if not header:
        return ANONYMOUS
    scheme, _, text = header.partition(" ")
    if scheme.lower() == "bearer":
        try:
            return service.tokens.read(text.strip())
        except InvalidToken:
            service.metrics.refused_sign_ins.add()
            raise
    if scheme.lower() == "basic":
        name, password = basic(text.strip())
        return await sign_in(service, name, password, request[ADDRESS])
    raise AuthenticationNeeded("", "only Basic and Bearer credentials are taken")


def basic(text: str) -> tuple[str, str]:
    """Name and password of a Basic header's value. Raises BadCredentials."""
    try:
        name, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError as error:  # no base64, no ASCII, or no UTF-8 within
        raise BadCredentials from error
    if not colon:
        raise BadCredentials
    return name, password


async def sign_in(service: Service, name: str, password: str, address: str, *, by_secret: bool = True) -> Subject:
    """Check a name and a password, a person's or a robot's. Raises BadCredentials, TooManyTries.

    With `by_secret` a person's CLI secret will do, too.

    The time it takes does not tell whether there is such a user.
    """
    # By address too: nobody can lock somebody else out from afar.
    place = neighbourhood(address)
    account = f"{name[:100]} {place}"
    async with service.sign_ins.of(place):
        service.account_throttle.check(account)
        service.address_throttle.check(place)
        subject = await (_robot(service, name, password) if "+" in name else _user(service, name, password, by_secret))
        if subject is None:
            service.account_throttle.failed(account)
            service.address_throttle.failed(place)
        else:
            service.account_throttle.succeeded(account)
    if subject is None:
        service.metrics.refused_sign_ins.add()
        await service.database.write(
            lambda connection: audit.record(connection, Actor(name[:100], address), "sign in", outcome=Outcome.REFUSED)
        )
        raise BadCredentials
    return subject


async def _user(service: Service, name: str, password: str, by_secret: bool) -> Subject | None:
    def look(connection: Connection) -> tuple[Any | None, Any | None]:
        row = users.by_name(connection, name)
        return row, cli_secrets.by_secret(connection, row["id"], password) if row is not None and by_secret else None

    row, secret = await service.read(look)
    if row is not None and secret is not None:
        if secret["used_at"] < stamp()[:16]:  # once a minute is exact enough
            await service.database.write(lambda connection: cli_secrets.used(connection, secret["id"]))
        return replace(users.subject_of(row), by_secret=True)
    # Who only signs in elsewhere has no password: "" is the hash of none.
    if not await service.passwords.fits(password, (row["password_hash"] or None) if row is not None else None):
        return None
    assert row is not None, "nobody's password never fits"
    return users.subject_of(row)


async def _robot(service: Service, name: str, secret: str) -> Subject | None:
    row = await service.read(lambda connection: robots.by_name(connection, name))
    if not secret_fits(secret, row["secret_hash"] if row is not None else "0" * 64) or row is None:
        return None
    if row["used_at"] < stamp()[:16]:  # once a minute is exact enough
        await service.database.write(
            lambda connection: connection.execute("UPDATE robots SET used_at = ? WHERE id = ?", (stamp(), row["id"]))
        )
    return robots.subject_of(row)
