"""One request of a browser: who it is, in which language, and how a page is made of it."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from aiohttp import web

from onggi.errors import Forbidden, InvalidParameter, OnggiError
from onggi.registry import users
from onggi.registry.authentication import BadCredentials
from onggi.registry.failure import Failure, status_of
from onggi.registry.page import sessions
from onggi.registry.page.asking import Api
from onggi.registry.page.rendering import THEME, THEMES, Renderer
from onggi.registry.page.words import Words, language_of
from onggi.registry.permissions import ANONYMOUS, Action, AuthenticationNeeded, Subject
from onggi.registry.requests import BASE, SUBJECT
from onggi.registry.route import Route
from onggi.registry.service import Service

SESSION = web.RequestKey("session", str)
"""The token of the cookie, if it is a session's; "" otherwise."""
Form = Mapping[str, str]
Show = Callable[["Visit"], Awaitable[web.StreamResponse]]
Do = Callable[["Visit", Form], Awaitable[web.StreamResponse]]
MOST_FIELDS = 100
NOT_FOR_BROWSERS = ("/v2", "/v1/", "/api/", "/token", "/healthz", "/readyz", "/metrics")


class FormStale(Forbidden):
    def __init__(self) -> None:
        super().__init__(
            "this form is of another session, or comes from elsewhere: open the page again and send it anew"
        )


class Site:
    """What all pages share: the service, the API, the templates; and the routes."""

    def __init__(self, service: Service, api: Api) -> None:
        self.service, self.api, self.renderer = service, api, Renderer()

    # Who it is

    async def who(self, request: web.Request) -> Subject:
        """By the cookie alone: a page never looks at Authorization, and the API never at cookies."""
        request[SESSION] = ""
        token = request.cookies.get(cookie_name(request), "")
        if not token:
            return ANONYMOUS
        row = await self.service.read(lambda connection: sessions.user(connection, token))
        if row is None:
            return ANONYMOUS
        if sessions.is_stale(row):
            await self.service.database.write(lambda connection: sessions.seen(connection, token))
        request[SESSION] = token
        return users.subject_of(row)

    # Routes

    def get(self, path: str, show: Show, action: Action | None = None) -> Route:
        """`action`: what one must be allowed to see it; the API is asked in any case."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await show(Visit(self, request))

        return Route("GET", path, handle, action, authenticate=self.who)

    def post(self, path: str, do: Do, back: Show, action: Action | None = None) -> Route:
        """`back` shows the form again, with what was typed, when `do` raises what the person can mend."""

        async def handle(request: web.Request) -> web.StreamResponse:
            form = await self._form(request)
            visit = Visit(self, request)
            try:
                return await do(visit, form)
            except OnggiError as error:
                if isinstance(error, AuthenticationNeeded) and not isinstance(error, BadCredentials):
                    raise
                visit.problem, visit.typed, visit.status = str(error), form, status_of(error)
                try:
                    shown = await back(visit)
                except OnggiError:
                    raise error from None  # the form's page is not to be had either: the first reason is the right one
                shown.headers.update(getattr(error, "headers", {}))  # when to try again
                return shown

        return Route("POST", path, handle, action, authenticate=self.who)

    async def _form(self, request: web.Request) -> Form:
        """What was typed. Raises FormStale for what did not come from a page of this session."""
        if request.content_type != "application/x-www-form-urlencoded":
            raise InvalidParameter("a form is sent as application/x-www-form-urlencoded")
        site = request.headers.get("Origin")
        if site != request[BASE] and request.headers.get("Sec-Fetch-Site") != "same-origin":
            raise FormStale  # where a browser says neither it is too old to be safe
        # Of a copy: the API is asked with copies, which can be made until the body is read.
        form = _texts(await request.clone().read())
        token = request[SESSION]
        if token and not hmac.compare_digest(sessions.form_token(token).encode(), form.get("form_token", "").encode()):
            raise FormStale
        return form

    # Failures

    async def failed(self, request: web.Request, error: Exception, failure: Failure) -> web.Response | None:
        """A page for a browser that asks for one; None for every other client, whose answer is JSON."""
        if request.path.startswith(NOT_FOR_BROWSERS) or "text/html" not in request.headers.get("Accept", ""):
            return None
        if SESSION not in request:  # there is no such page: nobody has been asked for yet
            request[SUBJECT] = await self.who(request)
        if isinstance(error, AuthenticationNeeded) and not request[SUBJECT].known and request.method == "GET":
            return see_other("/sign-in?" + urlencode({"next": request.raw_path}))
        visit = Visit(self, request)
        visit.status = failure.status
        response = visit.page("failure.html", code=failure.status, why=failure.sentence)
        response.headers.update(failure.headers or {})
        return response


class Visit:
    """What a page's handler works with."""

    def __init__(self, site: Site, request: web.Request) -> None:
        self.site, self.request = site, request
        self.subject = request[SUBJECT]
        self.words = Words(language_of(request))
        self.problem = ""
        """Why what was sent could not be done: shown above the form."""
        self.typed: Form = {}
        self.status = 200

    def __getitem__(self, name: str) -> str:
        """A parameter of the path."""
        return self.request.match_info[name]

    def query(self, name: str) -> str:
        return self.request.query.get(name, "")

    async def get(self, path: str, query: Mapping[str, str] | None = None, **given: str) -> Any:
        """Ask the API: see `asking.Api.get`."""
        return await self.site.api.get(self.request, path, query, **given)

    async def send(
        self, method: str, path: str, value: Any = None, query: Mapping[str, str] | None = None, **given: str
    ) -> Any:
        return await self.site.api.send(self.request, method, path, value, query, **given)

    def page(self, template: str, **values: Any) -> web.Response:
        theme = self.request.cookies.get(THEME, "auto")
        token = self.request.get(SESSION, "")
        shared = {
            "subject": self.subject, "problem": self.problem, "typed": self.typed, "told": self.query("told"),
            "form_token": sessions.form_token(token) if token else "", "here": self.request.raw_path,
            "host": self.request[BASE].partition("://")[2] if BASE in self.request else "",
            "plain": self.request.get(BASE, "").startswith("http://"), "path_of": path_of, "query": self.request.query,
            "oidc": self.site.service.settings.oidc is not None,
        }  # fmt: skip
        return self.site.renderer.page(
            template, self.words, theme if theme in THEMES else "auto", shared | values, self.status
        )

    def done(self, path: str, told: str) -> web.Response:
        """Go on to `path`, where `told` (see told.html) says what has been done."""
        return see_other(f"{path}?told={told}")


def _texts(body: bytes) -> Form:
    """Always UTF-8, as our pages are: what `charset` says would choose among all of Python's codecs."""
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS))
    except ValueError as error:  # UnicodeDecodeError too
        raise InvalidParameter(f"a form is text in UTF-8, of at most {MOST_FIELDS} fields") from error


def whole_number(text: str, what: str) -> int | None:
    """A number that was typed; None for nothing. Raises InvalidParameter."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidParameter(f"{what} is a whole number, not {text[:40]!a}")
    return int(text)


def cookie_name(request: web.Request) -> str:
    """A __Host- cookie can't be set by a neighbour of our domain, nor in the clear. (RFC 6265bis, 4.1.3)"""
    return "__Host-onggi-session" if request[BASE].startswith("https://") else "onggi-session"


def see_other(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})


def path_of(*parts: str) -> str:
    """A path of this site; each part is quoted, slashes of repositories' names stay."""
    return "/" + "/".join(quote(part, safe="/:@+") for part in parts)
