"""Sessions and forms of the page, without a browser: what a hostile site, or a thief, would send."""

import http.client
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.onggi_registry import PASSWORD, OnggiRegistry
from tests.registry import Certificate

HTML = {"Accept": "text/html"}


class Visitor:
    """Sends what it is told, and keeps the session's cookie."""

    def __init__(self, host: str) -> None:
        self.host, self.cookie = host, ""
        self.form_token = ""
        """What `token` gave, where somebody kept it."""

    def __call__(
        self, method: str, path: str, form: dict[str, str] | str | bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        sent = HTML | {"Cookie": self.cookie} | {name.replace("_", "-"): text for name, text in headers.items()}
        if form is not None:
            sent = {"Content-Type": "application/x-www-form-urlencoded"} | sent
        connection = http.client.HTTPConnection(self.host, timeout=30)
        connection.request(method, path, urlencode(form) if isinstance(form, dict) else form, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if (cookie := answer.getheader("Set-Cookie")) and cookie.startswith("onggi-session="):
            self.cookie = cookie.partition(";")[0]
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text

    @property
    def origin(self) -> str:
        return f"http://{self.host}"

    def sign_in(self, name: str, password: str = PASSWORD) -> int:
        return self("POST", "/sign-in", {"name": name, "password": password}, Origin=self.origin)[0]

    @property
    def token(self) -> str:
        found = re.search(r'name="form_token" value="([0-9a-f]{64})"', self("GET", "/account")[2])
        assert found is not None
        return found[1]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("sessions")) as running:
        yield running


@pytest.fixture
def admin(registry: OnggiRegistry) -> Visitor:
    visitor = Visitor(registry.host)
    assert visitor.sign_in("admin") == 303
    return visitor


def test_a_form_needs_its_sessions_token_and_must_come_from_here(registry: OnggiRegistry, admin: Visitor) -> None:
    good = {"name": "made", "form_token": admin.token}
    other = Visitor(registry.host)
    registry.user("eve")
    assert other.sign_in("eve") == 303
    tries = [
        ({"name": "made"}, {"Origin": admin.origin}),
        ({"name": "made", "form_token": other.token}, {"Origin": admin.origin}),
        (good, {"Origin": "https://evil.example"}),
        (good, {"Origin": "null"}),
        (good, {"Sec_Fetch_Site": "cross-site"}),
        (good, {"Sec_Fetch_Site": "same-site"}),
        (good, {}),
    ]
    for form, headers in tries:
        assert admin("POST", "/new-project", form, **headers)[0] == 403, headers
    assert admin("POST", "/new-project", good, Origin=admin.origin, Content_Type="text/plain")[0] == 400
    assert registry.admin("GET", "/api/v1/projects/made").status == 404
    assert admin("POST", "/new-project", good, Origin=admin.origin)[0] == 303


def test_the_cookie_is_no_credential_of_the_api(registry: OnggiRegistry, admin: Visitor) -> None:
    connection = http.client.HTTPConnection(registry.host, timeout=30)
    connection.request("GET", "/api/v1/users", headers={"Cookie": admin.cookie})
    assert connection.getresponse().status == 401
    connection.close()


def test_authorization_is_no_credential_of_the_page(registry: OnggiRegistry) -> None:
    visitor = Visitor(registry.host)
    status, headers, _ = visitor("GET", "/users", Authorization=registry.admin.authorization)
    assert (status, headers["location"]) == (303, "/sign-in?next=%2Fusers")


def test_a_page_says_what_it_may_load(admin: Visitor) -> None:
    _, headers, _ = admin("GET", "/")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "'unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize("how", ["password", "disabled", "deleted", "elsewhere"])
def test_a_session_ends_with(registry: OnggiRegistry, how: str) -> None:
    name = f"ends-by-{how}"
    person = registry.user(name)
    visitor, thief = Visitor(registry.host), Visitor(registry.host)
    assert visitor.sign_in(name) == 303
    thief.cookie = visitor.cookie
    assert thief("GET", "/account")[0] == 200
    match how:
        case "password":
            person.ok("PUT", "/api/v1/user/password", {"current": PASSWORD, "new": "something else"})
        case "disabled":
            registry.admin.ok("PATCH", f"/api/v1/users/{name}", {"disabled": True})
        case "deleted":
            registry.admin.ok("DELETE", f"/api/v1/users/{name}")
        case "elsewhere":
            other = Visitor(registry.host)
            assert other.sign_in(name) == 303
            token = other.token
            assert other("POST", "/account/sessions/end", {"form_token": token}, Origin=other.origin)[0] == 303
            assert other("GET", "/account")[0] == 200
    assert thief("GET", "/account")[0] == 303


def test_signing_in_gives_a_new_session_and_ends_the_one_that_was(registry: OnggiRegistry, admin: Visitor) -> None:
    """So a session that somebody planted is worth nothing."""
    before, token = admin.cookie, admin.token
    registry.user("frank")
    form = {"name": "frank", "password": PASSWORD, "form_token": token}
    assert admin("POST", "/sign-in", form, Origin=admin.origin)[0] == 303
    assert admin.cookie != before
    planted = Visitor(registry.host)
    planted.cookie = before
    assert planted("GET", "/account")[0] == 303


def test_guesses_are_throttled_as_those_of_clients_are(registry: OnggiRegistry) -> None:
    registry.user("guessed")
    visitor = Visitor(registry.host)
    tries = [
        visitor("POST", "/sign-in", {"name": "guessed", "password": f"wrong {number}"}, Origin=visitor.origin)
        for number in range(8)
    ]
    assert tries[0][0] == 401
    status, headers, text = tries[-1]
    assert status == 429
    assert int(headers["retry-after"]) > 0
    assert "Too many failed attempts" in text


def test_robots_and_cli_secrets_open_no_page(registry: OnggiRegistry) -> None:
    registry.user("gail")
    gail = registry.as_("gail")
    secret = gail.ok("POST", "/api/v1/user/cli-secrets", {"name": "pipeline", "days": 5}).json()["secret"]
    registry.admin.ok("POST", "/api/v1/projects", {"name": "robots"})
    robot = registry.admin.ok("POST", "/api/v1/projects/robots/robots", {
        "name": "ci", "days": 5, "scopes": [{"repository": "robots/*", "actions": ["pull"]}],
    }).json()  # fmt: skip
    assert Visitor(registry.host).sign_in("gail", secret) == 401
    assert Visitor(registry.host).sign_in(robot["name"], robot["secret"]) == 401


def test_who_sees_nothing_of_a_project_is_told_nothing_of_it(registry: OnggiRegistry) -> None:
    """The same answer for a private project and for none."""
    registry.admin.ok("POST", "/api/v1/projects", {"name": "secret"})
    registry.admin.image("secret/app", "v1", b"layer")
    registry.user("henry")
    henry = Visitor(registry.host)
    assert henry.sign_in("henry") == 303
    for tail in ("", "/members", "/webhooks", "/policy"):
        there, nowhere = henry("GET", f"/projects/secret{tail}"), henry("GET", f"/projects/nosuch{tail}")
        assert there[0] == nowhere[0] == 403
        assert there[2].replace("secret", "nosuch") == nowhere[2]
    there, nowhere = henry("GET", "/repositories/secret/app"), henry("GET", "/repositories/nosuch/app")
    assert there[2].replace("secret/", "nosuch/") == nowhere[2]


def test_who_asks_for_the_head_alone_gets_it(registry: OnggiRegistry, admin: Visitor) -> None:
    """As monitors do."""
    status, headers, text = admin("HEAD", "/projects/library")
    assert (status, text) == (200, "")
    assert int(headers["content-length"]) > 0
    assert admin("HEAD", "/nothing")[0] == 404
    assert admin("HEAD", "/sign-out")[0] == 405


def test_other_clients_get_json(registry: OnggiRegistry) -> None:
    connection = http.client.HTTPConnection(registry.host, timeout=30)
    connection.request("GET", "/nothing", headers={"Accept": "*/*"})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Content-Type")) == (404, "application/json")
    connection.close()


def test_a_browser_is_asked_for_a_password_by_the_page_alone(registry: OnggiRegistry) -> None:
    """A challenge would open the browser's own box."""
    visitor = Visitor(registry.host)
    for form, status in ({"name": "made"}, 401), (None, 303):
        method = "GET" if form is None else "POST"
        answer = visitor(method, "/new-project", form, Origin=visitor.origin)
        assert answer[0] == status
        assert "www-authenticate" not in answer[1]


def test_by_https_the_cookie_is_this_hosts_alone(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path / "tls")
    trusting = ssl.create_default_context(cafile=str(certificate.path))
    options = ("--tls-cert", str(certificate.path), "--tls-key", str(certificate.key))
    with OnggiRegistry(tmp_path, *options, context=trusting) as registry:
        form = urlencode({"name": "admin", "password": PASSWORD}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"https://{registry.host}"}
        cookie = registry.anonymous.ok("POST", "/sign-in", form, headers).headers["set-cookie"]
        assert cookie.startswith("__Host-onggi-session=")
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= parts
        assert not any(part.startswith("domain") for part in parts)
        # The name that a page in the clear could set is none here.
        plain = {"Cookie": cookie.partition(";")[0].replace("__Host-", ""), "Accept": "text/html"}
        assert registry.anonymous("GET", "/account", None, plain).status == 303
        assert registry.anonymous("GET", "/account", None, {"Cookie": cookie.partition(";")[0]}).status == 200
        elsewhere = headers | {"Origin": f"http://{registry.host}"}
        assert registry.anonymous("POST", "/sign-in", form, elsewhere).status == 403


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(("path", "fields", "said"), [
    ("/account/secrets", b"name=%FF", "a form is text in UTF-8"),
    ("/account/secrets", b"name=\xff", "a form is text in UTF-8"),
    ("/account/secrets", b"&".join(b"f%d=" % number for number in range(101)), "of at most 100 fields"),
    ("/account/secrets", b"name=a&days=" + b"9" * 5000, "number of days is a whole number"),
    ("/account/secrets", b"name=a&days=never", "number of days is a whole number"),
    ("/projects/library/policy", b"policy=" + b"[" * 50_000, "his is no JSON"),
    ("/projects/library/policy", b"policy=" + b"9" * 5000, "his is no JSON"),
])  # fmt: skip
def test_a_form_that_makes_no_sense_is_refused_in_words(admin: Visitor, path: str, fields: bytes, said: str) -> None:
    status, _, text = admin("POST", path, b"form_token=" + admin.token.encode() + b"&" + fields, Origin=admin.origin)
    assert status == 400, text
    assert said.lower() in text.lower()


@pytest.mark.parametrize("charset", ["punycode", "utf-16", "nonsense", "zlib_codec"])
def test_a_form_is_utf_8_whatever_it_says(admin: Visitor, charset: str) -> None:
    """`charset` would choose among all of Python's codecs: some fail, and some take a very long time."""
    status, headers, text = admin("POST", "/account/secrets/1000/delete", {"form_token": admin.token}, Origin=admin.origin,
                                  Content_Type=f"{FORM}; charset={charset}")  # fmt: skip
    assert status == 404, (headers, text)


@pytest.mark.parametrize("number", ["%D9%A1", "001", "1000", "x"])
def test_a_webhook_has_one_address(registry: OnggiRegistry, admin: Visitor, number: str) -> None:
    registry.admin.ok("POST", "/api/v1/projects/library/webhooks", {"url": "https://example.com/hook"})
    assert admin("GET", f"/projects/library/webhooks/{number}")[0] in (400, 404)
