"""Signing in by a browser: /oidc/login sends it to the provider, /oidc/callback takes it back.

GET /oidc/login              → 302 to the provider, with a cookie
GET /oidc/login?next=PATH    → likewise, begun by the page
GET /oidc/callback           → to PATH, signed in at the page; without one: who one is here, and a CLI secret, once
…/api/v1/users/NAME/identities      who is linked to whom (administrators)
"""

from typing import Any

import msgspec
from aiohttp import web
from yarl import URL

from onggi.errors import Forbidden, InvalidParameter, OnggiError, Unavailable
from onggi.registry import audit, cli_secrets, users
from onggi.registry.audit import Actor, Outcome
from onggi.registry.database import Connection
from onggi.registry.oidc import attempts, identities
from onggi.registry.oidc.attempts import Attempt, AttemptLost
from onggi.registry.oidc.provider import Metadata, Provider
from onggi.registry.permissions import ANONYMOUS, Action, Subject
from onggi.registry.requests import ADDRESS, actor, body, json_reply
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.settings import Oidc
from onggi.registry.throttle import neighbourhood

CALLBACK = "/oidc/callback"
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
MOST_CODE = 4096
SECRET_NAME = "signed in by browser"
_MOST_NEXT = 1000
"""Bytes: it travels in a cookie. What is longer leads to the first page."""


class ProviderRefused(Forbidden):
    """The person, or the provider, said no."""

    def __init__(self, error: str) -> None:
        super().__init__(f"the provider did not let you sign in: {error[:100]!a}")


class IdentityChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    subject: str


_change = msgspec.json.Decoder(IdentityChange)


async def _nobody(request: web.Request) -> Subject:
    """Who signs in is nobody yet, whatever else the browser sends along."""
    return ANONYMOUS


class SignIn:
    """The handlers of the browser's way."""

    def __init__(self, service: Service, settings: Oidc) -> None:
        self._service, self._settings = service, settings
        self._provider = Provider(settings)
        base = service.settings.url
        self._redirect_uri = base + CALLBACK
        self._secure = base.startswith("https://")
        # A __Host- cookie can't be set by a neighbour of our domain, nor in the clear. (RFC 6265bis, 4.1.3)
        self._cookie = "__Host-onggi-oidc" if self._secure else "onggi-oidc"
        self._key = b""

    async def _attempt_key(self) -> bytes:
        if not self._key:
            self._key = await self._service.database.write(attempts.key)
        return self._key

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Not for links of other sites: the provider may ask nothing, and the way ends with a secret or a session."""
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Forbidden("another site has sent you here: open this address yourself to sign in")
        metadata = await self._provider.metadata()
        then = request.query.get("next", "") if self._service.begin_session is not None else ""
        if len(then.encode(errors="replace")) > _MOST_NEXT:
            then = "/"
        attempt, cookie = attempts.begin(await self._attempt_key(), then)
        url = URL(metadata.authorization_endpoint).update_query({
            "response_type": "code", "client_id": self._settings.client_id, "redirect_uri": self._redirect_uri,
            "scope": self._settings.scope, "state": attempt.state, "nonce": attempt.nonce,
            "code_challenge": attempt.challenge, "code_challenge_method": "S256",
        })  # fmt: skip
        response = web.Response(status=302, headers=_HEADERS | {"Location": str(url)})
        response.set_cookie(self._cookie, cookie, max_age=attempts.LIFETIME_S, path="/", httponly=True, samesite="Lax",
                            secure=self._secure)  # fmt: skip
        return response

    async def callback(self, request: web.Request) -> web.StreamResponse:
        """Failures count as those of passwords do: each has the provider asked."""
        throttle, place = self._service.address_throttle, neighbourhood(request[ADDRESS])
        throttle.check(place)
        try:
            attempt, row = await self._finish(request)
        except Unavailable:
            raise  # nobody's fault here
        except OnggiError as error:
            throttle.failed(place)
            self._service.metrics.refused_sign_ins.add()
            why = str(error)
            await self._service.database.write(
                lambda connection: audit.record(connection, Actor("", request[ADDRESS]), "sign in", outcome=Outcome.REFUSED,
                                                details={"issuer": self._settings.issuer, "why": why[:300]})
            )  # fmt: skip
            raise
        response: web.StreamResponse
        if attempt.then and self._service.begin_session is not None:
            response = await self._service.begin_session(request, row, attempt.then)
            response.headers.update(_HEADERS)
        else:
            response = web.Response(text=self._told(row, await self._new_secret(request, row)), headers=_HEADERS)
        response.del_cookie(self._cookie, path="/", secure=self._secure, httponly=True, samesite="Lax")
        return response

    async def _finish(self, request: web.Request) -> tuple[Attempt, Any]:
        """What this is the end of, and the user's row. Raises what of the log-in was not right."""
        query, service = request.query, self._service
        attempt = attempts.resume(
            await self._attempt_key(), request.cookies.get(self._cookie, ""), query.get("state", "")
        )
        _check_issuer(query.get("iss"), await self._provider.metadata())
        await service.database.write(lambda connection: attempts.use(connection, attempt))
        if "error" in query:
            raise ProviderRefused(query["error"])
        code = query.get("code", "")
        if not 0 < len(code) <= MOST_CODE:
            raise InvalidParameter("the provider's answer holds no code: begin again at /oidc/login")
        claims = await self._provider.claims(code, attempt, self._redirect_uri)
        person = identities.person(self._settings, claims)

        def enter(connection: Connection) -> Any:
            row = identities.sign_in(connection, self._settings, person, request[ADDRESS])
            audit.record(connection, Actor(row["name"], request[ADDRESS]), "sign in", details={"issuer": person.issuer})
            return row

        return attempt, await service.database.write(enter)

    async def _new_secret(self, request: web.Request, row: Any) -> str:
        def make(connection: Connection) -> str:
            secret_row, secret = cli_secrets.create(connection, row["id"], SECRET_NAME)
            audit.record(connection, Actor(row["name"], request[ADDRESS]), "create CLI secret", subject=SECRET_NAME,
                         details={"expires_at": secret_row["expires_at"]})  # fmt: skip
            return secret

        return await self._service.database.write(make)

    def _told(self, row: Any, secret: str) -> str:
        host = self._service.settings.url.partition("://")[2]
        days = cli_secrets.USUAL_LIFETIME.days
        return (
            f"You are {row['name']} at {host}.\n\n"
            f"This is a CLI secret for docker login, podman login and the API. It is shown this once, and good for {days}"
            f" days:\n\n    {secret}\n\n    docker login {host} -u {row['name']}\n"
        )


def _check_issuer(found: str | None, metadata: Metadata) -> None:
    """The answer is of the provider that was asked. (RFC 9207, section 2.4) Raises AttemptLost."""
    if found is None and not metadata.authorization_response_iss_parameter_supported:
        return
    if found != metadata.issuer:
        raise AttemptLost


class Identities:
    """The handlers for administrators. All identities are at the one provider."""

    def __init__(self, service: Service, settings: Oidc) -> None:
        self._service, self._settings = service, settings

    async def listing(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["user"]
        rows = await self._service.read(
            lambda connection: identities.of_user(connection, users.find(connection, name)["id"])
        )
        return json_reply([{key: row[key] for key in ("issuer", "subject", "created_at")} for row in rows])

    async def link(self, request: web.Request) -> web.StreamResponse:
        name, given = request.match_info["user"], await body(request, _change)
        if not 0 < len(given.subject) <= 255 or not given.subject.isprintable():
            raise InvalidParameter("a subject has 1 to 255 printable characters: it is the claim `sub` of the provider")

        def change(connection: Connection) -> None:
            identities.link(connection, users.find(connection, name)["id"], self._settings.issuer, given.subject)
            audit.record(connection, actor(request), "link identity", subject=name, details={"identity": given.subject})

        await self._service.database.write(change)
        return web.Response(status=204)

    async def unlink(self, request: web.Request) -> web.StreamResponse:
        name, subject = request.match_info["user"], request.query.get("subject", "")
        issuer = request.query.get("issuer", self._settings.issuer)

        def change(connection: Connection) -> None:
            identities.unlink(connection, users.find(connection, name)["id"], issuer, subject)
            audit.record(connection, actor(request), "unlink identity", subject=name, details={"identity": subject})

        await self._service.database.write(change)
        return web.Response(status=204)


def install(service: Service) -> list[Route]:
    """Nothing where no provider is configured. Raises InvalidParameter for a CA file that can't be used."""
    settings = service.settings.oidc
    if settings is None:
        return []
    browser, linked = SignIn(service, settings), Identities(service, settings)
    many = "/api/v1/users/{user}/identities"
    return [
        Route("GET", "/oidc/login", browser.login, None, authenticate=_nobody),
        Route("GET", CALLBACK, browser.callback, None, authenticate=_nobody),
        Route("GET", many, linked.listing, Action.REGISTRY),
        Route("PUT", many, linked.link, Action.REGISTRY),
        Route("DELETE", many, linked.unlink, Action.REGISTRY),
    ]
