"""Requests made of pieces that do not fit, to every route: no answer is a 500, and the registry goes on as before."""

import http.client
import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from onggi.registry.features import install
from onggi.registry.service import Service
from onggi.registry.settings import Settings
from tests.onggi_registry import INDEX, MANIFEST, OnggiRegistry, digest_of

REQUESTS = 100_000 if os.environ.get("ONGGI_TESTS_WHOLE") == "1" else 4_000
VALUES = [
    "library", "library/app", "app", "v1", "admin", "", "..", ".", "%00", "\x00", "a" * 300, "ÿ", "é", "𐏿", "-1", "0", "1",
    "1e9", "9" * 30, "null", "[]", "{}", "'", '"', "' OR 1=1 --", "%25", "_", "*", "?", "a/b/c", "/", "//", "\\", "+", " ",
    "sha256:" + "0" * 64, "sha256:", "sha512:" + "f" * 128, "md5:" + "0" * 32, digest_of(b"{}"), "true", "false", ":", ",",
    "repository:library/app:pull,push", "registry:catalog:*", "repository::", "text/html", MANIFEST, INDEX, "bytes=0-1",
    "bytes=-", "0-0", "5-1", "\u202e", "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
]  # fmt: skip
QUERIES = ["n", "last", "digest", "mount", "from", "scope", "service", "account", "q", "before", "artifactType", "dry_run",
           "offline_token"]  # fmt: skip
HEADERS = ["Range", "Content-Range", "If-None-Match", "If-Range", "Accept", "Host", "Origin", "X-Forwarded-For",
           "X-Forwarded-Host", "Authorization", "Content-Encoding", "Expect", "Cookie"]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
FIELDS = ["name", "password", "current", "new", "admin", "email", "public", "description", "quota_bytes", "immutable",
          "retention", "role", "scopes", "days", "digest", "repositories", "tags", "keep_last", "disabled", "owner",
          "schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "size", "annotations", "events", "url",
          "grant_type", "username", "refresh_token"]  # fmt: skip


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("fuzz"), "--log-level", "warning") as running:
        running.admin.image("library/app", "v1", b"x")
        yield running


def document(made: random.Random, depth: int = 0) -> object:
    """JSON of the fields that our calls know, with values that they may not."""
    kind = made.randrange(9 if depth < 4 else 5)
    if kind < 3:
        return made.choice(VALUES)
    if kind < 5:
        return made.choice([None, True, False, -1, 0, 1, 2**31, 2**63, 10**25, 1.5, 1e308])
    if kind < 6:
        return [document(made, depth + 1) for _ in range(made.randrange(4))]
    return {made.choice(FIELDS): document(made, depth + 1) for _ in range(made.randrange(6))}


def body(made: random.Random) -> tuple[bytes | None, str]:
    """A body, and what it is called."""
    kind = made.randrange(6)
    if kind < 2:
        return None, ""
    if kind == 2:
        return made.randbytes(made.randrange(2000)), "application/octet-stream"
    text = json.dumps(document(made)).encode()
    if kind == 3:
        place = made.randrange(len(text) + 1)
        text = text[:place] + made.randbytes(2) + text[place:]
    return text, made.choice(["application/json", MANIFEST, INDEX, "application/x-www-form-urlencoded", "x", ""])


def target(made: random.Random, path: str) -> str:
    def value(_: "re.Match[str]") -> str:
        text = made.choice(VALUES)
        return quote(text.encode(errors="surrogateescape"), safe="/:%" if made.random() < 0.5 else "")

    filled = re.sub(r"\{[^}]*\}", value, path)
    query = "&".join(f"{made.choice(QUERIES)}={quote(made.choice(VALUES).encode(errors='surrogateescape'))}"
                     for _ in range(made.randrange(3)))  # fmt: skip
    return filled + (f"?{query}" if query else "")


def test_no_request_is_answered_by_500(registry: OnggiRegistry) -> None:
    made = random.Random(20261201)
    routes = install(Service(Settings(root=Path("/nonexistent"))))
    connection = http.client.HTTPConnection(registry.host, timeout=60)
    for number in range(REQUESTS):
        route = made.choice(routes)
        method = route.method if made.random() < 0.8 else made.choice(METHODS)
        path = target(made, route.path)
        data, called = body(made)
        headers = {"Authorization": registry.admin.authorization} if made.random() < 0.9 else {}
        if called:
            headers["Content-Type"] = called
        for _ in range(made.randrange(3)):
            headers[made.choice(HEADERS)] = quote(made.choice(VALUES).encode(errors="surrogateescape"), safe="/:,=*- ")
        headers["Host"] = registry.host
        if method in ("PUT", "POST", "DELETE") and ("/api/v1/users/admin" in path or path.startswith("/api/v1/user/")):
            continue  # it would lock itself out
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, text in headers.items():
                connection.putheader(name, text)
            if data is not None:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            answer.read()
        except (http.client.HTTPException, ConnectionError):
            connection.close()  # refused before there was an answer, or by an early end
            continue
        assert answer.status != 500, (
            f"number {number}: {method} {path} {headers} {data!r}\n{registry.log.read_text()[-3000:]}"
        )
    assert "Traceback" not in registry.log.read_text()
    assert registry.admin("GET", "/v2/library/app/manifests/v1").status in (200, 404)
    assert registry.anonymous("GET", "/readyz").status == 200
