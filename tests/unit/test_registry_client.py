"""Parts of the registry client that need no registry."""

import asyncio
import json
import ssl
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from onggi.distribution.address import AddressRefused, Scope, beside, scope_of
from onggi.distribution.challenge import Challenge, parse_challenges
from onggi.distribution.client import retry_after
from onggi.distribution.credentials import Credentials, decode_config_header, decode_header
from onggi.distribution.endpoint import Endpoints, RegistryOptions
from onggi.distribution.failure import answer
from onggi.distribution.http import Deadlines, Http
from onggi.distribution.warning import sentences
from onggi.errors import Forbidden, InvalidParameter, NotFound, System, Unauthorized, Unavailable
from onggi.images.progress import LayerRow, bar, human_size


@pytest.mark.parametrize(
    ("headers", "challenges"),
    [
        (['Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"'],
         [Challenge("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"})]),
        (['Basic realm="x y"'], [Challenge("basic", {"realm": "x y"})]),
        (["Basic realm=x, Bearer realm=y"], [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})]),
        (['BASIC Realm="a\\"b"'], [Challenge("basic", {"realm": 'a"b'})]),
        (["Negotiate"], [Challenge("negotiate", {})]),
        (["", "Basic realm=x"], [Challenge("basic", {"realm": "x"})]),
        (['Bearer realm="unclosed'], [Challenge("bearer", {})]),
    ],
)  # fmt: skip
def test_challenges(headers: list[str], challenges: list[Challenge]) -> None:
    assert parse_challenges(headers) == challenges


@given(st.lists(st.text(alphabet='Bearer realm="=,\\ \t', max_size=200), max_size=3))
def test_any_challenge_is_read(headers: list[str]) -> None:
    parse_challenges(headers)


@pytest.mark.parametrize(
    ("address", "scope"),
    [
        ("8.8.8.8", Scope.PUBLIC), ("2606:4700::1", Scope.PUBLIC), ("10.0.0.1", Scope.PRIVATE), ("172.20.0.1", Scope.PRIVATE),
        ("192.168.0.1", Scope.PRIVATE), ("100.64.0.1", Scope.PRIVATE), ("fd12::1", Scope.PRIVATE), ("127.9.9.9", Scope.LOOPBACK),
        ("::1", Scope.LOOPBACK), ("::ffff:127.0.0.1", Scope.LOOPBACK), ("169.254.169.254", Scope.FORBIDDEN),
        ("fe80::1%eth0", Scope.FORBIDDEN), ("fd00:ec2::254", Scope.FORBIDDEN), ("0.0.0.0", Scope.FORBIDDEN),
        ("::", Scope.FORBIDDEN), ("224.0.0.1", Scope.FORBIDDEN), ("64:ff9b::7f00:1", Scope.LOOPBACK),
        ("2002:7f00:1::", Scope.LOOPBACK), ("64:ff9b::a9fe:a9fe", Scope.FORBIDDEN), ("100.100.100.200", Scope.FORBIDDEN),
    ],
)  # fmt: skip
def test_scopes(address: str, scope: Scope) -> None:
    assert scope_of(address) == scope


def test_places_beside_a_registry() -> None:
    assert beside(["8.8.8.8"]) == {Scope.PUBLIC}
    assert beside(["127.0.0.1"]) == {Scope.PUBLIC, Scope.LOOPBACK}
    assert beside(["10.0.0.1", "fe80::1"]) == {Scope.PUBLIC, Scope.PRIVATE}


@pytest.mark.parametrize(
    ("status", "body", "challenges", "kind", "words"),
    [
        (404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {"Tag": "x"}}]}, [],
         NotFound, "manifest unknown: manifest unknown"),
        (401, {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]},
         [Challenge("bearer", {"error": "insufficient_scope"})], Forbidden,
         "errors:\ndenied: requested access to the resource is denied\nunauthorized: authentication required\n"),
        (401, {"details": "incorrect username or password"}, [], Unauthorized, "unauthorized: incorrect username or password"),
        (403, b"<html>", [], Forbidden, "denied: requested access to the resource is denied"),
        (429, {"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit."}]}, [],
         Unavailable, "toomanyrequests: You have reached your pull rate limit."),
        (500, b"", [], System, "received unexpected HTTP status: 500 Reason"),
        (400, {"errors": [{"code": "ODD\x1b", "message": "words"}]}, [], InvalidParameter, "unknown: words"),
        (418, {"errors": []}, [], System, "received unexpected HTTP status: 418 Reason"),
    ],
)  # fmt: skip
def test_answers(status: int, body: object, challenges: list[Challenge], kind: type, words: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = answer(status, "Reason", content, challenges)
    assert isinstance(error, kind)
    assert str(error) == words


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        ("90", "toomanyrequests: too many requests (the registry asks to wait 90 seconds)"),
        ("21600", "toomanyrequests: too many requests (the registry asks to wait 6 hours)"),
        ("Fri, 31 Dec 2060 23:59:59 GMT", "toomanyrequests: too many requests (the registry asks to wait 3"),
        ("soon", "toomanyrequests: too many requests"),
    ],
)
def test_a_limit_is_told_with_its_end(wait: str, words: str) -> None:
    error = answer(429, "", b"")
    error.retry_after_s = retry_after(wait)
    assert str(error).startswith(words)


def header(document: object) -> str:
    return urlsafe_b64encode(json.dumps(document).encode()).decode()


def test_credentials_of_a_header() -> None:
    full = {"username": "alice", "password": "secret?>", "email": "x", "serveraddress": "quay.io"}
    assert decode_header(header(full)) == Credentials("alice", "secret?>", server_address="quay.io")
    assert decode_header(header(full).rstrip("=")) == decode_header(header(full))
    assert decode_header(b64encode(json.dumps(full).encode()).decode()) == decode_header(header(full))
    auth = {"auth": b64encode(b"bob:a:b").decode()}
    assert decode_header(header(auth)) == Credentials("bob", "a:b")
    assert decode_header(header({"identitytoken": "t", "username": None})) == Credentials(identity_token="t")
    for nothing in ("", header({}), header(None), header({"serveraddress": "x"})):
        assert decode_header(nothing) is None
    assert decode_config_header(header({"quay.io": full, "x": {}})) == {
        "quay.io": Credentials("alice", "secret?>", server_address="quay.io")
    }


@pytest.mark.parametrize("value", ["!!!", "c2VjcmV0", header([]), header({"auth": "c2VjcmV0"}), "c2VjcmV0" * 10_000])
def test_malformed_headers_are_refused_without_their_bytes(value: str) -> None:
    with pytest.raises(InvalidParameter, match=r"^invalid X-Registry-Auth header: ") as caught:
        decode_header(value)
    assert "secret" not in str(caught.value)
    assert value not in str(caught.value)


def test_credentials_are_not_shown() -> None:
    assert "secret" not in repr(Credentials("alice", "secret", "secret", "secret"))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (97, "97B"),
        (1100, "1.1kB"),
        (36445, "36.45kB"),
        (1099026, "1.099MB"),
        (2129920, "2.13MB"),
        (10**12, "1TB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("current", "total", "text"),
    [
        (36445, 1099026, "[=>                                                 ]  36.45kB/1.099MB"),
        (1099026, 1099026, "[==================================================>]  1.099MB/1.099MB"),
        (141, 141, "[==================================================>]     141B/141B"),
        (2129920, 1982358, "[==================================================>]   2.13MB"),
        (38912, 1982358, "[>                                                  ]  38.91kB/1.982MB"),
        (5, 0, "      5B"),
    ],
)
def test_bars_are_docker_s(current: int, total: int, text: str) -> None:
    assert bar(current, total) == text


def test_row_tells_latecomers_its_latest_line_and_leaves_out_what_comes_too_fast() -> None:
    first: list[dict[str, Any]] = []
    second: list[dict[str, Any]] = []
    row = LayerRow("abc")
    row.watch(first.append)
    row.say("Pulling fs layer")
    for current in range(100):
        row.move("Downloading", current, 100)
    row.watch(second.append)
    row.move("Downloading", 100, 100)
    row.leave(first.append)
    row.say("Pull complete")
    assert [line["status"] for line in second] == ["Downloading", "Downloading", "Pull complete"]
    assert [line["progressDetail"].get("current") for line in first] == [None, 0, 100]


def found(registry: str, **options: object) -> list[str]:
    endpoints = Endpoints(RegistryOptions(**options))  # type: ignore[arg-type]
    return [
        f"{endpoint.base} {'verified' if endpoint.tls.verify_mode == ssl.CERT_REQUIRED else 'any'}"
        for endpoint in asyncio.run(endpoints.of(registry, mirrors=True))
    ]


def test_endpoints() -> None:
    assert found("192.0.2.1:5000") == ["https://192.0.2.1:5000 verified"]
    assert found("127.0.0.1:5000") == ["https://127.0.0.1:5000 any", "http://127.0.0.1:5000 any"]
    assert found("127.0.0.1") == ["https://127.0.0.1 any", "http://127.0.0.1 any"]
    assert found("192.0.2.1:5000", insecure=["192.0.2.1:5000"])[1:] == ["http://192.0.2.1:5000 any"]
    assert found("192.0.2.1:5000", insecure=["192.0.2.0/24"])[1:] == ["http://192.0.2.1:5000 any"]
    assert found("192.0.2.1:5001", insecure=["192.0.2.1:5000"]) == ["https://192.0.2.1:5001 verified"]
    assert found("127.0.0.1:5000", insecure=[]) == ["https://127.0.0.1:5000 verified"]


def test_a_registry_s_own_name_stays_in_its_place() -> None:
    """Looked up again it may not lead elsewhere; what only the user may name is asked wherever it is."""

    def allowed(registry: str, url: str) -> set[Scope] | None:
        (endpoint, *_) = asyncio.run(Endpoints(RegistryOptions()).of(registry))
        scopes = endpoint.allowed(URL(url))
        return None if scopes is None else set(scopes)

    assert allowed("8.8.8.8", "https://8.8.8.8/v2/") == {Scope.PUBLIC}
    assert allowed("10.1.1.1", "https://10.1.1.1:99/token") == {Scope.PUBLIC, Scope.PRIVATE}
    assert allowed("169.254.1.1", "https://169.254.1.1/v2/") is None
    assert allowed("169.254.1.1", "https://169.254.169.254/v2/") == {Scope.PUBLIC}


def test_mirrors_come_first_and_only_for_docker_hub() -> None:
    mirrors = ["https://192.0.2.9/base"]
    assert [line.split()[0] for line in found("docker.io", mirrors=mirrors)] == [
        "https://192.0.2.9/base", "https://registry-1.docker.io",
    ]  # fmt: skip
    assert [line.split()[0] for line in found("192.0.2.1", mirrors=mirrors)] == ["https://192.0.2.1"]
    for bad in ("ftp://x", "x", "https://u@x", "https://x?a", "https://"):
        with pytest.raises(InvalidParameter, match=r"^invalid mirror: "):
            Endpoints(RegistryOptions(mirrors=[bad]))


def test_certificates_of_a_registry(tmp_path: Path) -> None:
    directory = tmp_path / "192.0.2.1:5000"
    directory.mkdir()
    (directory / "client.cert").write_text("x")
    with pytest.raises(System) as caught:
        found("192.0.2.1:5000", certificates=[tmp_path])
    assert str(caught.value) == (
        "missing key client.key for client certificate client.cert. CA certificates must use the extension .crt"
    )
    (directory / "client.cert").unlink()
    (directory / "ca.crt").write_text("x")
    with pytest.raises(System, match=r"ca\.crt can't be used: "):
        found("192.0.2.1:5000", certificates=[tmp_path])


def test_hosts_file_names_mirrors_of_any_registry(tmp_path: Path) -> None:
    directory = tmp_path / "192.0.2.1:5000"
    directory.mkdir()
    (directory / "hosts.toml").write_text(
        """
        server = "https://192.0.2.2"
        [host."https://192.0.2.3:8443/base"]
          capabilities = ["pull"]
          skip_verify = true
        [host."192.0.2.4"]
        [host."https://192.0.2.5"]
          capabilities = ["push"]
        """
    )
    assert found("192.0.2.1:5000", certificates=[tmp_path]) == [
        "https://192.0.2.3:8443/base any", "https://192.0.2.4 verified", "https://192.0.2.2 verified",
    ]  # fmt: skip
    assert found("192.0.2.9", certificates=[tmp_path]) == ["https://192.0.2.9 verified"]
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default" / "hosts.toml").write_text('[host."https://192.0.2.7"]')
    assert found("192.0.2.9", certificates=[tmp_path]) == ["https://192.0.2.7 verified", "https://192.0.2.9 verified"]
    endpoints = asyncio.run(Endpoints(RegistryOptions(certificates=[tmp_path])).of("192.0.2.1:5000", mirrors=True))
    assert [(endpoint.mirror, endpoint.resolves) for endpoint in endpoints] == [
        (True, False),
        (True, True),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("server = 1", "Expected `str | null`, got `int` - at `$.server`"),
        ('[host."https://a"]\noverride_path = true',
         "Object contains unknown field `override_path` - at `$.host[...]`"),
        ('[host."ftp://a"]', "'ftp://a' is no http or https URL"),
        ('[host."https://a"]\ncapabilities = ["fly"]', "unknown capability 'fly'"),
        ('ca = "x"', "settings of the server, but no server"),
        ("[", "Invalid "),
    ],
)  # fmt: skip
def test_hosts_files_that_are_not_understood(tmp_path: Path, text: str, words: str) -> None:
    directory = tmp_path / "192.0.2.1"
    directory.mkdir()
    (directory / "hosts.toml").write_text(text)
    with pytest.raises(System) as caught:
        found("192.0.2.1", certificates=[tmp_path])
    assert str(caught.value).startswith(f"{directory / 'hosts.toml'} can't be understood: {words}")


def test_names_are_checked_after_the_look_up() -> None:
    """A public name that means this machine gains nothing: no connection is made."""

    async def ask() -> None:
        http = Http(Deadlines(), ssl.create_default_context())
        try:
            async with http.request(
                "GET", URL("http://localhost:9/x"), tls=http.verified, allowed=frozenset({Scope.PUBLIC}), headers={}
            ):
                raise AssertionError
        finally:
            await http.close()

    with pytest.raises(AddressRefused) as caught:
        asyncio.run(ask())
    assert str(caught.value) == "refused: the registry refers to localhost, a loopback address that is not its own"


def test_warnings_of_a_registry() -> None:
    assert [*sentences(['299 - "a \\"b\\" \\\\ c", 299 - "and \x1b[31mmore"', '199 - "not for people"', "299 - unquoted"])] == [
        'a "b" \\ c', "and \\x1b[31mmore",
    ]  # fmt: skip
    assert [*sentences(['299 - "' + "\\" * 100_000])] == []
