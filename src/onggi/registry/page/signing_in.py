"""Signing in and out, and what is one's own: password, CLI secrets, sessions, language and colours."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from onggi.registry import audit, users
from onggi.registry.authentication import BadCredentials, sign_in
from onggi.registry.database import Connection
from onggi.registry.page import sessions, words
from onggi.registry.page.rendering import THEME, THEMES
from onggi.registry.page.visit import SESSION, Form, Site, Visit, cookie_name, see_other, whole_number
from onggi.registry.permissions import AuthenticationNeeded
from onggi.registry.requests import ADDRESS, BASE, SUBJECT, actor
from onggi.registry.route import Route

_YEAR_S = 365 * 86400
CHOOSE = "/account?told=choose"
"""Where a one-time password leads."""


def local(path: str) -> str:
    """`path` if it is one of this site, else "/": nobody is sent elsewhere by a link to us."""
    inside = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if inside and len(path) < 2000 and not path.startswith("/sign-") else "/"


def keep_cookie(response: web.StreamResponse, request: web.Request, name: str, value: str, age_s: int) -> None:
    """Set a cookie that only this site's own requests carry."""
    response.set_cookie(name, value, max_age=age_s, path="/", httponly=True, samesite="Lax",
                        secure=request[BASE].startswith("https://"))  # fmt: skip


async def begin(site: Site, request: web.Request, user_id: int, then: str) -> web.Response:
    """Sign a user in at this browser, in place of whoever was."""
    agent = request.headers.get("User-Agent", "")
    old = request.get(SESSION, "")

    def enter(connection: Connection) -> str:
        if old:
            sessions.end(connection, old)
        return sessions.begin(connection, user_id, request[ADDRESS], agent)

    token = await site.service.database.write(enter)
    response = see_other(then)
    keep_cookie(response, request, cookie_name(request), token, int(sessions.LIFETIME.total_seconds()))
    return response


async def arrive(site: Site, request: web.Request, row: Any, then: str) -> web.Response:
    """Take up a user whom another place has signed in. `then` came with a link: it is looked at again."""
    request[SUBJECT] = await site.who(request)
    subject = users.subject_of(row)
    return await begin(site, request, subject.id, CHOOSE if subject.must_change_password else local(then))


# Signing in and out


async def form(visit: Visit) -> web.StreamResponse:
    if visit.subject.known and not visit.problem:
        return see_other(local(visit.query("next")))
    return visit.page(
        "sign_in.html", next=local(visit.typed.get("next", "") or visit.query("next")),
        new=await visit.site.service.read(users.none_has_signed_in),
    )  # fmt: skip


async def enter(visit: Visit, form: Form) -> web.StreamResponse:
    name, request = form.get("name", "").strip(), visit.request
    if "+" in name:
        raise BadCredentials  # robots have no business here
    subject = await sign_in(visit.site.service, name, form.get("password", ""), request[ADDRESS], by_secret=False)
    then = CHOOSE if subject.must_change_password else local(form.get("next", ""))
    return await begin(visit.site, request, subject.id, then)


async def leave(visit: Visit, form: Form) -> web.StreamResponse:
    token = visit.request[SESSION]
    await visit.site.service.database.write(lambda connection: sessions.end(connection, token))
    response = see_other("/sign-in?told=signed-out")
    response.del_cookie(cookie_name(visit.request), path="/", httponly=True, samesite="Lax",
                        secure=visit.request[BASE].startswith("https://"))  # fmt: skip
    return response


# One's own account


def _need(visit: Visit) -> int:
    if not visit.subject.known:
        raise AuthenticationNeeded
    return visit.subject.id


async def account(visit: Visit, secret: Mapping[str, Any] | None = None) -> web.StreamResponse:
    user_id, token = _need(visit), visit.request[SESSION]
    rows, by_password = await visit.site.service.read(
        lambda connection: (sessions.of_user(connection, user_id), users.has_password(connection, user_id))
    )
    current = sessions.hash_of(token)
    return visit.page(
        "account.html", secret=secret, must_change=visit.subject.must_change_password, by_password=by_password,
        secrets=[] if visit.subject.must_change_password else await visit.get("/api/v1/user/cli-secrets"),
        sessions=[{"address": row["address"], "agent": row["agent"], "created_at": row["created_at"],
                   "seen_at": row["seen_at"], "current": row["token_hash"] == current} for row in rows],
    )  # fmt: skip


async def change_password(visit: Visit, form: Form) -> web.StreamResponse:
    user_id = _need(visit)
    if form.get("new", "") != form.get("again", ""):
        raise sessions.NotTheSame
    await visit.send("PUT", "/api/v1/user/password", {"current": form.get("current", ""), "new": form.get("new", "")})
    # All sessions have ended with the old password: this browser gets another.
    return await begin(visit.site, visit.request, user_id, "/account?told=password")


async def new_secret(visit: Visit, form: Form) -> web.StreamResponse:
    made = await visit.send("POST", "/api/v1/user/cli-secrets", {
        "name": form.get("name", ""), "days": whole_number(form.get("days", ""), "the number of days") or 0,
    })  # fmt: skip
    return await account(visit, made)


async def delete_secret(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("DELETE", "/api/v1/user/cli-secrets/{id}")
    return visit.done("/account", "deleted")


async def end_others(visit: Visit, form: Form) -> web.StreamResponse:
    user_id, token = _need(visit), visit.request[SESSION]

    def end(connection: Connection) -> None:
        count = sessions.end_others(connection, user_id, token)
        audit.record(
            connection, actor(visit.request), "end sessions", subject=visit.subject.name, details={"count": count}
        )

    await visit.site.service.database.write(end)
    return visit.done("/account", "sessions")


async def preferences(visit: Visit, form: Form) -> web.StreamResponse:
    """Language and colours of this browser, for who is signed in and who is not."""
    response = see_other(local(form.get("back", "")))
    if form.get("language") in words.LANGUAGES:
        keep_cookie(response, visit.request, words.COOKIE, form["language"], _YEAR_S)
    if form.get("theme") in THEMES:
        keep_cookie(response, visit.request, THEME, form["theme"], _YEAR_S)
    return response


def routes(site: Site) -> list[Route]:
    return [
        site.get("/sign-in", form),
        site.post("/sign-in", enter, form),
        site.post("/sign-out", leave, form),
        site.get("/account", account),
        site.post("/account/password", change_password, account),
        site.post("/account/secrets", new_secret, account),
        site.post("/account/secrets/{id}/delete", delete_secret, account),
        site.post("/account/sessions/end", end_others, account),
        site.post("/preferences", preferences, form),
    ]
