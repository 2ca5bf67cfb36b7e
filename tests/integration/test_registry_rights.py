"""Ways around the rights, tried on a running registry: lists, tokens, digests, memberships, passwords, pages of others.

The whole table of roles and routes is in test_registry_matrix.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from onggi.registry.permissions import Role
from tests.onggi_registry import PASSWORD, Client, OnggiRegistry, basic, digest_of, on_sqlite

LAYER = b"the layer"
WHO = ["anonymous", "stranger", *Role, "robot", "admin"]
"""Nobody, a user without a role, members, a robot with pull and push, an administrator."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("rights")) as running:
        for role in Role:
            running.user(str(role))
        running.user("stranger")
        for project, public in (("open", True), ("closed", False)):
            running.admin.ok("POST", "/api/v1/projects", {"name": project, "public": public})
            running.admin.image(f"{project}/app", "v1", LAYER)
            for role in Role:
                running.admin.ok("PUT", f"/api/v1/projects/{project}/members/{role}", {"role": role})
        yield running


@pytest.fixture(scope="module")
def people(registry: OnggiRegistry) -> dict[tuple[str, str], Client]:
    """(who, project) → client."""
    found: dict[tuple[str, str], Client] = {}
    for project in ("open", "closed"):
        scopes = [{"repository": f"{project}/*", "actions": ["pull", "push"]}]
        robot = registry.admin.ok("POST", f"/api/v1/projects/{project}/robots", {"name": "ci", "scopes": scopes}).json()
        found["robot", project] = registry.as_(robot["name"], robot["secret"])
        found["anonymous", project], found["admin", project] = registry.anonymous, registry.admin
        for name in ("stranger", *Role):
            found[name, project] = registry.as_(str(name))
    return found


@pytest.mark.parametrize("project", ["open", "closed"])
@pytest.mark.parametrize("who", WHO)
def test_lists_show_what_may_be_pulled(people: dict[tuple[str, str], Client], who: str, project: str) -> None:
    ask = people[who, project]
    sees = project == "open" or who not in ("anonymous", "stranger")
    if who == "anonymous":
        assert ask("GET", "/v2/_catalog").status == 401
    else:
        assert (f"{project}/app" in ask.ok("GET", "/v2/_catalog").json()["repositories"]) == sees
    token = ask.token("registry:catalog:*")
    assert (f"{project}/app" in token.ok("GET", "/v2/_catalog").json()["repositories"]) == sees
    for path in (
        "/api/v1/search?q=app",
        f"/api/v1/search?q=digest:{digest_of(LAYER)}",
        "/api/v1/search?q=platform:linux/amd64",
    ):
        assert (f"{project}/app" in [found["name"] for found in ask.ok("GET", path).json()]) == sees
    answer = ask("GET", "/v1/search?q=" + f"{project}/app")
    assert answer.status == (200 if sees or who != "anonymous" else 401)
    found = answer.json()["results"] if answer.status == 200 else []
    assert (f"{project}/app" in [one["name"] for one in found]) == sees
    assert (project in [one["name"] for one in ask.ok("GET", "/api/v1/projects").json()]) == sees


def test_what_was_pushed_last_is_found_first(registry: OnggiRegistry) -> None:
    """Of what one may pull."""
    for number, project in enumerate(("open", "closed", "open")):
        registry.admin.image(f"{project}/{project}-late", "v1", b"push %d" % number)
    for ask, wanted in (
        (registry.admin, ["open/open-late", "closed/closed-late"]),
        (registry.as_("stranger"), ["open/open-late", "open/app"]),
    ):
        found = ask.ok("GET", "/api/v1/search?sort=newest&n=2").json()
        assert [one["name"] for one in found] == wanted
    assert registry.admin("GET", "/api/v1/search?sort=size").status == 400


def test_a_catalogue_needs_its_own_scope(registry: OnggiRegistry) -> None:
    answer = registry.admin.token("repository:open/app:pull")("GET", "/v2/_catalog")
    assert answer.status == 401
    assert 'scope="registry:catalog:*"' in answer.headers["www-authenticate"]


def test_a_token_for_one_repository_lists_no_others(people: dict[tuple[str, str], Client]) -> None:
    """What a job was given to pull one image must not tell what else its account can see."""
    token = people["developer", "closed"].token("repository:closed/other:pull")
    for path in ("/api/v1/search?q=closed/app", "/v1/search?q=closed/app"):
        answer = token("GET", path)
        assert b"closed/app" not in answer.body.replace(b'"query":"closed/app"', b""), path
    assert "closed" not in [one["name"] for one in token.ok("GET", "/api/v1/projects").json()]
    lists = people["developer", "closed"].token("registry:catalog:*")
    assert "closed/app" in [one["name"] for one in lists.ok("GET", "/api/v1/search?q=closed/app").json()]
    assert "closed" in [one["name"] for one in lists.ok("GET", "/api/v1/projects").json()]


def test_unknown_projects_answer_as_private_ones(registry: OnggiRegistry) -> None:
    for ask in (registry.anonymous, registry.as_("stranger")):
        for path in ("/v2/{}/app/tags/list", "/api/v1/projects/{}", "/v2/{}/app/manifests/v1"):
            known, unknown = ask("GET", path.format("closed")), ask("GET", path.format("absent"))
            assert known.status == unknown.status
            assert known.body.replace(b"closed", b"absent") == unknown.body


def test_a_blob_of_another_repository_is_unknown(
    registry: OnggiRegistry, people: dict[tuple[str, str], Client]
) -> None:
    """Knowing a digest proves nothing: neither by GET nor by mount."""
    registry.admin.ok("POST", "/api/v1/projects", {"name": "mine"})
    registry.admin.ok("PUT", "/api/v1/projects/mine/members/stranger", {"role": "developer"})
    ask, secret = registry.as_("stranger"), registry.admin.blob("closed/app", b"a secret")
    ask.blob("mine/app", b"my own")
    assert ask("GET", f"/v2/mine/app/blobs/{secret}").code == "BLOB_UNKNOWN"
    for source in ("", "&from=closed/app"):
        assert ask("POST", f"/v2/mine/app/blobs/uploads/?mount={secret}{source}", b"").status == 202
    assert ask("GET", f"/v2/mine/app/blobs/{secret}").status == 404
    body = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": secret, "size": 8}, "layers": [],
    }).encode()  # fmt: skip
    put = ask("PUT", "/v2/mine/app/manifests/v1", body, {"Content-Type": "application/vnd.oci.image.manifest.v1+json"})
    assert put.code == "MANIFEST_BLOB_UNKNOWN"


def test_an_upload_belongs_to_who_began_it(registry: OnggiRegistry) -> None:
    path = registry.as_("developer").ok("POST", "/v2/closed/app/blobs/uploads/", b"").headers["location"]
    for method in ("GET", "PATCH", "DELETE"):
        assert registry.as_("owner")(method, path, b"x" if method == "PATCH" else None).code == "BLOB_UPLOAD_UNKNOWN"
    other = path.replace("closed/app", "open/app")
    assert registry.as_("developer")("GET", other).code == "BLOB_UPLOAD_UNKNOWN"
    assert registry.as_("developer")("GET", path).status == 204


def test_a_membership_that_ends_acts_at_the_next_token(registry: OnggiRegistry) -> None:
    registry.user("leaver")
    registry.admin.ok("PUT", "/api/v1/projects/closed/members/leaver", {"role": "developer"})
    ask = registry.as_("leaver")
    assert ask.token("repository:closed/app:pull")("GET", "/v2/closed/app/tags/list").status == 200
    registry.admin.ok("DELETE", "/api/v1/projects/closed/members/leaver")
    assert ask.token("repository:closed/app:pull")("GET", "/v2/closed/app/tags/list").status == 401
    assert ask("GET", "/v2/closed/app/tags/list").status == 403


def test_unknown_fields_are_refused(registry: OnggiRegistry) -> None:
    """No flag slips in by a body: not as a member of a user, a project, a robot."""
    admin = registry.admin
    answers = [
        admin("POST", "/api/v1/users", {"name": "sly", "password": PASSWORD, "is_admin": True}),
        admin("PATCH", "/api/v1/users/guest", {"password_hash": "x"}),
        registry.as_("owner")("PATCH", "/api/v1/projects/closed", {"owner_id": 1}),
        registry.as_("owner")("POST", "/api/v1/projects/closed/robots", {
            "name": "r", "scopes": [{"repository": "closed/*", "actions": ["pull"], "admin": True}]}),
    ]  # fmt: skip
    assert [answer.status for answer in answers] == [400] * 4
    assert registry.as_("owner")("PATCH", "/api/v1/projects/closed", {"quota_bytes": 0}).status == 403


@pytest.mark.parametrize(
    "scope",
    [
        {"repository": "open/*", "actions": ["pull"]}, {"repository": "*", "actions": ["pull"]},
        {"repository": "closed", "actions": ["pull"]}, {"repository": "closed/../open/*", "actions": ["pull"]},
        {"repository": "closed/*", "actions": []}, {"repository": "closed/*", "actions": ["registry"]},
        {"repository": "closed/*", "actions": ["project:members"]}, {"repository": "closed/**", "actions": ["pull"]},
    ],
)  # fmt: skip
def test_a_robots_scope_stays_in_its_project(registry: OnggiRegistry, scope: dict[str, Any]) -> None:
    answer = registry.as_("maintainer")("POST", "/api/v1/projects/closed/robots", {"name": "r", "scopes": [scope]})
    assert answer.status == 400


def test_a_robot_ends(registry: OnggiRegistry) -> None:
    scopes = [{"repository": "closed/app", "actions": ["pull"]}]
    made = registry.admin.ok("POST", "/api/v1/projects/closed/robots", {"name": "short", "scopes": scopes}).json()
    ask = registry.as_(made["name"], made["secret"])
    assert ask("GET", "/v2/closed/app/tags/list").status == 200
    assert ask("GET", "/v2/closed/other/tags/list").status == 403
    again = registry.admin.ok("POST", "/api/v1/projects/closed/robots/closed+short/secret").json()
    assert ask("GET", "/v2/closed/app/tags/list").status == 401
    assert registry.as_(made["name"], again["secret"])("GET", "/v2/closed/app/tags/list").status == 200
    registry.admin.ok("DELETE", "/api/v1/projects/closed/robots/closed+short")
    assert registry.as_(made["name"], again["secret"])("GET", "/v2/closed/app/tags/list").status == 401
    listed = registry.admin.ok("GET", "/api/v1/projects/closed/robots").body.decode()
    assert made["secret"] not in listed


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _forgeries(token: str) -> dict[str, str]:
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    more = claims | {"access": [{"type": "repository", "name": "closed/app", "actions": ["pull"]}]}
    unsigned = {
        "none": f"{_part({'alg': 'none'})}.{_part(more)}.",
        "none with our signature": f"{_part({'alg': 'none'})}.{payload}.{signature}",
        "other claims": f"{header}.{_part(more)}.{signature}",
        "empty signature": f"{header}.{payload}.",
        "padded signature": token + "=",
        "kid": f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': '/dev/null'})}.{_part(more)}.{signature}",
    }
    for key in (b"", b"onggi-registry", b"\0" * 32):
        body = f"{header}.{_part(more)}"
        made = base64.urlsafe_b64encode(hmac.digest(key, body.encode(), "sha256")).rstrip(b"=").decode()
        unsigned[f"signed by {key!r}"] = f"{body}.{made}"
    return unsigned


def test_forged_tokens(registry: OnggiRegistry) -> None:
    token = registry.as_("stranger").token("repository:open/app:pull").authorization.removeprefix("Bearer ")
    good = Client(registry.host, f"Bearer {token}")
    assert good("GET", "/v2/open/app/tags/list").status == 200
    for name, text in _forgeries(token).items():
        assert Client(registry.host, f"Bearer {text}")("GET", "/v2/closed/app/tags/list").status == 401, name
        assert Client(registry.host, f"Bearer {text}")("GET", "/v2/").status == 401, name


def test_the_challenge(registry: OnggiRegistry) -> None:
    answer = registry.anonymous("GET", "/v2/closed/app/manifests/v1")
    assert answer.headers["www-authenticate"] == (
        f'Bearer realm="http://{registry.host}/token",service="onggi-registry",scope="repository:closed/app:pull"'
    )
    for host, says in (("evil.example", registry.host), ("localhost:1", "localhost:1"), ("127.0.0.1", "127.0.0.1")):
        answer = registry.anonymous("GET", "/v2/", None, {"Host": host, "X-Forwarded-Host": "evil.example"})
        assert f'realm="http://{says}/token"' in answer.headers["www-authenticate"]


def test_refresh_tokens(registry: OnggiRegistry) -> None:
    """`docker login` with offline_token; the token ends with the password."""
    registry.user("refresher")
    answer = registry.as_("refresher").ok("GET", "/token?service=onggi-registry&offline_token=true&client_id=docker")
    refresh = answer.json()["refresh_token"]
    form = f"grant_type=refresh_token&service=onggi-registry&refresh_token={refresh}&scope=repository:open/app:pull"
    typed = {"Content-Type": "application/x-www-form-urlencoded"}
    token = registry.anonymous.ok("POST", "/token", form.encode(), typed).json()["access_token"]
    assert Client(registry.host, f"Bearer {token}")("GET", "/v2/open/app/tags/list").status == 200
    registry.as_("refresher").ok("PUT", "/api/v1/user/password", {"current": PASSWORD, "new": "another password"})
    assert registry.anonymous("POST", "/token", form.encode(), typed).status == 401


def test_password_grant(registry: OnggiRegistry) -> None:
    form = "grant_type=password&service=onggi-registry&username=guest&scope=repository:closed/app:pull,push&password="
    typed = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = registry.anonymous.ok("POST", "/token", (form + PASSWORD.replace(" ", "+")).encode(), typed)
    assert answer.json()["scope"] == "repository:closed/app:pull"
    assert registry.anonymous("POST", "/token", (form + "wrong").encode(), typed).status == 401


def test_a_one_time_password_is_good_for_nothing_else(registry: OnggiRegistry) -> None:
    registry.user("newcomer")
    registry.admin.ok("PUT", "/api/v1/users/newcomer/password", {"new": "given by admin"})
    ask = registry.as_("newcomer", "given by admin")
    for path in ("/v2/", "/v2/open/app/tags/list", "/token?service=onggi-registry"):
        answer = ask("GET", path)
        assert answer.status == 403
        assert "choose a password of your own first" in answer.message
    ask.ok("PUT", "/api/v1/user/password", {"current": "given by admin", "new": "my own choice"})
    assert registry.as_("newcomer", "my own choice")("GET", "/v2/").status == 200


@pytest.mark.parametrize("password", ["", "short", "x" * 1025, "with\0null byte"])
def test_passwords_that_nobody_gets(registry: OnggiRegistry, password: str) -> None:
    assert registry.admin("POST", "/api/v1/users", {"name": "weak", "password": password}).status == 400


def test_all_of_a_password_counts(registry: OnggiRegistry) -> None:
    """bcrypt, and what is built on it, looks at 72 bytes."""
    long = "p" * 72
    registry.admin.ok("POST", "/api/v1/users", {"name": "long", "password": long + "a"})
    assert registry.as_("long", long + "a")("GET", "/v2/").status == 200
    assert registry.as_("long", long + "b")("GET", "/v2/").status == 401
    assert registry.as_("long", long)("GET", "/v2/").status == 401


def test_guessing_is_slowed_down(registry: OnggiRegistry) -> None:
    registry.user("guessed")
    statuses = [registry.as_("guessed", f"wrong {number}")("GET", "/v2/").status for number in range(8)]
    assert statuses[:5] == [401] * 5
    assert statuses[-1] == 429
    answer = registry.as_("guessed")("GET", "/v2/")  # the right one is not told from a wrong one while it is locked
    assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
    assert 1 <= int(answer.headers["retry-after"]) <= 10


def test_guesses_that_come_at_once_are_as_few(registry: OnggiRegistry) -> None:
    """And whoever knows the password is served beside them, from another address."""
    registry.user("besieged")
    guesses = 200

    def guess(number: int) -> int:
        return signed_in_from("127.0.0.98", registry, "besieged", f"wrong {number}")

    with ThreadPoolExecutor(guesses) as pool:
        statuses = list(pool.map(guess, range(guesses)))
    assert set(statuses) == {401, 429}
    assert statuses.count(401) <= 6
    assert signed_in_from("127.0.0.98", registry, "besieged", PASSWORD) == 429
    assert signed_in_from("127.0.0.99", registry, "besieged", PASSWORD) == 200


def signed_in_from(address: str, registry: OnggiRegistry, user: str, password: str) -> int:
    """The status of a request from this address of the loopback range."""
    return replace(registry.as_(user, password), source=address)("GET", "/v2/").status


def test_nobody_without_an_administrator(registry: OnggiRegistry) -> None:
    assert registry.admin("DELETE", "/api/v1/users/admin").status == 409
    assert registry.admin("PATCH", "/api/v1/users/admin", {"admin": False}).status == 409
    assert registry.admin("PATCH", "/api/v1/users/admin", {"disabled": True}).status == 409


def test_a_disabled_user(registry: OnggiRegistry) -> None:
    ask = registry.user("gone")
    assert ask("GET", "/v2/").status == 200
    registry.admin.ok("PATCH", "/api/v1/users/gone", {"disabled": True})
    assert ask("GET", "/v2/").status == 401


def test_pages_of_other_sites_can_not_act(registry: OnggiRegistry) -> None:
    admin = registry.admin
    assert admin("POST", "/api/v1/collect", None, {"Origin": "https://evil.example"}).status == 403
    assert admin("POST", "/api/v1/collect", None, {"Origin": f"http://{registry.host}"}).status == 200
    text = admin(
        "POST", "/api/v1/users", b'{"name":"csrf","password":"a fine password"}', {"Content-Type": "text/plain"}
    )
    assert text.status == 400


def test_the_audit_log(registry: OnggiRegistry) -> None:
    registry.admin.ok("POST", "/api/v1/projects", {"name": "watched"})
    registry.admin.image("watched/app", "v1", b"bytes")
    registry.admin.ok("DELETE", "/v2/watched/app/manifests/v1")
    seen = registry.admin.ok("GET", "/api/v1/projects/watched/audit").json()
    assert [(one["actor"], one["action"], one["subject"]) for one in seen] == [
        ("admin", "delete tag", "watched/app:v1"), ("admin", "push manifest", "watched/app:v1"),
        ("admin", "create project", ""),
    ]  # fmt: skip
    registry.as_("admin", "not the password")("GET", "/v2/")
    last = registry.admin.ok("GET", "/api/v1/audit?n=1").json()[0]
    assert (last["action"], last["outcome"], last["address"]) == ("sign in", "refused", "127.0.0.1")
    everything = registry.admin.ok("GET", "/api/v1/audit?n=500").body.decode() + registry.log.read_text()
    assert PASSWORD not in everything
    assert basic("admin", PASSWORD).removeprefix("Basic ") not in everything


@on_sqlite
def test_secrets_at_rest(registry: OnggiRegistry) -> None:
    """Neither a password nor a robot's secret stands in the database; and nobody else may read it."""
    scopes = [{"repository": "closed/app", "actions": ["pull"]}]
    secret = registry.admin.ok("POST", "/api/v1/projects/closed/robots", {"name": "kept", "scopes": scopes}).json()[
        "secret"
    ]
    data = b"".join(path.read_bytes() for path in registry.root.glob("registry.db*"))
    assert secret.encode() not in data
    assert PASSWORD.encode() not in data
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in data
    assert registry.root.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in registry.root.rglob("*"))
