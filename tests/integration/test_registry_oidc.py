"""Signing in at an OpenID Connect provider: at one that others wrote, and at one that lies."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import aiohttp
import oidc_provider_mock
import pytest
import requests

from onggi.errors import InvalidParameter
from onggi.registry.oidc import attempts, fetching
from onggi.registry.oidc import provider as provider_module
from onggi.registry.oidc.fetching import ProviderFailed
from onggi.registry.oidc.id_token import TokenRefused
from onggi.registry.oidc.provider import Provider
from onggi.registry.settings import Oidc
from tests.oidc_provider import CLIENT, SECRET, HostileProvider, Reply, registry_at
from tests.onggi_registry import PASSWORD, Answer, Client, OnggiRegistry, basic
from tests.peers import Docker, peer_socket
from tests.registry import Certificate

JSON = {"Content-Type": "application/json"}


@dataclass
class Browser:
    """Keeps cookies, goes where it is sent."""

    ask: Client
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Answer:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self.ask("GET", path, None, ({"Cookie": cookie} if cookie else {}) | headers)
        for header in answer.cookies:
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(header).items()}
        return answer

    def begin(self) -> str:
        """Where the provider's form is."""
        answer = self.get("/oidc/login")
        assert answer.status == 302, answer.body
        return answer.headers["location"]

    def back(self, location: str, **query: str) -> Answer:
        """Come back from the provider, with the state it was given unless `query` says another."""
        given = dict(parse_qsl(urlsplit(location).query))
        return self.get("/oidc/callback?" + urlencode({"state": given["state"]} | query))


def told(answer: Answer) -> tuple[str, str]:
    """The name and the secret that the page shows."""
    assert answer.status == 200, answer.body
    words = answer.body.decode().split()
    return words[2], next(word for word in words if word.startswith("onggi_"))


@pytest.fixture(scope="module")
def provider() -> Iterator[HostileProvider]:
    with HostileProvider() as running:
        yield running


@pytest.fixture(scope="module")
def served(provider: HostileProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with registry_at(tmp_path_factory.mktemp("oidc"), provider.issuer, CLIENT, SECRET) as running:
        yield running


@pytest.fixture
def registry(served: OnggiRegistry, provider: HostileProvider) -> OnggiRegistry:
    """The provider tells the truth again, and the registry has forgotten failures: it counts them in memory."""
    provider.claims, provider.userinfo, provider.metadata, provider.replies = {}, {}, {}, {}
    provider.asked = []
    served.stop()
    served.start()
    return served


@pytest.fixture
def browser(registry: OnggiRegistry) -> Browser:
    return Browser(registry.anonymous)


def test_a_provider_of_others(tmp_path: Path) -> None:
    """oidc-provider-mock (Authlib inside): registered as a client there, with a secret that it checks."""
    kim = oidc_provider_mock.User(
        sub="42", claims={"preferred_username": "kim", "groups": ["ops"], "email": "k@example.com"}
    )
    with oidc_provider_mock.run_server_in_thread(
        require_client_registration=True, require_nonce=True, user_claims=[kim]
    ) as server:
        issuer, directory = f"http://localhost:{server.server_port}", tmp_path / "r"
        directory.mkdir()
        registry = registry_at(directory, issuer, "set below", "set below", "--oidc-admin-group", "ops")
        made = requests.post(f"{issuer}/oauth2/clients", timeout=30,
                             json={"redirect_uris": [f"http://{registry.host}/oidc/callback"]}).json()  # fmt: skip
        options = list(registry.options)
        options[options.index("--oidc-client-id") + 1] = made["client_id"]
        registry.options = tuple(options)
        (directory / "client-secret").write_text(made["client_secret"])
        with registry:
            browser = Browser(registry.anonymous)
            location = browser.begin()
            form = requests.get(location, timeout=30)
            assert form.status_code == 200, form.text
            sent = requests.post(location, {"sub": "42"}, allow_redirects=False, timeout=30)
            back = parse_qs(urlsplit(sent.headers["Location"]).query)
            answer = browser.back(location, code=back["code"][0], state=back["state"][0])
            name, secret = told(answer)
            assert name == "kim"
            assert registry.as_(name, secret).ok("GET", "/api/v1/user").json() == {
                "name": "kim", "kind": "user", "admin": True, "must_change_password": False,
            }  # fmt: skip
            assert secret not in registry.log.read_text()
            assert made["client_secret"] not in registry.log.read_text()

            location = browser.begin()
            refused = requests.post(location, {"action": "deny"}, allow_redirects=False, timeout=30)
            back = parse_qs(urlsplit(refused.headers["Location"]).query)
            answer = browser.back(location, error=back["error"][0])
            assert (answer.status, answer.message) == (403, "the provider did not let you sign in: 'access_denied'")


def test_a_person_signs_in_twice_and_is_the_same(
    registry: OnggiRegistry, provider: HostileProvider, browser: Browser
) -> None:
    location = browser.begin()
    asked = dict(parse_qsl(urlsplit(location).query))
    assert location.startswith(provider.issuer + "/authorize?")
    assert asked["redirect_uri"] == f"http://{registry.host}/oidc/callback"
    assert asked["scope"] == "openid profile email"
    answer = browser.back(location, code=provider.code_for(location))
    name, secret = told(answer)
    assert name == "alice"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].startswith("text/plain")
    location = browser.begin()
    again, other = told(browser.back(location, code=provider.code_for(location)))
    assert again == name
    assert other != secret
    for good in (secret, other):
        assert registry.as_(name, good).ok("GET", "/api/v1/user").json()["name"] == name
    seen = registry.admin.ok("GET", "/api/v1/audit").json()
    assert sorted(entry["action"] for entry in seen if entry["actor"] == name) == [
        "create CLI secret", "create CLI secret", "create user", "sign in", "sign in",
    ]  # fmt: skip


def test_what_the_page_begins_ends_with_a_session_there(
    registry: OnggiRegistry, provider: HostileProvider, browser: Browser
) -> None:
    """And with no secret; only at this site, whatever the link said, and in place of whoever was signed in."""
    ended: set[str] = set()
    for asked, led in (
        ("/search?q=%C3%A9", "/search?q=%C3%A9"), ("//evil.example", "/"), ("https://evil.example/", "/"),
        ("/" + "a" * 1000, "/"), ("/sign-out", "/"),
    ):  # fmt: skip
        location = browser.get(f"/oidc/login?{urlencode({'next': asked})}").headers["location"]
        answer = browser.back(location, code=provider.code_for(location))
        assert (answer.status, answer.headers["location"]) == (303, led)
        assert answer.headers["cache-control"] == "no-store"
        assert b"onggi_" not in answer.body
        assert browser.cookies["onggi-oidc"] == ""
        assert browser.get("/account").status == 200
        for token in ended:
            assert registry.anonymous("GET", "/account", None, {"Cookie": f"onggi-session={token}"}).status == 401
        ended.add(browser.cookies["onggi-session"])
    assert len(ended) == 5
    assert registry.anonymous("GET", "/api/v1/user", None, {"Cookie": f"onggi-session={ended.pop()}"}).status == 401
    registry.admin.ok("PATCH", "/api/v1/users/alice", {"disabled": True})
    assert browser.get("/account").status == 401
    location = browser.get("/oidc/login?next=/account").headers["location"]
    assert browser.back(location, code=provider.code_for(location)).status == 403
    registry.admin.ok("PATCH", "/api/v1/users/alice", {"disabled": False})


def test_the_cookie_is_for_this_browser_alone(browser: Browser) -> None:
    header = browser.get("/oidc/login").headers["set-cookie"]
    assert "HttpOnly" in header
    assert "SameSite=Lax" in header
    for site in ("cross-site", "same-site"):
        refused = browser.get("/oidc/login", **{"Sec-Fetch-Site": site})
        assert refused.status == 403
        assert "another site has sent you here" in refused.message


def test_an_answer_of_another_browser_or_of_before_is_refused(
    registry: OnggiRegistry, provider: HostileProvider, browser: Browser
) -> None:
    stranger = Browser(registry.anonymous)
    theirs = stranger.begin()
    location = browser.begin()
    # Log-in CSRF: somebody else's answer, in this browser.
    assert "this browser began" in browser.back(theirs, code=provider.code_for(theirs)).message
    assert "this browser began" in Browser(registry.anonymous).back(location, code=provider.code_for(location)).message
    assert "this browser began" in browser.back(location, code="x", state="").message
    kept = dict(browser.cookies)
    code = provider.code_for(location)
    told(browser.back(location, code=code))
    browser.cookies = kept
    assert browser.back(location, code=code).message == "this log-in is done already: begin another at /oidc/login"
    assert provider.asked.count("/token") == 1, "an answer that is not right asks the provider nothing"


def test_another_issuer_answers(provider: HostileProvider, browser: Browser) -> None:
    location = browser.begin()
    assert browser.back(location, code=provider.code_for(location), iss="https://evil.example.com").status == 400
    location = browser.begin()
    told(browser.back(location, code=provider.code_for(location), iss=provider.issuer))


def test_an_issuer_that_promises_to_name_itself_does(provider: HostileProvider, browser: Browser) -> None:
    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    location = browser.begin()
    assert browser.back(location, code=provider.code_for(location)).status == 400


@pytest.mark.parametrize(
    ("claims", "why"),
    [({"iss": "https://evil.example.com"}, "another issuer made it"), ({"aud": "other"}, "it is for another client"),
     ({"nonce": "other"}, "it belongs to another log-in"), ({"exp": 1}, "it has expired; are the clocks right?"),
     ({"sub": None}, "it lacks sub")],
    ids=["issuer", "audience", "nonce", "expired", "nobody"],
)  # fmt: skip
def test_a_token_that_is_not_right_lets_nobody_in(
    provider: HostileProvider, browser: Browser, claims: dict[str, Any], why: str
) -> None:
    provider.claims = claims
    location = browser.begin()
    answer = browser.back(location, code=provider.code_for(location))
    assert (answer.status, answer.message) == (401, f"the provider's token is not taken: {why}")


def test_keys_are_kept_and_not_asked_for_all_the_time(provider: HostileProvider, browser: Browser) -> None:
    location = browser.begin()
    told(browser.back(location, code=provider.code_for(location)))
    fetched = provider.asked.count("/keys")
    location = browser.begin()
    told(browser.back(location, code=provider.code_for(location)))
    assert provider.asked.count("/keys") == fetched, "they are kept"
    provider.new_key()
    location = browser.begin()
    answer = browser.back(location, code=provider.code_for(location))
    # Within a minute of the last fetch they are not fetched again: a liar would have us ask all the time.
    assert "no such key" in answer.message


async def claims_of(asked: Provider, hostile: HostileProvider) -> Any:
    """What signing in there tells, without a registry."""
    attempt, _ = attempts.begin(b"k" * 32)
    location = "?" + urlencode({"redirect_uri": "http://r", "nonce": attempt.nonce, "code_challenge": attempt.challenge,
                                "code_challenge_method": "S256"})  # fmt: skip
    return await asked.claims(hostile.code_for(location), attempt, "http://r")


def test_keys_are_changed_without_a_word(provider: HostileProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    provider.claims, provider.metadata, provider.replies = {}, {}, {}

    async def main() -> None:
        asked = Provider(Oidc(provider.issuer, CLIENT, SECRET))
        assert (await claims_of(asked, provider))["sub"] == "u1"
        provider.new_key()
        with pytest.raises(TokenRefused, match="no such key"):
            await claims_of(asked, provider)
        monkeypatch.setattr(provider_module, "KEYS_AGAIN_S", -1.0)  # a minute later
        assert (await claims_of(asked, provider))["sub"] == "u1"

    asyncio.run(main())


def test_the_provider_is_known_by_its_certificate(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    with HostileProvider(certificate) as hostile:

        async def main() -> None:
            assert (await claims_of(Provider(Oidc(hostile.issuer, CLIENT, SECRET, ca_file=certificate.path)), hostile))[
                "sub"
            ]
            with pytest.raises(ProviderFailed, match="can't be asked: ClientConnectorCertificateError"):
                await Provider(Oidc(hostile.issuer, CLIENT, SECRET)).metadata()

        asyncio.run(main())
    with pytest.raises(InvalidParameter, match="can't use the certificates"):
        Provider(Oidc(hostile.issuer, CLIENT, SECRET, ca_file=certificate.key))


def test_a_name_is_found_in_userinfo_of_the_same_person_only(provider: HostileProvider, browser: Browser) -> None:
    provider.claims = {"preferred_username": None, "sub": "u7"}
    provider.userinfo = {"sub": "u7", "preferred_username": "dora"}
    location = browser.begin()
    assert told(browser.back(location, code=provider.code_for(location)))[0] == "dora"
    provider.userinfo = {"sub": "u8", "preferred_username": "admin"}
    location = browser.begin()
    assert "userinfo is of somebody else" in browser.back(location, code=provider.code_for(location)).message


def test_wrong_codes_are_slowed_down(provider: HostileProvider, browser: Browser) -> None:
    statuses = []
    for _ in range(33):
        location = browser.begin()
        statuses.append(browser.back(location, code="guessed").status)
    assert statuses[:30] == [401] * 30
    assert statuses[-1] == 429


def test_disabled_and_named_alike(registry: OnggiRegistry, provider: HostileProvider, browser: Browser) -> None:
    registry.user("erin")
    provider.claims = {"sub": "u9", "preferred_username": "erin"}
    location = browser.begin()
    name, secret = told(browser.back(location, code=provider.code_for(location)))
    assert name == "erin-2"
    registry.admin.ok("PATCH", "/api/v1/users/erin-2", {"disabled": True})
    assert registry.as_(name, secret)("GET", "/api/v1/user").status == 401
    location = browser.begin()
    assert browser.back(location, code=provider.code_for(location)).message == (
        "the account erin-2 is disabled: ask an administrator"
    )


def test_identities_are_linked_by_administrators(
    registry: OnggiRegistry, provider: HostileProvider, browser: Browser
) -> None:
    frank = registry.user("frank")
    path = "/api/v1/users/frank/identities"
    assert frank("PUT", path, {"subject": "u10"}).status == 403
    registry.admin.ok("PUT", path, {"subject": "u10"})
    provider.claims = {"sub": "u10", "preferred_username": "somebody"}
    location = browser.begin()
    assert told(browser.back(location, code=provider.code_for(location)))[0] == "frank"
    assert [entry["subject"] for entry in registry.admin.ok("GET", path).json()] == ["u10"]
    registry.user("grace")
    taken = registry.admin("PUT", "/api/v1/users/grace/identities", {"subject": "u10"})
    assert (taken.status, taken.message) == (409, "this identity is linked to the user 'frank' already")
    registry.admin.ok("DELETE", path + "?subject=u10")
    assert registry.admin("DELETE", path + "?subject=u10").status == 404


def too_much() -> Reply:
    return 200, JSON, b'{"x": "' + b"x" * 2_000_000 + b'"}'


def elsewhere() -> Reply:
    return 302, {"Location": "http://127.0.0.1:1/secret"}, b""


@pytest.mark.parametrize(
    ("path", "reply", "why"),
    [("/.well-known/openid-configuration", too_much, "answers more than 1048576 bytes"),
     ("/.well-known/openid-configuration", elsewhere, "its metadata answers 302"),
     ("/.well-known/openid-configuration", lambda: (200, JSON, b"[" * 100_000), "answers what OpenID Connect does not know"),
     ("/.well-known/openid-configuration", lambda: (500, JSON, b"secret trace"), "its metadata answers 500"),
     ("/token", too_much, "answers more than"), ("/token", elsewhere, "its token endpoint answers 302"),
     ("/token", lambda: (200, JSON, b'{"access_token": "x"}'), "does not know"),
     ("/keys", lambda: (200, JSON, b'{"keys": [1]}'), "does not know"), ("/keys", elsewhere, "its keys answers 302")],
)  # fmt: skip
def test_answers_out_of_bounds(
    provider: HostileProvider, browser: Browser, path: str, reply: Callable[[], Reply], why: str
) -> None:
    provider.replies[path] = reply
    answer = browser.get("/oidc/login")
    if answer.status == 302:
        answer = browser.back(answer.headers["location"], code=provider.code_for(answer.headers["location"]))
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert why in answer.message
    assert "secret" not in answer.message


@pytest.mark.parametrize(
    ("metadata", "why"),
    [({"issuer": "https://evil.example.com"}, "it calls itself 'https://evil.example.com'"),
     ({"authorization_endpoint": "javascript:alert(1)"}, "authorization endpoint"),
     ({"token_endpoint": "http://169.254.169.254/latest/meta-data"}, "must be reached by https://"),
     ({"token_endpoint": "https://169.254.169.254/latest/meta-data"}, "is not on the public network"),
     ({"token_endpoint": "https://[::ffff:10.0.0.1]/"}, "is not on the public network"),
     ({"jwks_uri": "https://localhost:1/keys"}, "is not on the public network"),
     ({"jwks_uri": "file:///etc/passwd"}, "is no URL of a host"),
     ({"token_endpoint": "https://user:pass@10.0.0.1/"}, "holds no user, password or fragment")],
)  # fmt: skip
def test_metadata_that_lead_elsewhere(
    provider: HostileProvider, browser: Browser, metadata: dict[str, Any], why: str
) -> None:
    provider.metadata = metadata
    answer = browser.get("/oidc/login")
    if answer.status == 302:
        answer = browser.back(answer.headers["location"], code=provider.code_for(answer.headers["location"]))
    assert answer.status == 503
    assert why in answer.message


def test_a_provider_that_never_answers_holds_nobody_for_ever(
    provider: HostileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late() -> Reply:
        provider.released.wait(60)
        return 200, JSON, b"{}"

    assert fetching.TIMEOUT.total == 10
    monkeypatch.setattr(fetching, "TIMEOUT", aiohttp.ClientTimeout(total=0.3))
    provider.replies = {"/.well-known/openid-configuration": late}
    with pytest.raises(ProviderFailed, match="its metadata did not answer in time"):
        asyncio.run(Provider(Oidc(provider.issuer, CLIENT, SECRET)).metadata())
    provider.released.set()


def test_a_cli_secret_is_no_password(registry: OnggiRegistry, provider: HostileProvider, browser: Browser) -> None:
    provider.claims = {"sub": "u11", "preferred_username": "henry"}
    location = browser.begin()
    name, secret = told(browser.back(location, code=provider.code_for(location)))
    ask = registry.as_(name, secret)
    mine = "/api/v1/user/cli-secrets"
    refused = ask("POST", mine, {"name": "another"})
    assert (refused.status, "makes no other" in refused.message) == (403, True)
    assert ask("PUT", "/api/v1/user/password", {"current": secret, "new": PASSWORD}).status == 401
    assert registry.as_(name, "")("GET", "/api/v1/user").status == 401, "who has no password has not the empty one"

    (entry,) = ask.ok("GET", mine).json()
    assert "secret" not in entry
    assert entry["used_at"]
    offline = ask.ok("GET", f"/token?service={registry.host}&offline_token=true&client_id=docker").json()[
        "refresh_token"
    ]
    form = urlencode({"grant_type": "refresh_token", "service": registry.host, "refresh_token": offline}).encode()
    sent = {"Content-Type": "application/x-www-form-urlencoded"}
    registry.anonymous.ok("POST", "/token", form, sent)
    bearer = ask.ok("GET", f"/token?service={registry.host}").json()["token"]
    by_token = Client(registry.host, f"Bearer {bearer}")
    assert by_token("GET", mine).status == 403, "a token shows and makes none"
    ask.ok("DELETE", f"{mine}/{entry['id']}")
    assert ask("GET", mine).status == 401
    assert registry.anonymous("POST", "/token", form, sent).status == 401, "what was made with it ends with it"


def test_a_password_makes_cli_secrets_of_ones_own(registry: OnggiRegistry) -> None:
    ivy, jack = registry.user("ivy"), registry.user("jack")
    mine = "/api/v1/user/cli-secrets"
    made = ivy.ok("POST", mine, {"name": "laptop", "days": 7}).json()
    assert Client(registry.host, basic("ivy", made["secret"])).ok("GET", "/api/v1/user").json()["name"] == "ivy"
    assert registry.as_("jack", made["secret"])("GET", "/api/v1/user").status == 401
    assert jack("DELETE", f"{mine}/{made['id']}").status == 404
    assert jack("DELETE", f"{mine}/none").status == 404
    assert jack.ok("GET", mine).json() == []
    for wrong in ({"name": ""}, {"name": "x", "days": 0}, {"name": "x", "days": 367}, {"name": "x", "more": 1}):
        assert ivy("POST", mine, wrong).status == 400
    assert registry.anonymous("GET", mine).status == 401


def test_docker_signs_in_with_a_cli_secret(
    registry: OnggiRegistry, provider: HostileProvider, browser: Browser, tmp_path: Path
) -> None:
    provider.claims = {"sub": "u12", "preferred_username": "kate"}
    location = browser.begin()
    name, secret = told(browser.back(location, code=provider.code_for(location)))
    docker = Docker(peer_socket())
    config = ("--config", str(tmp_path / "config"))
    wrong = docker(*config, "login", "-u", name, "--password-stdin", registry.host, input=secret[:-1])
    assert "incorrect username or password" in wrong.stderr
    right = docker(*config, "login", "-u", name, "--password-stdin", registry.host, input=secret)
    assert "Login Succeeded" in right.stdout, right.stderr
