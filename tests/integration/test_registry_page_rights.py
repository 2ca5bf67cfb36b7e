"""Every route of the page, asked by everybody, against two tables that a person can check.

A route without a row fails `test_every_page_has_a_row`: add one. The API behind the pages has a test of its own kind.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.registry.features import FEATURES, install
from onggi.registry.service import Service
from onggi.registry.settings import Settings
from tests.conditions import until
from tests.integration.test_registry_sessions import Visitor
from tests.onggi_registry import OnggiRegistry
from tests.scanned import debian_layer

WHO = ["anonymous", "stranger", "guest", "developer", "maintainer", "owner", "admin"]
"""Nobody; a user outside the project; its four roles; an administrator of the registry."""

RIGHTS = """
           A  S  g  d  m  o  A
           n  t  u  e  a  w  d
all        y  y  y  y  y  y  y
self       ?  y  y  y  y  y  y
pull       ?  x  y  y  y  y  y
scan       ?  x  x  y  y  y  y
read       ?  x  x  y  y  y  y
delete     ?  x  x  x  y  y  y
edit       ?  x  x  x  y  y  y
own        ?  x  x  x  x  y  y
admin      ?  x  x  x  x  x  y
"""
"""In a private project. y: the row's status in PAGES, x: 403, ?: a page leads to the sign-in (303), a form is refused (401)."""

PAGES = """
all     GET     /assets/{file}                                               404
all     POST    /preferences                                                 303
all     GET     /                                                            200
all     GET     /search                                                      200
self    GET     /account                                                     200
self    POST    /account/password                                            401
self    POST    /account/secrets                                             400
self    POST    /account/secrets/{id}/delete                                 404
self    POST    /account/sessions/end                                        303
pull    GET     /projects/{project}                                          200
pull    GET     /repositories/{name*}                                        200
pull    GET     /repositories/{name*}/-/tags/{tag}                           200
pull    GET     /repositories/{name*}/-/manifests/{reference}                200
pull    GET     /repositories/{name*}/-/manifests/{reference}/findings       200
pull    GET     /repositories/{name*}/-/manifests/{reference}/packages       200
pull    GET     /repositories/{name*}/-/manifests/{reference}/download/{form}  200
scan    POST    /repositories/{name*}/-/manifests/{reference}/scan           404
delete  POST    /repositories/{name*}/-/tags/{tag}/rollback                  404
delete  POST    /repositories/{name*}/-/tags/{tag}/delete                    404
delete  POST    /repositories/{name*}/-/manifests/{reference}/delete         404
edit    POST    /repositories/{name*}/-/manifests/{reference}/findings/ignore  404
edit    POST    /repositories/{name*}/-/description                          404
delete  POST    /repositories/{name*}/-/delete                               404
read    GET     /projects/{project}/members                                  200
own     POST    /projects/{project}/members                                  400
own     POST    /projects/{project}/members/remove                           404
edit    GET     /projects/{project}/robots                                   200
edit    POST    /projects/{project}/robots                                   400
edit    POST    /projects/{project}/robots/{robot}/renew                     404
edit    POST    /projects/{project}/robots/{robot}/delete                    404
read    GET     /projects/{project}/webhooks                                 200
edit    POST    /projects/{project}/webhooks                                 400
read    GET     /projects/{project}/webhooks/{hook}                          404
edit    POST    /projects/{project}/webhooks/{hook}/switch                   404
edit    POST    /projects/{project}/webhooks/{hook}/delete                   404
edit    POST    /projects/{project}/webhooks/{hook}/deliveries/{delivery}/replay  404
read    GET     /projects/{project}/rules                                    200
edit    POST    /projects/{project}/rules/{kind}                             303
edit    POST    /projects/{project}/rules/{kind}/delete                      303
edit    POST    /projects/{project}/retention/plan                           200
edit    POST    /projects/{project}/retention/apply                          303
edit    POST    /projects/{project}/ignores/delete                           404
read    GET     /projects/{project}/policy                                   200
edit    POST    /projects/{project}/policy                                   400
read    GET     /projects/{project}/replication                              200
edit    POST    /projects/{project}/replication/{rule}/run                   404
read    GET     /projects/{project}/activity                                 200
edit    GET     /projects/{project}/settings                                 200
edit    POST    /projects/{project}/settings                                 303
own     POST    /projects/{project}/delete                                   400
admin   GET     /new-project                                                 200
admin   POST    /new-project                                                 400
admin   GET     /users                                                       200
admin   POST    /users                                                       400
admin   POST    /users/{user}                                                404
admin   POST    /users/{user}/password                                       400
admin   POST    /users/{user}/delete                                         404
admin   GET     /registry                                                    200
admin   POST    /registry/collect                                            303
admin   GET     /registry/activity                                           200
"""
"""Kind, method, path, and what those who may are answered: pages find what is there; forms are empty, and about what is not
there, so that little changes."""
ELSEWHERE = {("GET", "/sign-in"), ("POST", "/sign-in"), ("POST", "/sign-out")}
"""Asked in test_registry_sessions."""

CELLS = {kind: dict(zip(WHO, cells, strict=True)) for kind, *cells in map(str.split, RIGHTS.strip().splitlines()[2:])}
ROWS = [(kind, method, path, int(status)) for kind, method, path, status in map(str.split, PAGES.strip().splitlines())]


def _filled(method: str, path: str) -> str:
    reading = method == "GET"
    values = {"name*": f"closed/{'app' if reading else 'gone'}", "project": "closed", "tag": "v1", "reference": "v1",
              "kind": "immutable", "form": "json", "hook": "999", "user": "nobody", "id": "999"}  # fmt: skip
    return re.sub(r"\{([^}]*)\}", lambda found: values.get(found[1], "absent"), path)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Visitor]]:
    with OnggiRegistry(tmp_path_factory.mktemp("pages")) as registry:
        admin = registry.admin
        admin.ok("POST", "/api/v1/projects", {"name": "closed"})
        admin.image("closed/app", "v1", debian_layer())
        path = "/api/v1/repositories/closed/app/-/manifests/v1/scan"
        until(lambda: admin("GET", path).status == 200, "the scan is there")
        found = {"anonymous": Visitor(registry.host), "admin": Visitor(registry.host)}
        for name in WHO[1:-1]:
            registry.user(name)
            if name != "stranger":
                admin.ok("PUT", f"/api/v1/projects/closed/members/{name}", {"role": name})
            found[name] = Visitor(registry.host)
        for name in WHO[1:]:
            assert found[name].sign_in(name) == 303
        yield found


def test_every_page_has_a_row() -> None:
    service = Service(Settings(root=Path("/nonexistent")))
    others = {(route.method, route.path) for feature in FEATURES for route in feature(service)}
    offered = {(route.method, route.path) for route in install(Service(Settings(root=Path("/nonexistent"))))} - others
    assert offered == {(method, path) for _, method, path, _ in ROWS} | ELSEWHERE


@pytest.mark.parametrize("who", WHO)
def test_who_may_see_and_do_what(people: dict[str, Visitor], who: str) -> None:
    ask = people[who]
    token = ask.token if who != "anonymous" else ""
    wanted, got = {}, {}
    for kind, method, path, status in ROWS:
        name, refused = f"{method} {path}", {"x": 403, "?": 303 if method == "GET" else 401}
        wanted[name] = status if (said := CELLS[kind][who]) == "y" else refused[said]
        form = {"form_token": token} if method == "POST" else None
        got[name] = ask(method, _filled(method, path), form, Origin=ask.origin)[0]
    assert got == wanted
