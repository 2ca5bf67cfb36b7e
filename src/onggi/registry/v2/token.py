"""The token server: GET and POST /token. (Docker's docs/spec/auth/token.md and oauth.md)

    GET  /token?service=…&scope=repository:team/app:pull,push&scope=…     with Basic credentials, or none
    POST /token  grant_type=password|refresh_token&service=…&scope=…&client_id=…

A scope asks; what is granted is what the account holds of it. Nothing is not an error: the token is good for nothing,
and the registry says so when it is used.
"""

from collections.abc import Callable, Iterable
from urllib.parse import parse_qs

from aiohttp import web

from onggi.errors import InvalidParameter
from onggi.registry import clock, names, projects, tokens, users
from onggi.registry.authentication import BadCredentials, authenticate, sign_in
from onggi.registry.database import Connection
from onggi.registry.permissions import ANONYMOUS, Action, PasswordNotChosen, Scope, Subject, SubjectKind, holds
from onggi.registry.requests import ADDRESS, SUBJECT, json_reply, read_body
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.throttle import neighbourhood
from onggi.registry.tokens import CATALOG
from onggi.registry.upstream.cache import Cache

_WORDS = {"pull": {Action.PULL}, "push": {Action.PUSH}, "delete": {Action.DELETE},
          "*": {Action.PULL, Action.PUSH, Action.DELETE}}  # fmt: skip
MOST_SCOPES = 50


def granted(
    connection: Connection, subject: Subject, scopes: Iterable[str], canonical: Callable[[Connection, str], str]
) -> list[Scope]:
    """What of the asked-for `scopes` the account holds now. Raises InvalidParameter for what is no scope.

    `canonical` says which repository a name means: see `upstream.cache`.
    """
    found: list[Scope] = []
    for text in scopes:
        kind, _, rest = text.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind.partition("(")[0] == "registry":
            if name == "catalog":
                found.append(CATALOG)
            continue
        if kind.partition("(")[0] != "repository" or not name:
            raise InvalidParameter(f"invalid scope {text[:200]!a}: repository:NAME:pull,push is expected")
        try:
            named = names.repository_name(name)
        except names.InvalidName:
            continue  # nobody holds anything there
        asked = set[Action]().union(*(_WORDS.get(word, set()) for word in actions.split(",")))
        # Both: through a mirror the name means one repository to who reads, and another to who pushes.
        for repository in dict.fromkeys((named, canonical(connection, named))):
            standing = projects.standing(connection, names.project_of(repository), subject)
            held = frozenset(action for action in asked if holds(subject, action, standing, repository))
            if held:
                found.append(Scope(repository, held))
    return found


def _scopes(texts: Iterable[str]) -> list[str]:
    return [part for text in texts for part in text.split()]


def _is_mirrored(connection: Connection, cache: Cache, name: str) -> bool:
    try:
        named = names.repository_name(name)
    except names.InvalidName:
        return False
    return names.project_of(cache.canonical(connection, named)) != names.project_of(named)


class TokenServer:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def who(self, request: web.Request) -> Subject:
        """As everywhere, but for who comes through a mirror: those credentials are another registry's.

        Docker sends its mirrors what it has for Docker Hub. It is not looked at: nobody could guess ours this way, and no
        address is throttled for it.
        """
        if await self._through_mirror(_scopes(request.query.getall("scope", []))):
            return ANONYMOUS
        return await authenticate(self._service, request)

    async def _through_mirror(self, scopes: list[str]) -> bool:
        cache = self._service.cache
        await cache.load()
        # Only what reads goes through a mirror: who pushes to a new repository of ours is asked who they are.
        names = [text.removeprefix("repository:").removesuffix(":pull") for text in scopes
                 if text.startswith("repository:") and text.endswith(":pull")]  # fmt: skip
        if cache.empty or not names or len(names) < len(scopes):
            return False
        return await self._service.read(lambda connection: all(_is_mirrored(connection, cache, name) for name in names))

    async def get(self, request: web.Request) -> web.StreamResponse:
        subject = request[SUBJECT]
        if subject.granted is not None:
            raise BadCredentials  # a token does not beget tokens
        self._check_service(request.query.get("service", self._service.settings.service))
        scopes = _scopes(request.query.getall("scope", []))
        offline = request.query.get("offline_token", "").lower() in ("true", "1")
        return await self._reply(subject, scopes, request.query.get("client_id", ""), offline=offline)

    async def post(self, request: web.Request) -> web.StreamResponse:
        if request.content_type != "application/x-www-form-urlencoded":
            raise InvalidParameter("the body must be sent as application/x-www-form-urlencoded")
        try:
            fields = parse_qs((await read_body(request)).decode(), max_num_fields=100)
        except (ValueError, UnicodeDecodeError) as error:
            raise InvalidParameter(f"the form can't be read: {error}") from error

        def field(name: str) -> str:
            return fields.get(name, [""])[0]

        self._check_service(field("service"))
        scopes = _scopes(fields.get("scope", []))
        if await self._through_mirror(scopes):
            return await self._reply(ANONYMOUS, scopes, "", offline=False)
        kind = field("grant_type")
        if kind == "password":
            subject = await sign_in(self._service, field("username"), field("password"), request[ADDRESS])
            offline = field("access_type") == "offline"
            return await self._reply(subject, scopes, field("client_id"), offline=offline)
        if kind == "refresh_token":
            return await self._refresh(request, field("refresh_token"), scopes)
        raise InvalidParameter(f"unsupported grant_type {kind[:50]!a}: password or refresh_token")

    async def _refresh(self, request: web.Request, token: str, scopes: list[str]) -> web.StreamResponse:
        service, place = self._service, neighbourhood(request[ADDRESS])
        service.address_throttle.check(place)

        def find(connection: Connection) -> Subject | None:
            user_id = tokens.refresh_user(connection, token, service.settings.service)
            row = users.by_id(connection, user_id) if user_id is not None else None
            return users.subject_of(row) if row is not None else None

        subject = await service.read(find)
        if subject is None:
            service.address_throttle.failed(place)
            raise BadCredentials
        return await self._reply(subject, scopes, "", offline=False, refresh_token=token)

    def _check_service(self, text: str) -> None:
        if text != self._service.settings.service:
            raise InvalidParameter(f"this is the service {self._service.settings.service}, not {text[:100]!a}")

    async def _reply(
        self, subject: Subject, scopes: list[str], client_id: str, *, offline: bool, refresh_token: str = ""
    ) -> web.StreamResponse:
        service = self._service
        if subject.must_change_password:
            raise PasswordNotChosen
        if len(scopes) > MOST_SCOPES:
            raise InvalidParameter(f"at most {MOST_SCOPES} scopes are taken")
        await service.cache.load()
        found = await service.read(lambda connection: granted(connection, subject, scopes, service.cache.canonical))
        if offline and subject.kind is SubjectKind.USER:

            def keep(connection: Connection) -> str:
                row = users.by_id(connection, subject.id)
                if row is None:
                    raise BadCredentials
                return tokens.new_refresh_token(
                    connection, subject.id, row["generation"], service.settings.service, client_id
                )

            refresh_token = await service.database.write(keep)
        token = service.tokens.make(subject, found)
        document = {
            "token": token, "access_token": token, "expires_in": service.tokens.lifetime_s, "issued_at": clock.stamp(),
            "scope": " ".join(f"repository:{scope.pattern}:{','.join(sorted(scope.actions))}" for scope in found),
        }  # fmt: skip
        if refresh_token:
            document["refresh_token"] = refresh_token
        return json_reply(document, headers={"Cache-Control": "no-store"})


def routes(service: Service) -> list[Route]:
    handlers = TokenServer(service)
    return [
        Route("GET", "/token", handlers.get, None, authenticate=handlers.who),
        Route("POST", "/token", handlers.post, None, body_limit_bytes=64 * 1024),
    ]
