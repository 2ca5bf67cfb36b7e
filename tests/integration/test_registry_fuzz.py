"""Requests made of pieces that do not fit, to every route: no answer is a 500, and the registry goes on as before."""

import contextlib
import functools
import http.client
import importlib
import json
import os
import pkgutil
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from msgspec import inspect

import onggi.registry
from onggi.registry.features import install
from onggi.registry.service import Service
from onggi.registry.settings import Oidc, Settings
from tests.integration.test_registry_sessions import Visitor
from tests.onggi_registry import INDEX, MANIFEST, OnggiRegistry, basic, digest_of

_ALL = os.environ.get("ONGGI_TESTS_WHOLE") == "1" and "ONGGI_TESTS_POSTGRES" not in os.environ  # there a sample
REQUESTS = 100_000 if _ALL else 4_000
BROKEN = REQUESTS // 4
SEED = 20261201
FURNISHED_EVERY = 500
"""So many requests later what they have deleted is made again."""
ISSUER = "http://127.0.0.1:9"
"""An OpenID provider that is not there: the routes of its log-in are."""
VALUES = [
    "library", "library/app", "app", "v1", "admin", "", "..", ".", "%00", "\x00", "a" * 300, "ÿ", "é", "𐏿", "-1", "0", "1",
    "1e9", "9" * 30, "null", "[]", "{}", "'", '"', "' OR 1=1 --", "%25", "_", "*", "?", "a/b/c", "/", "//", "\\", "+", " ",
    "sha256:" + "0" * 64, "sha256:", "sha512:" + "f" * 128, "md5:" + "0" * 32, digest_of(b"{}"), "true", "false", ":", ",",
    "repository:library/app:pull,push", "registry:catalog:*", "repository::", "text/html", MANIFEST, INDEX, "bytes=0-1",
    "bytes=-", "bytes=5-1", "bytes=0-0,2-3", f"bytes={9**18}-", "0-0", "5-1", "\u202e", "\r\nX: y", "W/\"x\"", "owner",
    "http://127.0.0.1:9/x", "https://[::1", "http://a@b", "2026-12-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31",
    "label:a=b", "package:zlib@1", "platform:linux", "digest:sha256:0123ab", "digest:x", "[", "(?:a+)+$", "**", "a" * 64,
    "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
]  # fmt: skip
FITTING = {
    "name*": ["library/app", "library/new", "library/gone"], "reference": ["v1", "v2"], "tag": ["v1", "v2"],
    "project": ["library"], "user": ["kim"], "robot": ["library+spare"],
    "hook": ["1", "2"], "remote": ["there"], "rule": ["rule"], "run": ["1"], "id": ["1"],
}  # fmt: skip
"""What is there, by the name of a path's part."""
NUMBERS = [-1, 0, 1, 2**31, 2**53, 2**63 - 1, 2**63, 10**25, 1.5, 1e308]
QUERIES = ["n", "last", "digest", "mount", "from", "scope", "service", "account", "q", "before", "artifactType", "dry_run",
           "offline_token", "client_id", "ns", "format", "problem", "package", "code", "state", "error", "kind",
           "after", "page"]  # fmt: skip
HEADERS = ["Range", "Content-Range", "If-None-Match", "If-Match", "If-Range", "If-Modified-Since", "Accept", "Origin",
           "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Content-Encoding", "Expect", "Cookie", "Connection",
           "Upgrade", "Accept-Language", "Sec-Fetch-Site", "Forwarded", "Te", "X-Real-Ip"]  # fmt: skip
GUESSED = ("/api/v1/user/password", "/token", "/sign-in", "/account/password")
"""What asks for a password in its body: a wrong one is answered by 401 too."""
FORM_FIELDS = ["name", "password", "next", "current", "new", "again", "days", "language", "theme", "back", "description",
               "confirm", "digest", "problem", "package", "reason", "until", "user", "role", "repository", "may-pull", "url",
               "repositories", "on-push", "enabled", "tags", "keep_last", "keep_days", "untagged_days", "rule", "policy",
               "dry_run", "public", "quota", "unit", "owner", "email", "admin", "disabled"]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"]
MEDIA_TYPES = ["application/json", MANIFEST, INDEX, "application/x-www-form-urlencoded", "application/octet-stream", "x",
               "application/json; charset=utf-99", "multipart/form-data; boundary=x", ""]  # fmt: skip
OUR_PEOPLE = re.compile(r"/users/(admin|owner|guest)\b|library\+ci|/members/(owner|guest)\b")
"""Paths by which a request could lock the callers out."""


def modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(onggi.registry.__path__, "onggi.registry."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


@functools.cache
def forms() -> list[type[msgspec.Struct]]:
    """Every type that the registry decodes or shows."""
    found = {
        each for module in modules() for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and each is not msgspec.Struct
    }  # fmt: skip
    return sorted(found, key=lambda each: (each.__module__, each.__qualname__))


@functools.cache
def fields() -> list[str]:
    return sorted({field for form in forms() for field in form.__struct_encode_fields__})


def document(made: random.Random, depth: int = 0) -> object:
    """JSON of the fields that our calls know, with values that they may not."""
    kind = made.randrange(9 if depth < 4 else 5)
    if kind < 3:
        return made.choice(VALUES)
    if kind < 5:
        return made.choice([None, True, False, *NUMBERS])
    if kind < 6:
        return [document(made, depth + 1) for _ in range(made.randrange(4))]
    return {made.choice(fields()): document(made, depth + 1) for _ in range(made.randrange(6))}


def fitting(made: random.Random, kind: inspect.Type, depth: int = 0) -> object:
    """A value of the type, mostly; odd ones."""
    if made.random() < 0.05 or depth > 5:
        return document(made, 3)
    match kind:
        case inspect.StructType(fields=parts):
            return {part.encode_name: fitting(made, part.type, depth + 1)
                    for part in parts if part.required or made.random() < 0.5}  # fmt: skip
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return [fitting(made, item, depth + 1) for _ in range(made.randrange(3))]
        case inspect.DictType(value_type=value):
            return {made.choice(VALUES): fitting(made, value, depth + 1) for _ in range(made.randrange(3))}
        case inspect.UnionType(types=types):
            return fitting(made, made.choice(types), depth + 1)
        case inspect.EnumType(cls=cls):
            return made.choice([str(each.value) for each in cls])
        case inspect.LiteralType(values=values):
            return made.choice(values)
        case inspect.BoolType():
            return made.random() < 0.5
        case inspect.IntType() | inspect.FloatType():
            return made.choice(NUMBERS)
        case inspect.NoneType():
            return None
        case inspect.DateTimeType():
            return made.choice(["2026-12-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
        case _:
            return made.choice(VALUES)


def body(made: random.Random) -> tuple[bytes | None, str]:
    """A body, and what it is called."""
    kind = made.randrange(8)
    if kind < 2:
        return None, ""
    if kind == 2:
        return made.randbytes(made.randrange(2000)), "application/octet-stream"
    if kind < 6:
        shape = inspect.type_info(made.choice(forms()))
        return json.dumps(fitting(made, shape)).encode(), made.choice(
            ["application/json", "application/json", MANIFEST]
        )
    if kind == 6 and made.random() < 0.2:
        deep = made.choice([10, 1_000, 100_000])
        return made.choice([b"[" * deep, b'{"a":' * deep, b'{"layers":' + b"[" * deep + b"]" * deep + b"}"]), MANIFEST
    text = json.dumps(document(made)).encode()
    if made.random() < 0.5:
        place = made.randrange(len(text) + 1)
        text = text[:place] + made.randbytes(2) + text[place:]
    return text, made.choice(MEDIA_TYPES)


def target(made: random.Random, path: str) -> str:
    right = made.random() < 0.6

    def value(found: "re.Match[str]") -> str:
        if right and found[1] in FITTING:
            return made.choice(FITTING[found[1]])
        text = made.choice(VALUES)
        return quote(text.encode(errors="surrogateescape"), safe="/:%" if made.random() < 0.5 else "")

    filled = re.sub(r"\{([^}]*)\}", value, path)
    query = "&".join(f"{made.choice(QUERIES)}={quote(made.choice(VALUES).encode(errors='surrogateescape'))}"
                     for _ in range(made.randrange(3)))  # fmt: skip
    return filled + (f"?{query}" if query else "")


def settings(host: str) -> Settings:
    return Settings(root=Path("/nonexistent"), url=f"http://{host}", oidc=Oidc(ISSUER, "registry"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    running = OnggiRegistry(
        tmp_path_factory.mktemp("fuzz"), "--log-level", "warning", "--url", f"http://{host}", "--oidc-issuer", ISSUER,
        "--oidc-client-id", "registry",
    )  # fmt: skip
    running.host = host
    with running:
        yield running


def furnish(registry: OnggiRegistry) -> None:
    """Have the things that FITTING names; what is there already is refused."""
    admin = replace(registry.admin, source="127.2.0.1")
    admin("POST", "/api/v1/projects", {"name": "library"})
    admin.image("library/app", "v1", b"x")
    admin.image("library/app", "v2", b"y", {"config": {"Labels": {"a": "b"}}})
    admin("POST", "/api/v1/users", {"name": "kim", "password": "a fine password"})
    scopes = [{"repository": "library/*", "actions": ["pull", "push", "delete", "scan"]}]
    admin("POST", "/api/v1/projects/library/robots", {"name": "spare", "scopes": scopes})
    admin("POST", "/api/v1/remotes", {"name": "there", "url": ISSUER})
    admin("POST", "/api/v1/projects/library/replication", {"name": "rule", "direction": "push", "remote": "there"})


def callers(registry: OnggiRegistry) -> list[str]:
    """Authorization headers: an administrator half the time, then all kinds of accounts, and nobody."""
    admin = registry.admin
    furnish(registry)
    for role in ("owner", "guest"):
        registry.user(role)
        admin.ok("PUT", f"/api/v1/projects/library/members/{role}", {"role": role})
    scopes = [{"repository": "library/*", "actions": ["pull", "push", "delete", "scan"]}]
    made = admin.ok("POST", "/api/v1/projects/library/robots", {"name": "ci", "scopes": scopes}).json()
    tokens = [
        "Bearer " + registry.as_(who).ok("GET", f"/token?scope={scope}").json()["token"]
        for who, scope in (("owner", "repository:library/app:*"), ("guest", "registry:catalog:*"))
    ]
    return [admin.authorization] * 6 + [
        registry.as_("owner").authorization, registry.as_("guest").authorization, basic(made["name"], made["secret"]),
        *tokens, "",
    ]  # fmt: skip


def visitors(registry: OnggiRegistry) -> list[Visitor]:
    """Browsers that are signed in, an administrator's half the time."""
    found = [Visitor(registry.host) for _ in range(4)]
    for visitor, name in zip(found, ("admin", "admin", "owner", "guest"), strict=True):
        assert visitor.sign_in(name) == 303
        visitor.form_token = visitor.token
    return found


def form(made: random.Random) -> tuple[bytes, str]:
    """What a page's form could send."""
    named = {made.choice(FORM_FIELDS): made.choice(VALUES) for _ in range(made.randrange(6))}
    return urlencode(named, errors="surrogateescape").encode(), "application/x-www-form-urlencoded"


STRANGE = ["Basic", "Basic é", "Basic !!!", basic("", ""), basic("\x00", "\x00"), basic("admin", "x" * 5000), "Bearer",
           "Bearer a.b.c", "Bearer " + "a" * 20000, "Digest x", "basic\tx", basic("library+ci", "\ud7ff"), "Bearer é.é.é",
           "Bearer eyJhbGciOiJub25lIn0.e30."]  # fmt: skip


class Line:
    """A connection that is kept, as clients keep theirs."""

    def __init__(self, host: str, source: str) -> None:
        self._connection = http.client.HTTPConnection(host, timeout=60, source_address=(source, 0))

    def ask(self, method: str, path: str, headers: dict[str, str], data: bytes | None, *, chunked: bool) -> int:
        """The status; 0 where there was none: refused before an answer, or by an early end."""
        connection = self._connection
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, text in headers.items():
                connection.putheader(name, text.encode("latin-1", "replace"))
            if data is not None and chunked:
                connection.putheader("Transfer-Encoding", "chunked")
                connection.endheaders(iter([data[:10], data[10:]]), encode_chunked=True)
            else:
                if data is not None:
                    connection.putheader("Content-Length", str(len(data)))
                connection.endheaders(data)
            answer = connection.getresponse()
            answer.read()
        except (http.client.HTTPException, ConnectionError):
            connection.close()
            return 0
        return answer.status


@pytest.mark.timeout(1200)  # all of them, on demand
def test_no_request_is_answered_by_500(registry: OnggiRegistry) -> None:
    made, known = random.Random(SEED), len(registry.log.read_text())
    routes = install(Service(settings(registry.host)))
    pages = [route for route in routes if not route.path.startswith(("/v2", "/api", "/v1", "/oidc", "/token"))]
    who = callers(registry)
    line = Line(registry.host, "127.0.0.1")
    browsers = visitors(registry)
    reached: Counter[str] = Counter()
    for number in range(REQUESTS):
        if number % FURNISHED_EVERY == FURNISHED_EVERY - 1:
            furnish(registry)
            browsers = visitors(registry)  # some have signed out, or ended the sessions of others
        route = made.choice(routes)
        method = route.method if made.random() < 0.8 else made.choice(METHODS)
        path = target(made, route.path)
        browsing = route in pages
        data, called = form(made) if browsing else body(made)
        strange = made.random() < 0.05
        authorization = made.choice(STRANGE if strange else who)
        strange |= path.startswith(GUESSED)
        headers = {"Host": registry.host} | ({"Authorization": authorization} if authorization else {})
        if called:
            headers["Content-Type"] = called
        if browsing:
            who_browses = made.choice(browsers)
            headers |= {"Cookie": who_browses.cookie, "Origin": who_browses.origin, "Accept": "text/html"}
            data = (data or b"") + f"&form_token={who_browses.form_token}".encode()
        for _ in range(made.randrange(3)):
            headers[made.choice(HEADERS)] = made.choice(VALUES).replace("\r\n", " ").replace("\x00", "0")
        if method not in ("GET", "HEAD") and OUR_PEOPLE.search(path):
            continue  # it would lock its callers out
        # Wrong credentials come from addresses of their own: who guesses is not answered for a while.
        asked = Line(registry.host, f"127.3.{number // 250 % 250}.{number % 250 + 1}") if strange else line
        status = asked.ask(method, path, headers, data, chunked=made.random() < 0.1)
        arrived = status not in (0, 403, 405, 429) and (status != 401 or path.startswith(GUESSED))
        reached[f"{route.method} {route.path}"] += method == route.method and arrived
        assert status != 500, f"number {number}: {method} {path} {headers} {data!r}\n{registry.log.read_text()[-3000:]}"
    assert "Traceback" not in registry.log.read_text()[known:]
    assert [name for name in reached if not reached[name]] == [], "no request came as far as these handlers"
    furnish(registry)
    assert replace(registry.admin, source="127.2.0.1")("GET", "/v2/library/app/manifests/v1").status == 200
    assert registry.anonymous("GET", "/readyz").status == 200


GOOD = [
    b"GET /v2/library/app/tags/list HTTP/1.1\r\nHost: {host}\r\nAuthorization: {admin}\r\n\r\n",
    b"PUT /v2/library/app/manifests/x HTTP/1.1\r\nHost: {host}\r\nAuthorization: {admin}\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v2/library/app/blobs/uploads/ HTTP/1.1\r\nHost: {host}\r\nAuthorization: {admin}\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST /token HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\n"
    b"service=a",
    b"GET http://{host}/v2/ HTTP/1.0\r\nRange: bytes=0-1\r\n\r\n",
]
PIECES = [
    b"\r\n", b"\n", b"\0", b"\r", b": ", b" ", b"\t", b"\xff", b"HTTP/1.1", b"HTTP/9.9", b"Content-Length: 3\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"Host: other\r\n", b"X: " + b"y" * 9000 + b"\r\n", b"ffffffffffffffffff\r\n", b"-3\r\n", b"0\r\n\r\n", b"%", b"%zz",
    b"//", b"/../", b"?", b"#", b"*", b"Range: bytes=\r\n", b" folded: x\r\n", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n",
]  # fmt: skip


TOGETHER = 100
_PATIENCE_S = 0.5
"""How long answers are waited for: some requests are never whole, and rightly get none."""


def _broken(made: random.Random, fill: dict[bytes, bytes]) -> bytes:
    text = made.choice(GOOD)
    for name, value in fill.items():
        text = text.replace(name, value)
    for _ in range(made.randrange(1, 4)):
        place = made.randrange(len(text) + 1)
        text = text[:place] + made.choice(PIECES) + text[place + made.choice([0, 0, 1, 5]) :]
    return text[: made.randrange(len(text))] if made.random() < 0.2 else text


def _answers(host: str, source: str, texts: list[bytes]) -> list[bytes]:
    """What each of them is answered, each on a connection of its own, side by side."""
    name, _, port = host.partition(":")
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection((name, int(port)), 60, (source, 0))) for _ in texts]
        for line, text in zip(lines, texts, strict=True):
            with contextlib.suppress(ConnectionError):  # it may hang up on what it need not read
                line.sendall(text)
        received, until = [b""] * len(lines), time.monotonic() + _PATIENCE_S
        for number, line in enumerate(lines):
            with contextlib.suppress(ConnectionError, TimeoutError, BlockingIOError):
                while True:
                    line.settimeout(max(until - time.monotonic(), 0))
                    piece = line.recv(65536)
                    received[number] += piece
                    if not piece:
                        break
        return received


@pytest.mark.timeout(1200)
def test_no_broken_request_is_answered_by_500(registry: OnggiRegistry) -> None:
    """Bytes put in, taken out and cut off, between the head's first byte and the body's last."""
    made, known = random.Random(SEED + 1), len(registry.log.read_text())
    fill = {b"{host}": registry.host.encode(), b"{admin}": registry.admin.authorization.encode()}
    furnish(registry)
    answers: Counter[bytes] = Counter()
    for number in range(0, BROKEN, TOGETHER):
        texts = [_broken(made, fill) for _ in range(TOGETHER)]
        source = f"127.5.{number // 100 % 250}.1"  # some guess at passwords
        for text, received in zip(texts, _answers(registry.host, source, texts), strict=True):
            for status in re.findall(rb"^HTTP/1\.[01] (\d+)", received, re.MULTILINE):
                answers[status] += 1
                assert status != b"500", f"number {number}: {text!r}\n{registry.log.read_text()[-3000:]}"
    assert "Traceback" not in registry.log.read_text()[known:]
    assert {b"200", b"400"} <= set(answers), answers
    assert replace(registry.admin, source="127.2.0.1")("GET", "/v2/library/app/manifests/v1").status == 200
