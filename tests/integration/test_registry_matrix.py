"""Every route of the registry, asked by everybody, against two tables that a person can check.

RIGHTS says who may do each kind of thing; ROUTES and PAGES say of which kind each route is. A route without a row fails
`test_every_route_has_a_row`: add one.
"""

import itertools
import re
import socket
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest

from onggi.registry.features import install
from onggi.registry.page.sessions import form_token
from onggi.registry.service import Service
from onggi.registry.settings import Oidc, Settings
from tests.conditions import until
from tests.onggi_registry import PASSWORD, Client, OnggiRegistry, digest_of

WHO = ["anonymous", "stranger", "guest", "developer", "maintainer", "owner", "admin",
       "pulls", "pushes", "deletes", "scans", "foreign", "unchosen", "disabled", "expired"]  # fmt: skip
"""Nobody; a user outside the project; its four roles; the registry's administrator. Robots of the project that may pull,
push, delete, scan; one of another project. An administrator who has not chosen a password yet; a disabled user who was an
owner; a robot that has expired."""

RIGHTS = """
           A  S  g  d  m  o  A   p  p  d  s  f   u  d  e
           n  t  u  e  a  w  d   u  u  e  c  o   n  i  x
           o  r  e  v  i  n  m   l  s  l  a  r   c  s  p
pull     p ?  x  y  y  y  y  y   y  x  x  x  x   x  ?  ?
pull     o y  y  y  y  y  y  y   y  y  y  y  y   x  ?  ?
push     p ?  x  x  y  y  y  y   x  y  x  x  x   x  ?  ?
push     o ?  x  x  y  y  y  y   x  y  x  x  x   x  ?  ?
delete   p ?  x  x  x  y  y  y   x  x  y  x  x   x  ?  ?
delete   o ?  x  x  x  y  y  y   x  x  y  x  x   x  ?  ?
scan     p ?  x  x  y  y  y  y   x  x  x  y  x   x  ?  ?
scan     o ?  x  x  y  y  y  y   x  x  x  y  x   x  ?  ?
see      p ?  x  y  y  y  y  y   x  x  x  x  x   x  ?  ?
see      o y  y  y  y  y  y  y   y  y  y  y  y   x  ?  ?
read     p ?  x  x  y  y  y  y   x  x  x  x  x   x  ?  ?
read     o ?  x  x  y  y  y  y   x  x  x  x  x   x  ?  ?
edit     p ?  x  x  x  y  y  y   x  x  x  x  x   x  ?  ?
edit     o ?  x  x  x  y  y  y   x  x  x  x  x   x  ?  ?
own      p ?  x  x  x  x  y  y   x  x  x  x  x   x  ?  ?
own      o ?  x  x  x  x  y  y   x  x  x  x  x   x  ?  ?
admin    p ?  x  x  x  x  x  y   x  x  x  x  x   x  ?  ?
admin    o ?  x  x  x  x  x  y   x  x  x  x  x   x  ?  ?
known    - ?  y  y  y  y  y  y   y  y  y  y  y   x  ?  ?
account  - ?  y  y  y  y  y  y   y  y  y  y  y   y  ?  ?
person   - ?  y  y  y  y  y  y   x  x  x  x  x   y  ?  ?
chosen   - ?  y  y  y  y  y  y   x  x  x  x  x   x  ?  ?
lists    - y  y  y  y  y  y  y   y  y  y  y  y   y  ?  ?
token    - y  y  y  y  y  y  y   y  y  y  y  y   x  ?  ?
page     - y  y  y  y  y  y  y   y  y  y  y  y   y  y  y
"""
"""In a private (p) and an open, that is public (o) project; - where a route is about none. y: the row's status in ROUTES,
x: 403, ?: 401. `page`: routes that never look at the Authorization header."""

ROUTES = """
push    POST    /v2/{name*}/blobs/uploads/                                               202
push    POST    /v2/{name*}/blobs/uploads                                                202
push    PATCH   /v2/{name*}/blobs/uploads/{upload}                                       404
push    PUT     /v2/{name*}/blobs/uploads/{upload}                                       404
push    GET     /v2/{name*}/blobs/uploads/{upload}                                       404
push    DELETE  /v2/{name*}/blobs/uploads/{upload}                                       404
pull    GET     /v2/{name*}/blobs/{digest}                                               200
pull    HEAD    /v2/{name*}/blobs/{digest}                                               200
delete  DELETE  /v2/{name*}/blobs/{digest}                                               404
pull    GET     /v2/{name*}/manifests/{reference}                                        200
pull    HEAD    /v2/{name*}/manifests/{reference}                                        200
push    PUT     /v2/{name*}/manifests/{reference}                                        400
delete  DELETE  /v2/{name*}/manifests/{reference}                                        404
pull    GET     /v2/{name*}/tags/list                                                    200
pull    GET     /v2/{name*}/referrers/{digest}                                           200
known   GET     /v2/                                                                     200
known   HEAD    /v2/                                                                     200
known   GET     /v2                                                                      200
account GET     /v2/_catalog                                                             200
lists   GET     /healthz                                                                 200
lists   GET     /readyz                                                                  200
lists   GET     /metrics                                                                 200
token   GET     /token                                                                   200
lists   POST    /token                                                                   400
account GET     /api/v1/user                                                             200
person  PUT     /api/v1/user/password                                                    400
chosen  GET     /api/v1/user/cli-secrets                                                 200
chosen  POST    /api/v1/user/cli-secrets                                                 400
chosen  DELETE  /api/v1/user/cli-secrets/{id}                                            404
page    GET     /oidc/login                                                              503
page    GET     /oidc/callback                                                           400
admin   GET     /api/v1/users                                                            200
admin   POST    /api/v1/users                                                            400
admin   GET     /api/v1/users/{user}                                                     404
admin   PATCH   /api/v1/users/{user}                                                     400
admin   DELETE  /api/v1/users/{user}                                                     404
admin   PUT     /api/v1/users/{user}/password                                            400
admin   GET     /api/v1/users/{user}/identities                                          404
admin   PUT     /api/v1/users/{user}/identities                                          400
admin   DELETE  /api/v1/users/{user}/identities                                          404
lists   GET     /api/v1/projects                                                         200
admin   POST    /api/v1/projects                                                         400
see     GET     /api/v1/projects/{project}                                               200
edit    PATCH   /api/v1/projects/{project}                                               400
own     DELETE  /api/v1/projects/{project}                                               409
read    GET     /api/v1/projects/{project}/members                                       200
own     PUT     /api/v1/projects/{project}/members/{user}                                400
own     DELETE  /api/v1/projects/{project}/members/{user}                                404
edit    POST    /api/v1/projects/{project}/retention                                     200
edit    GET     /api/v1/projects/{project}/robots                                        200
edit    POST    /api/v1/projects/{project}/robots                                        400
edit    POST    /api/v1/projects/{project}/robots/{robot}/secret                         404
edit    DELETE  /api/v1/projects/{project}/robots/{robot}                                404
see     GET     /api/v1/projects/{project}/repositories                                  200
pull    GET     /api/v1/repositories/{name*}/-/tags                                      200
pull    GET     /api/v1/repositories/{name*}/-/manifests/{reference}                     200
pull    GET     /api/v1/repositories/{name*}/-/tags/{tag}                                200
pull    GET     /api/v1/repositories/{name*}/-/tags/{tag}/history                        200
delete  POST    /api/v1/repositories/{name*}/-/tags/{tag}/rollback                       400
pull    GET     /api/v1/repositories/{name*}/-/manifests                                 200
delete  POST    /api/v1/repositories/{name*}/-/manifests/{digest}/restore                404
pull    GET     /api/v1/repositories/{name*}/-                                           200
edit    PATCH   /api/v1/repositories/{name*}/-                                           400
delete  DELETE  /api/v1/repositories/{name*}/-                                           404
admin   GET     /api/v1/audit                                                            200
admin   GET     /api/v1/events                                                           200
admin   GET     /api/v1/jobs                                                             200
admin   POST    /api/v1/jobs/{id}/retry                                                  404
admin   POST    /api/v1/collect                                                          200
read    GET     /api/v1/projects/{project}/audit                                         200
read    GET     /api/v1/projects/{project}/events                                        200
lists   GET     /v1/search                                                               200
lists   GET     /api/v1/search                                                           200
pull    GET     /api/v1/repositories/{name*}/-/manifests/{reference}/scan                200
scan    POST    /api/v1/repositories/{name*}/-/manifests/{reference}/scan                404
pull    GET     /api/v1/repositories/{name*}/-/manifests/{reference}/bom                 200
read    GET     /api/v1/projects/{project}/ignores                                       200
edit    POST    /api/v1/projects/{project}/ignores                                       400
edit    DELETE  /api/v1/projects/{project}/ignores                                       404
admin   GET     /api/v1/advisories                                                       200
read    GET     /api/v1/projects/{project}/policy                                        200
edit    PUT     /api/v1/projects/{project}/policy                                        400
pull    GET     /api/v1/repositories/{name*}/-/manifests/{reference}/signatures          200
read    GET     /api/v1/projects/{project}/webhooks                                      200
edit    POST    /api/v1/projects/{project}/webhooks                                      400
edit    PATCH   /api/v1/projects/{project}/webhooks/{hook}                               400
edit    DELETE  /api/v1/projects/{project}/webhooks/{hook}                               404
edit    POST    /api/v1/projects/{project}/webhooks/{hook}/test                          404
read    GET     /api/v1/projects/{project}/webhooks/{hook}/deliveries                    404
edit    POST    /api/v1/projects/{project}/webhooks/{hook}/deliveries/{delivery}/replay  404
admin   GET     /api/v1/remotes                                                          200
admin   POST    /api/v1/remotes                                                          400
admin   PATCH   /api/v1/remotes/{remote}                                                 400
admin   DELETE  /api/v1/remotes/{remote}                                                 404
admin   POST    /api/v1/remotes/{remote}/check                                           404
read    GET     /api/v1/projects/{project}/upstream                                      404
admin   PUT     /api/v1/projects/{project}/upstream                                      400
admin   DELETE  /api/v1/projects/{project}/upstream                                      404
read    GET     /api/v1/projects/{project}/replication                                   200
admin   POST    /api/v1/projects/{project}/replication                                   400
read    GET     /api/v1/projects/{project}/replication/{rule}                            404
admin   PATCH   /api/v1/projects/{project}/replication/{rule}                            400
admin   DELETE  /api/v1/projects/{project}/replication/{rule}                            404
read    GET     /api/v1/projects/{project}/replication/{rule}/runs                       404
edit    POST    /api/v1/projects/{project}/replication/{rule}/runs                       400
read    GET     /api/v1/projects/{project}/replication/{rule}/runs/{run}                 404
"""
"""Kind, method, path, and what those who may are answered: reads find the image that is there, the rest asks for what is
not there or says nothing, so that nothing changes. The order of the features; columns apart for the eye."""

PAGES = """
page    GET     /assets/{file}                                                     404
page    GET     /sign-in                                                           200
page    POST    /sign-in                                                           401
page    POST    /sign-out                                                          303
page    POST    /preferences                                                       303
lists   GET     /                                                                  200
lists   GET     /search                                                            200
account GET     /account                                                           200
person  POST    /account/password                                                  400  new=other
chosen  POST    /account/secrets                                                   400
chosen  POST    /account/secrets/{id}/delete                                       404
account POST    /account/sessions/end                                              303
admin   GET     /new-project                                                       200
admin   POST    /new-project                                                       400
admin   GET     /users                                                             200
admin   POST    /users                                                             400
admin   POST    /users/{user}                                                      404  disabled=1
admin   POST    /users/{user}/password                                             404  password=long-enough
admin   POST    /users/{user}/delete                                               404
admin   GET     /users/{user}/identities                                           404
admin   POST    /users/{user}/identities                                           404  subject=s
admin   POST    /users/{user}/identities/delete                                    404
admin   GET     /registry                                                          200
admin   POST    /registry/collect                                                  303
admin   GET     /registry/activity                                                 200
admin   POST    /registry/jobs/{id}/retry                                          404
see     GET     /projects/{project}                                                200
read    GET     /projects/{project}/members                                        200
own     POST    /projects/{project}/members                                        404  user=nobody role=guest
own     POST    /projects/{project}/members/remove                                 404  user=nobody
edit    GET     /projects/{project}/robots                                         200
edit    POST    /projects/{project}/robots                                         400
edit    POST    /projects/{project}/robots/{robot}/renew                           404
edit    POST    /projects/{project}/robots/{robot}/delete                          404
read    GET     /projects/{project}/webhooks                                       200
edit    POST    /projects/{project}/webhooks                                       400
read    GET     /projects/{project}/webhooks/{hook}                                404
edit    POST    /projects/{project}/webhooks/{hook}/switch                         404
edit    POST    /projects/{project}/webhooks/{hook}/delete                         404
edit    POST    /projects/{project}/webhooks/{hook}/test                           404
edit    POST    /projects/{project}/webhooks/{hook}/deliveries/{delivery}/replay   404
read    GET     /projects/{project}/rules                                          200
edit    POST    /projects/{project}/rules/{kind}                                   400
edit    POST    /projects/{project}/rules/{kind}/delete                            303
edit    POST    /projects/{project}/retention/plan                                 200
edit    POST    /projects/{project}/retention/apply                                303
edit    POST    /projects/{project}/ignores/delete                                 404  problem=CVE-1
read    GET     /projects/{project}/policy                                         200
edit    POST    /projects/{project}/policy                                         400  policy=[]
read    GET     /projects/{project}/replication                                    200
edit    POST    /projects/{project}/replication/{rule}/run                         404
read    GET     /projects/{project}/activity                                       200
edit    GET     /projects/{project}/settings                                       200
edit    POST    /projects/{project}/settings                                       303  public={public}
own     POST    /projects/{project}/delete                                         409  confirm={project}
pull    GET     /repositories/{name*}                                              200
pull    GET     /repositories/{name*}/-/tags/{tag}                                 200
delete  POST    /repositories/{name*}/-/tags/{tag}/rollback                        400
delete  POST    /repositories/{name*}/-/tags/{tag}/delete                          404
pull    GET     /repositories/{name*}/-/manifests/{reference}                      200
pull    GET     /repositories/{name*}/-/manifests/{reference}/findings             200
pull    GET     /repositories/{name*}/-/manifests/{reference}/packages             200
pull    GET     /repositories/{name*}/-/manifests/{reference}/download/{form}      200
edit    POST    /repositories/{name*}/-/manifests/{reference}/findings/ignore      400
scan    POST    /repositories/{name*}/-/manifests/{reference}/scan                 404
delete  POST    /repositories/{name*}/-/manifests/{reference}/delete               404  digest={digest}
edit    POST    /repositories/{name*}/-/description                                404
delete  POST    /repositories/{name*}/-/delete                                     404  confirm={project}/gone
"""
"""As ROUTES, for browsers: who is not signed in is led to the form where that can be, and what is typed into forms."""

LAYER = bytes(10240)
"""A tar without a member."""
FORM = "application/x-www-form-urlencoded"
PROJECTS = {"p": "closed", "o": "open"}
ISSUER = "http://127.0.0.1:9"
"""Nobody listens there (discard): the log-in's routes are there, and their provider is not."""


@dataclass(frozen=True)
class Row:
    kind: str
    method: str
    path: str
    status: int
    typed: tuple[str, ...] | None = None
    """What a page's form says, as NAME=TEXT; None for a route of programs."""

    def filled(self, project: str) -> str:
        """The path, with what is there for reads, and with what is not for the rest."""
        reading = self.method in ("GET", "HEAD")
        values = {
            "name*": f"{project}/{'app' if reading else 'gone' if self.method == 'DELETE' or self.typed is not None else 'new'}",
            "project": project,
            "digest": digest_of(LAYER) if reading else digest_of(b"nothing"),
            "reference": "v1" if reading else "absent", "tag": "v1" if reading else "absent",
            "kind": "retention", "form": "json",
        }  # fmt: skip
        path = re.sub(r"\{([^}]*)\}", lambda found: values.get(found[1], "999"), self.path)
        return path + ("?q=app" if path.endswith("/search") else "")

    def form(self, project: str) -> dict[str, str]:
        """What is sent: with `{public}` the state that the project has already."""
        values = {"project": project, "public": "1" if project == "open" else "", "digest": digest_of(b"nothing")}
        return dict(text.format(**values).split("=", 1) for text in self.typed or ())


CELLS = {
    (kind, where): dict(zip(WHO, cells, strict=True))
    for kind, where, *cells in map(str.split, RIGHTS.strip().splitlines()[3:])
}
ROWS = [
    Row(kind, method, path, int(status)) for kind, method, path, status in map(str.split, ROUTES.strip().splitlines())
]
PAGE_ROWS = [
    Row(kind, method, path, int(status), tuple(typed))
    for kind, method, path, status, *typed in map(str.split, PAGES.strip().splitlines())
]
GIVEN = "given by an admin"
"""The password of who has not chosen one."""


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _change(registry: OnggiRegistry, statement: str) -> None:
    """What no call of the API does: let time pass."""
    if registry.shared:
        with psycopg.connect(Path(registry.shared[1]).read_text().strip()) as remote:
            remote.execute(statement.encode())
        return
    with sqlite3.connect(registry.root / "registry.db") as local:
        local.execute(statement)
    local.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    host = f"127.0.0.1:{_free_port()}"
    running = OnggiRegistry(tmp_path_factory.mktemp("matrix"), "--url", f"http://{host}", "--oidc-issuer", ISSUER,
                            "--oidc-client-id", "registry")  # fmt: skip
    running.host = host
    with running:
        yield running


@pytest.fixture(scope="module")
def people(registry: OnggiRegistry) -> dict[tuple[str, str], Client]:
    """(who, p or o) → client."""
    admin, roles = registry.admin, WHO[2:6]
    for name in ("stranger", *roles, "disabled"):
        registry.user(name)
    registry.user("unchosen", admin=True)
    admin.ok("POST", "/api/v1/projects", {"name": "elsewhere"})
    found: dict[tuple[str, str], Client] = {}
    for letter, project in PROJECTS.items():
        admin.ok("POST", "/api/v1/projects", {"name": project, "public": letter == "o"})
        admin.image(f"{project}/app", "v1", LAYER)
        for member in (*roles, "disabled"):
            role = member if member in roles else "owner"
            admin.ok("PUT", f"/api/v1/projects/{project}/members/{member}", {"role": role})
        for robot in [*WHO[7:12], "expired"]:
            home = "elsewhere" if robot == "foreign" else project
            may = ["pull", "push", "delete", "scan"] if robot in ("foreign", "expired") else [robot.removesuffix("s")]
            may = ["push"] if robot == "pushes" else may
            made = admin.ok("POST", f"/api/v1/projects/{home}/robots", {
                "name": f"{robot}-{letter}", "scopes": [{"repository": f"{home}/*", "actions": may}]}).json()  # fmt: skip
            found[robot, letter] = registry.as_(made["name"], made["secret"])
        found["anonymous", letter] = registry.anonymous
        for name in ("stranger", *roles, "admin", "unchosen", "disabled"):
            found[name, letter] = registry.as_(name)
    for project in PROJECTS.values():
        scan = f"/api/v1/repositories/{project}/app/-/manifests/v1/scan"
        until(lambda scan=scan: admin("GET", scan).status == 200, f"the scan of {project}/app is there")  # type: ignore[misc]
    admin.ok("PUT", "/api/v1/users/unchosen/password", {"new": GIVEN})
    for letter in PROJECTS:
        found["unchosen", letter] = registry.as_("unchosen", GIVEN)
        assert found["disabled", letter]("GET", "/v2/").status == 200
        assert found["expired", letter]("GET", "/v2/").status == 200
    admin.ok("PATCH", "/api/v1/users/disabled", {"disabled": True})
    _change(registry, "UPDATE robots SET expires_at = '2020-01-01T00:00:00Z' WHERE name LIKE '%expired%'")
    return found


def test_every_route_has_a_row() -> None:
    settings = Settings(root=Path("/nonexistent"), url="https://registry.example.com", oidc=Oidc(ISSUER, "registry"))
    offered = [(route.method, route.path) for route in install(Service(settings))]
    assert sorted(offered) == sorted((row.method, row.path) for row in [*ROWS, *PAGE_ROWS])


def _addresses() -> Iterator[str]:
    """127.1.0.1, 127.1.0.2 …: what is refused again and again from one address is refused by 429."""
    return (f"127.1.{number // 250}.{number % 250 + 1}" for number in itertools.count())


def _expected(row: Row, who: str, letter: str) -> int:
    said = (CELLS.get((row.kind, letter)) or CELLS[row.kind, "-"])[who]
    return {"y": row.status, "x": 403, "?": 401}[said]


@pytest.mark.parametrize("letter", PROJECTS)
@pytest.mark.parametrize("who", WHO)
def test_by_password_or_secret(people: dict[tuple[str, str], Client], who: str, letter: str) -> None:
    ask = people[who, letter]
    wanted, got = {}, {}
    for row, address in zip(ROWS, _addresses(), strict=False):
        name = f"{row.method} {row.path}"
        wanted[name] = _expected(row, who, letter)
        got[name] = replace(ask, source=address)(row.method, row.filled(PROJECTS[letter])).status
    assert got == wanted


@pytest.mark.parametrize("letter", PROJECTS)
@pytest.mark.parametrize("who", [who for who in WHO if who not in ("unchosen", "disabled", "expired")])
def test_by_token(people: dict[tuple[str, str], Client], who: str, letter: str) -> None:
    """A token asked for everything in a repository holds what its account may pull, push and delete there.

    It is good for no other call, a scan among them: Docker's scopes have no word for it.
    """
    project = PROJECTS[letter]
    scopes = "&".join(f"scope=repository:{project}/{name}:*" for name in ("app", "new", "gone"))
    ask = people[who, letter]
    ask = replace(ask, authorization=f"Bearer {ask.ok('GET', f'/token?{scopes}').json()['token']}")
    wanted, got = {}, {}
    for row in ROWS:
        if row.kind in ("lists", "token", "page", "known", "account", "person", "chosen"):
            continue  # what a token shows there is asked in test_registry_rights
        name, may = f"{row.method} {row.path}", _expected(row, who, letter) == row.status
        wanted[name] = row.status if may and row.kind in ("pull", "push", "delete") else 401
        got[name] = ask(row.method, row.filled(project)).status
    assert got == wanted
    assert ask("GET", f"/v2/{project}/another/tags/list").status == 401


def test_who_may_not_sign_in_gets_no_token(people: dict[tuple[str, str], Client]) -> None:
    for who, status in (("unchosen", 403), ("disabled", 401), ("expired", 401)):
        ask = replace(people[who, "o"], source="127.2.0.1")
        assert ask("GET", "/token?scope=repository:open/app:pull").status == status, who


def _session(registry: OnggiRegistry, name: str, password: str) -> str:
    """Sign in as a browser does; gives the session's token, "" if there was none."""
    form = urlencode({"name": name, "password": password}).encode()
    answer = Client(registry.host)(
        "POST", "/sign-in", form, {"Content-Type": FORM, "Origin": f"http://{registry.host}"}
    )
    cookie = answer.headers.get("set-cookie", "")
    return cookie.removeprefix("onggi-session=").partition(";")[0]


@pytest.mark.parametrize("letter", PROJECTS)
@pytest.mark.parametrize("who", [*WHO[:7], "unchosen"])
def test_by_session(registry: OnggiRegistry, people: dict[tuple[str, str], Client], who: str, letter: str) -> None:
    """Every page and form in a browser that is signed in, or not: what one may there is what one may by the API."""
    project, wanted, got = PROJECTS[letter], {}, {}
    token = "" if who == "anonymous" else _session(registry, who, GIVEN if who == "unchosen" else PASSWORD)
    headers = {"Accept": "text/html", "Origin": f"http://{registry.host}", "Cookie": f"onggi-session={token}"}
    for row, address in zip(PAGE_ROWS, _addresses(), strict=False):
        name, sent, form = f"{row.method} {row.path}", dict(headers), None
        wanted[name] = _expected(row, who, letter)
        if (row.path == "/" and who == "unchosen") or (name == "GET /sign-in" and token):
            wanted[name] = 303  # on to the one form that is open to them; no need for a form
        if row.method == "POST":
            own = token
            if row.path == "/sign-in":
                address = f"127.4.{WHO.index(who)}.{ord(letter)}"
            if row.path in ("/sign-out", "/sign-in") and token:  # not the session of all the others
                own = _session(registry, who, GIVEN if who == "unchosen" else PASSWORD)
                sent["Cookie"] = f"onggi-session={own}"
            sent["Content-Type"] = FORM
            form = urlencode(row.form(project) | ({"form_token": form_token(own)} if own else {})).encode()
        elif wanted[name] == 401:
            wanted[name] = 303
        answer = Client(registry.host, source=address)(row.method, row.filled(project), form, sent)
        got[name] = answer.status
        if wanted[name] == 303 and row.status != 303 and not token:
            assert answer.headers["location"].startswith("/sign-in?next=%2F"), name
    assert got == wanted


@pytest.mark.parametrize("who", ["disabled", "nobody"])
def test_who_may_not_sign_in_gets_no_session(
    registry: OnggiRegistry, people: dict[tuple[str, str], Client], who: str
) -> None:
    assert _session(registry, who, PASSWORD) == ""
