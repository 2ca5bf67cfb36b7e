"""A project that is a cache of another registry (Debian's docker-registry): what it fetches, keeps, gives out and refuses."""

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.conditions import until
from tests.onggi_registry import INDEX, MANIFEST, Answer, Client, OnggiRegistry, digest_of
from tests.registry import Registry, TokenServer, Uploader, basic, push_image
from tests.upstream import Before

CONTENT = bytes(range(256)) * 4096
"""A megabyte: several pieces."""


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("behind")) as running:
        yield running


@pytest.fixture(scope="module")
def before(behind: Registry) -> Iterator[Before]:
    with Before(behind.host) as running:
        yield running


@pytest.fixture
def upstream(before: Before) -> Before:
    before.clear()
    return before


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, before: Before) -> Iterator[OnggiRegistry]:
    options = ("--remote-network", "127.0.0.0/8", "--mirror", "hub")
    with OnggiRegistry(tmp_path_factory.mktemp("cache"), *options) as running:
        running.admin.ok("POST", "/api/v1/remotes", {"name": "behind", "url": before.url})
        running.admin.ok("POST", "/api/v1/projects", {"name": "hub", "public": True})
        running.admin.ok("PUT", "/api/v1/projects/hub/upstream", {"remote": "behind", "check_s": 0})
        yield running


@pytest.fixture
def ask(registry: OnggiRegistry) -> Client:
    return registry.anonymous


@pytest.fixture
def image(behind: Registry, request: pytest.FixtureRequest) -> str:
    """A repository of one test's own at the upstream, with an image `v1` whose layer is CONTENT and its name."""
    name: str = "team/" + request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")[:80]
    push_image(behind.host, name, "v1", [CONTENT + name.encode()], compression="none")
    return name


def _layer(ask: Client, name: str) -> str:
    document = ask.ok("GET", f"/v2/hub/{name}/manifests/v1").json()
    return str(document["layers"][0]["digest"])


def _stored(registry: OnggiRegistry, name: str) -> list[Any]:
    found: list[Any] = registry.admin.ok("GET", f"/api/v1/repositories/hub/{name}/-/manifests").json()
    return found


def test_what_is_pulled_is_fetched_once(ask: Client, upstream: Before, image: str) -> None:
    for _ in range(3):
        layer = _layer(ask, image)
        answer = ask.ok("GET", f"/v2/hub/{image}/blobs/{layer}")
        assert answer.body == CONTENT + image.encode()
        assert "warning" not in answer.headers
    assert upstream.count("GET", "/manifests/") == 1
    assert upstream.count("HEAD", "/manifests/v1") == 2, "what a tag means is asked again"
    assert upstream.count("GET", "/blobs/") == 1


def test_by_digest_the_upstream_is_asked_once(ask: Client, upstream: Before, image: str) -> None:
    digest = ask.ok("HEAD", f"/v2/hub/{image}/manifests/v1").headers["docker-content-digest"]
    upstream.clear()
    assert ask.ok("GET", f"/v2/hub/{image}/manifests/{digest}").headers["docker-content-digest"] == digest
    assert upstream.requests == []


def test_a_moved_tag_is_followed(ask: Client, upstream: Before, behind: Registry, image: str) -> None:
    first = ask.ok("GET", f"/v2/hub/{image}/manifests/v1").headers["docker-content-digest"]
    second = push_image(behind.host, image, "v1", [b"another"], compression="none").digest
    assert ask.ok("GET", f"/v2/hub/{image}/manifests/v1").headers["docker-content-digest"] == second != first


def test_a_tag_is_believed_for_a_while(registry: OnggiRegistry, ask: Client, upstream: Before, image: str) -> None:
    registry.admin.ok("PUT", "/api/v1/projects/hub/upstream", {"remote": "behind", "check_s": 3600})
    try:
        for _ in range(5):
            ask.ok("GET", f"/v2/hub/{image}/manifests/v1")
        assert upstream.count("GET", "/manifests/") + upstream.count("HEAD", "/manifests/") == 1
    finally:
        registry.admin.ok("PUT", "/api/v1/projects/hub/upstream", {"remote": "behind", "check_s": 0})


def test_one_fetch_for_many(ask: Client, upstream: Before, image: str) -> None:
    """Twenty clients want a blob while half of it is here: all get that half at once, and the rest as it comes."""
    layer = _layer(ask, image)
    go_on = threading.Event()
    upstream.on("GET", layer, hold=go_on)
    size = len(CONTENT) + len(image)
    got_half = [threading.Event() for _ in range(20)]

    def pull(number: int) -> bytes:
        connection = http.client.HTTPConnection(ask.host, timeout=60)
        connection.request("GET", f"/v2/hub/{image}/blobs/{layer}")
        reply = connection.getresponse()
        assert reply.getheader("Content-Length") == str(size)
        data = reply.read(size // 4)
        got_half[number].set()
        data += reply.read()
        connection.close()
        return data

    with ThreadPoolExecutor(20) as threads:
        pulls = [threads.submit(pull, number) for number in range(20)]
        assert all(event.wait(30) for event in got_half), "nobody waits for the whole blob"
        go_on.set()
        assert {digest_of(one.result()) for one in pulls} == {layer}
    assert upstream.count("GET", layer) == 1


def test_ranges_of_what_is_on_its_way(ask: Client, upstream: Before, image: str) -> None:
    layer = _layer(ask, image)
    answer = ask.ok("GET", f"/v2/hub/{image}/blobs/{layer}", headers={"Range": "bytes=1000-1999"})
    assert (answer.status, answer.body) == (206, CONTENT[1000:2000])
    assert answer.headers["content-range"] == f"bytes 1000-1999/{len(CONTENT) + len(image)}"
    answer = ask.ok("GET", f"/v2/hub/{image}/blobs/{layer}", headers={"Range": "bytes=5-"})
    assert answer.body == CONTENT[5:] + image.encode()
    assert upstream.count("GET", layer) == 1


def test_what_breaks_off_goes_on_where_it_was(ask: Client, upstream: Before, image: str) -> None:
    layer = _layer(ask, image)
    upstream.on("GET", layer, cut_after=600_000)
    assert digest_of(ask.ok("GET", f"/v2/hub/{image}/blobs/{layer}").body) == layer
    assert upstream.count("GET", layer) == 2


def test_other_bytes_are_never_given_out_whole_nor_kept(
    registry: OnggiRegistry, ask: Client, upstream: Before, image: str
) -> None:
    layer = _layer(ask, image)
    upstream.on("GET", layer, change=lambda data: data[:-5] + b"wrong")
    with pytest.raises(http.client.IncompleteRead):
        ask("GET", f"/v2/hub/{image}/blobs/{layer}")
    assert digest_of(ask.ok("GET", f"/v2/hub/{image}/blobs/{layer}").body) == layer, "the next fetch is a new one"
    assert upstream.count("GET", layer) == 2
    # The bytes go with the upload's row: nothing is left that nobody names.
    checked = registry.command("fsck")
    assert checked.returncode == 0, checked.stdout


def test_a_wrong_manifest_is_refused(ask: Client, upstream: Before, behind: Registry, image: str) -> None:
    other = push_image(behind.host, image, "v2", [b"other"], compression="none")
    upstream.on("GET", f"/manifests/{other.digest}", change=lambda data: data.replace(b"layers", b"LAYERS"))
    answer = ask("GET", f"/v2/hub/{image}/manifests/{other.digest}")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert "verification failed" in answer.message
    ask.ok("GET", f"/v2/hub/{image}/manifests/{other.digest}")


def test_without_the_upstream_what_is_here_is_given_out(
    registry: OnggiRegistry, tmp_path: Path, behind: Registry
) -> None:
    admin = registry.admin
    with Registry(tmp_path / "short") as short:
        push_image(short.host, "app", "v1", [b"kept"], compression="none")
        push_image(short.host, "app", "v2", [b"not kept"], compression="none")
        admin.ok("POST", "/api/v1/remotes", {"name": "short", "url": f"http://{short.host}"})
        admin.ok("POST", "/api/v1/projects", {"name": "short"})
        admin.ok("PUT", "/api/v1/projects/short/upstream", {"remote": "short", "check_s": 0})
        layer = admin.ok("GET", "/v2/short/app/manifests/v1").json()["layers"][0]["digest"]
        admin.ok("GET", f"/v2/short/app/blobs/{layer}")
    answer = admin.ok("GET", "/v2/short/app/manifests/v1")
    assert answer.headers["warning"].startswith('299 - "the upstream 127.0.0.1:')
    assert admin.ok("GET", f"/v2/short/app/blobs/{layer}").body == b"kept"
    assert admin.ok("GET", "/v2/short/app/tags/list").json()["tags"] == ["v1"]
    answer = admin("GET", "/v2/short/app/manifests/v2")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert "can't be reached" in answer.message


def test_too_many_requests(ask: Client, upstream: Before, image: str) -> None:
    upstream.on("GET", "/manifests/", status=429, headers={"Retry-After": "42"})
    answer = ask("GET", f"/v2/hub/{image}/manifests/v1")
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "TOOMANYREQUESTS", "42")
    ask.ok("GET", f"/v2/hub/{image}/manifests/v1")
    upstream.on("HEAD", "/manifests/", status=429, headers={"Retry-After": "42"})
    assert "299" in ask.ok("GET", f"/v2/hub/{image}/manifests/v1").headers["warning"]


def test_what_the_upstream_has_not(ask: Client, upstream: Before, behind: Registry, image: str) -> None:
    answer = ask("GET", f"/v2/hub/{image}/manifests/nothing")
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    answer = ask("GET", f"/v2/hub/{image}/blobs/{digest_of(b'nothing')}")
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
    # A tag that was deleted there is no more here either.
    digest = ask.ok("GET", f"/v2/hub/{image}/manifests/v1").headers["docker-content-digest"]
    with Uploader(behind.host, image) as upload:
        assert upload.request("DELETE", f"/v2/{image}/manifests/{digest}")[0] == 202
    assert ask("GET", f"/v2/hub/{image}/manifests/v1").status == 404


def test_lists_are_the_upstreams(ask: Client, upstream: Before, behind: Registry, image: str) -> None:
    for tag in ("a", "b", "c"):
        push_image(behind.host, image, tag, [tag.encode()], compression="none")
    assert ask.ok("GET", f"/v2/hub/{image}/tags/list").json()["tags"] == ["a", "b", "c", "v1"]
    page = ask.ok("GET", f"/v2/hub/{image}/tags/list?n=2")
    assert page.json()["tags"] == ["a", "b"]
    assert page.headers["link"] == f'</v2/hub/{image}/tags/list?n=2&last=b>; rel="next"'
    assert ask.ok("GET", f"/v2/hub/{image}/tags/list?n=2&last=b").json()["tags"] == ["c", "v1"]


def test_referrers_by_the_tag_that_stands_in(ask: Client, upstream: Before, behind: Registry, image: str) -> None:
    """docker-registry keeps no list: clients keep one as a tag."""
    subject = ask.ok("HEAD", f"/v2/hub/{image}/manifests/v1").headers["docker-content-digest"]
    entry = {"mediaType": MANIFEST, "digest": digest_of(b"x"), "size": 1, "artifactType": "application/example"}
    with Uploader(behind.host, image) as upload:
        entry["digest"] = upload.manifest("signature", {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": upload.blob(b"{}"), "size": 2},
            "layers": [],
        })  # fmt: skip
        upload.manifest(
            subject.replace(":", "-"), {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, INDEX
        )
    assert ask.ok("GET", f"/v2/hub/{image}/referrers/{subject}").json()["manifests"] == [entry]
    assert ask.ok("GET", f"/v2/hub/{image}/referrers/{subject}?artifactType=other").json()["manifests"] == []
    ask.ok("GET", f"/v2/hub/{image}/manifests/{entry['digest']}")


def test_an_index_and_one_of_its_images(
    registry: OnggiRegistry, upstream: Before, behind: Registry, image: str
) -> None:
    """Only what is pulled is fetched; a check of the store knows that the rest may be missing."""
    one = push_image(behind.host, image, "one", [b"one"], compression="none")
    two = push_image(behind.host, image, "two", [b"two"], compression="none")
    entries = [
        {"mediaType": MANIFEST, "digest": each.digest, "size": 1, "platform": {"os": "linux", "architecture": name}}
        for each, name in ((one, "amd64"), (two, "arm64"))
    ]
    with Uploader(behind.host, image) as upload:
        upload.manifest("both", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)
    ask = registry.anonymous
    assert len(ask.ok("GET", f"/v2/hub/{image}/manifests/both").json()["manifests"]) == 2
    ask.ok("GET", f"/v2/hub/{image}/manifests/{one.digest}")
    ask.ok("GET", f"/v2/hub/{image}/blobs/{one.layers[0]}")
    assert {row["digest"] for row in _stored(registry, image)} & {one.digest, two.digest} == {one.digest}
    assert registry.command("fsck").returncode == 0


def test_pushes_are_refused(registry: OnggiRegistry, image: str) -> None:
    for method, path in (
        ("POST", f"/v2/hub/{image}/blobs/uploads/"),
        ("PUT", f"/v2/hub/{image}/manifests/v1"),
        ("POST", f"/v2/hub/{image}/blobs/uploads/?mount={digest_of(b'x')}&from=library/x"),
    ):
        answer = registry.admin(method, path, b"{}", {"Content-Type": MANIFEST})
        assert (answer.status, answer.code) == (405, "UNSUPPORTED")
        assert "is a cache of" in answer.message


def test_a_mirror_of_names_without_project(registry: OnggiRegistry, upstream: Before, behind: Registry) -> None:
    """As docker's registry-mirrors ask; what is of a project here never goes to the upstream."""
    push_image(behind.host, "library/app", "v1", [b"the upstream's"], compression="none")
    push_image(behind.host, "team/secret", "v1", [b"the upstream's"], compression="none")
    registry.admin.ok("POST", "/api/v1/projects", {"name": "team"})
    ask = registry.anonymous.token("repository:library/app:pull")
    layer = ask.ok("GET", "/v2/library/app/manifests/v1").json()["layers"][0]["digest"]
    assert ask.ok("GET", f"/v2/library/app/blobs/{layer}").body == b"the upstream's"
    upstream.clear()
    assert registry.admin("GET", "/v2/team/secret/manifests/v1").status == 404
    assert upstream.requests == [], "a name of our own is told to nobody"
    registry.admin.image("library/app", "v1", b"ours")
    layer = registry.admin.ok("GET", "/v2/library/app/manifests/v1").json()["layers"][0]["digest"]
    assert layer == digest_of(b"ours")
    pusher = registry.admin.token("repository:library/new:pull,push")
    pusher.ok("POST", "/v2/library/new/blobs/uploads/", b"")


def test_credentials_of_another_registry(registry: OnggiRegistry, upstream: Before, behind: Registry) -> None:
    """Docker sends its mirrors what it has for Docker Hub: that is not looked at, whatever it is, and tells nothing."""
    push_image(behind.host, "library/theirs", "v1", [b"theirs"], compression="none")
    theirs = registry.as_("bob", "a password for Docker Hub")
    for _ in range(40):  # more often than an address may be wrong
        token = theirs.token("repository:library/theirs:pull")
    token.ok("GET", "/v2/library/theirs/manifests/v1")
    # A right password gets no more that way than none.
    assert (
        registry.admin.token("repository:library/theirs:pull,push")(
            "DELETE", "/v2/hub/library/theirs/manifests/v1"
        ).status
        == 401
    )
    # For a repository of ours it does matter, with it or alone.
    registry.admin.image("library/mine", "v1", b"mine")
    for scope in (
        "scope=repository:library/mine:pull",
        "scope=repository:library/mine:pull&scope=repository:library/theirs:pull",
        "",
    ):
        assert theirs("GET", f"/token?service=onggi-registry&{scope}").status == 401


def test_a_mirror_by_namespace(registry: OnggiRegistry, upstream: Before, image: str) -> None:
    """As containerd asks."""
    answer = registry.anonymous.ok("GET", f"/v2/{image}/manifests/v1?ns={upstream.host}")
    assert answer.headers["docker-content-digest"]
    assert upstream.count("GET", f"/v2/{image}/manifests/v1") == 1


def test_credentials_go_to_the_upstream_and_nowhere_else(registry: OnggiRegistry, tmp_path: Path) -> None:
    admin = registry.admin
    with (
        TokenServer(tmp_path / "tokens", {"bob": "bob's secret"}) as tokens,
        Registry(tmp_path / "locked", tokens=tokens) as locked,
    ):
        push_image(locked.host, "private/app", "v1", [b"locked"], authorization=_bearer(tokens, "private/app"))
        for name, account in (("locked", {"username": "bob", "password": "bob's secret"}), ("nobody", {})):
            admin.ok("POST", "/api/v1/remotes", {"name": name, "url": f"http://{locked.host}", **account})
            admin.ok("POST", "/api/v1/projects", {"name": name})
            admin.ok("PUT", f"/api/v1/projects/{name}/upstream", {"remote": name, "prefix": "private"})
        admin.ok("POST", "/api/v1/remotes/locked/check")
        layer = admin.ok("GET", "/v2/locked/app/manifests/v1").json()["layers"][0]["digest"]
        admin.ok("GET", f"/v2/locked/app/blobs/{layer}")
        answer = admin("GET", "/v2/nobody/app/manifests/v1")
        assert (answer.status, answer.code) == (403, "DENIED")
        shown = b"".join(
            admin.ok("GET", path).body
            for path in ("/api/v1/remotes", "/api/v1/projects/locked/upstream", "/api/v1/audit", "/api/v1/jobs")
        )
        assert b"secret" not in shown
        assert "bob's secret" not in registry.log.read_text()


class Thief(BaseHTTPRequestHandler):
    """An upstream that sends the account elsewhere, or gives back what it was shown."""

    realm = ""
    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        shown = self.headers.get("Authorization", "")
        self.seen.append(f"{self.headers['Host']} {self.path} {shown}")
        body = json.dumps({"errors": [{"code": "DENIED", "message": f"you sent {shown}"}]}).encode()
        self.send_response(403 if shown else 401)
        if self.realm:
            self.send_header("WWW-Authenticate", f'Bearer realm="{self.realm}",service="s"')
        elif not shown:
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def thief() -> Iterator[str]:
    """Its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Thief)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Thief.realm = ""
    Thief.seen.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "realm",
    ["http://169.254.169.254/token", "http://127.0.0.2:{port}/token", "http://localhost.example.invalid/token",
     "file:///etc/passwd", "http://user:word@127.0.0.1:{port}/token", "http://[::ffff:127.0.0.2]:{port}/token"],
)  # fmt: skip
def test_a_token_server_elsewhere_is_not_shown_the_account(tmp_path: Path, thief: str, realm: str) -> None:
    Thief.realm = realm.format(port=thief.rpartition(":")[2])
    with OnggiRegistry(tmp_path, "--remote-network", "127.0.0.1/32") as running:
        admin = running.admin
        admin.ok(
            "POST", "/api/v1/remotes", {"name": "there", "url": thief, "username": "bob", "password": "hidden word"}
        )
        admin.ok("POST", "/api/v1/projects", {"name": "hub"})
        admin.ok("PUT", "/api/v1/projects/hub/upstream", {"remote": "there"})
        answer = admin("GET", "/v2/hub/team/app/manifests/v1")
        assert answer.status in (403, 503)
        account = basic("bob", "hidden word")
        assert [asked for asked in Thief.seen if "/token" in asked or account in asked] == []
        assert b"hidden word" not in answer.body


def test_what_an_upstream_gives_back_of_the_account_is_not_shown(tmp_path: Path, thief: str) -> None:
    """Some echo what they were sent: whoever may pull through the cache would read the account's password."""
    with OnggiRegistry(tmp_path, "--remote-network", "127.0.0.1/32") as running:
        admin = running.admin
        admin.ok(
            "POST", "/api/v1/remotes", {"name": "there", "url": thief, "username": "bob", "password": "hidden word"}
        )
        admin.ok("POST", "/api/v1/projects", {"name": "hub", "public": True})
        admin.ok("PUT", "/api/v1/projects/hub/upstream", {"remote": "there"})
        answer = running.anonymous("GET", "/v2/hub/team/app/manifests/v1")
        assert answer.status == 403
        account = basic("bob", "hidden word")
        assert [asked for asked in Thief.seen if account in asked] != []  # it has been shown it
        assert "you sent Basic (hidden)" in answer.message
        for text in (answer.body.decode(), running.log.read_text()):
            assert account.partition(" ")[2] not in text
            assert "hidden word" not in text


def _bearer(tokens: TokenServer, name: str) -> str:
    assert tokens.account(basic("bob", "bob's secret")) == "bob"
    return "Bearer " + tokens.sign("bob", "onggi-test", [f"repository:{name}:pull,push"])


def test_places_that_are_not_allowed(tmp_path: Path, behind: Registry) -> None:
    """Without --remote-network nothing of this machine or its network is asked, by whatever name."""
    port = behind.host.rpartition(":")[2]
    with OnggiRegistry(tmp_path / "closed") as closed:
        admin = closed.admin
        for number, host in enumerate(
            (behind.host, f"localhost:{port}", f"[::ffff:127.0.0.1]:{port}", "169.254.169.254")
        ):
            name = f"r{number}"
            admin.ok("POST", "/api/v1/remotes", {"name": name, "url": f"http://{host}"})
            admin.ok("POST", "/api/v1/projects", {"name": name})
            admin.ok("PUT", f"/api/v1/projects/{name}/upstream", {"remote": name})
            answer = admin("GET", f"/v2/{name}/team/app/manifests/v1")
            assert answer.status == 503, host
            assert "--remote-network" in answer.message


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"url": "ftp://x"}, "a remote is https://"),
        ({"url": "https://user:password@x"}, "a remote is https://"),
        ({"url": "https://x/path"}, "a remote is https://"),
        ({"url": "http://x.example", "username": "a", "password": "b"}, "in the clear"),
        ({"url": "https://x", "username": "a"}, "belong together"),
        ({"url": "https://x", "password": "a"}, "belong together"),
    ],
)
def test_remotes_that_are_refused(registry: OnggiRegistry, given: dict[str, str], sentence: str) -> None:
    answer = registry.admin("POST", "/api/v1/remotes", {"name": "bad", **given})
    assert answer.status == 400
    assert sentence in answer.message


def test_only_an_empty_project_becomes_a_cache(registry: OnggiRegistry, upstream: Before) -> None:
    admin = registry.admin
    admin.ok("POST", "/api/v1/projects", {"name": "full"})
    admin.image("full/app", "v1", b"pushed")
    answer = admin("PUT", "/api/v1/projects/full/upstream", {"remote": "behind"})
    assert answer.status == 409
    assert "make a new project" in answer.message
    answer = admin("DELETE", "/api/v1/remotes/behind")
    assert answer.status == 409
    assert "the cache hub" in answer.message


def test_ended_it_keeps_whole_images_only(
    registry: OnggiRegistry, upstream: Before, behind: Registry, image: str
) -> None:
    admin = registry.admin
    admin.ok("POST", "/api/v1/projects", {"name": "ending"})
    admin.ok("PUT", "/api/v1/projects/ending/upstream", {"remote": "behind"})
    push_image(behind.host, image, "part", [b"a part"], compression="none")
    document = admin.ok("GET", f"/v2/ending/{image}/manifests/v1").json()
    for digest in (document["config"]["digest"], document["layers"][0]["digest"]):
        admin.ok("GET", f"/v2/ending/{image}/blobs/{digest}")
    admin.ok("GET", f"/v2/ending/{image}/manifests/part")
    admin.ok("DELETE", "/api/v1/projects/ending/upstream")
    assert admin.ok("GET", f"/v2/ending/{image}/tags/list").json()["tags"] == ["v1"]
    assert registry.command("fsck").returncode == 0
    admin.image(f"ending/{image}", "v2", b"pushed")


def test_a_full_cache_lets_the_least_used_go(registry: OnggiRegistry, upstream: Before, behind: Registry) -> None:
    admin = registry.admin
    admin.ok("POST", "/api/v1/projects", {"name": "small"})
    admin.ok("PUT", "/api/v1/projects/small/upstream", {"remote": "behind", "limit_bytes": 3_000_000})
    size = 1_000_000
    for number in range(5):
        push_image(behind.host, "team/many", f"v{number}", [bytes([number]) * size], compression="none")

    def pull(tag: str) -> str:
        layer = str(admin.ok("GET", f"/v2/small/team/many/manifests/{tag}").json()["layers"][0]["digest"])
        assert len(admin.ok("GET", f"/v2/small/team/many/blobs/{layer}").body) == size
        return layer

    def used() -> int:
        return int(admin.ok("GET", "/api/v1/projects/small").json()["used_bytes"])

    first = pull("v0")
    for number in range(1, 5):
        pull(f"v{number}")
    until(lambda: used() <= 3_000_000)
    upstream.clear()
    assert pull("v4")
    assert upstream.count("GET", "/blobs/") == 0, "the last is kept"
    assert pull("v0") == first
    assert upstream.count("GET", first) == 1, "the first is fetched again"


def test_kill_9_in_the_midst(tmp_path: Path, upstream: Before, behind: Registry, image: str) -> None:
    """Nothing half is ever given out, and nothing is left that nobody names."""
    with OnggiRegistry(tmp_path / "killed", "--remote-network", "127.0.0.0/8", "--upload-age", "1s") as registry:
        admin = registry.admin
        admin.ok("POST", "/api/v1/remotes", {"name": "behind", "url": upstream.url})
        admin.ok("POST", "/api/v1/projects", {"name": "hub"})
        admin.ok("PUT", "/api/v1/projects/hub/upstream", {"remote": "behind"})
        layer = _layer(admin, image)
        go_on = threading.Event()
        upstream.on("GET", layer, hold=go_on)
        with ThreadPoolExecutor(1) as threads:
            pull = threads.submit(admin, "GET", f"/v2/hub/{image}/blobs/{layer}")
            assert upstream.halfway.wait(30)
            registry.kill()
            go_on.set()
            with pytest.raises((http.client.HTTPException, OSError)):
                pull.result()
        registry.start()
        assert digest_of(registry.admin.ok("GET", f"/v2/hub/{image}/blobs/{layer}").body) == layer
        until(lambda: "upload" not in registry.command("fsck").stdout)
        assert registry.command("fsck").returncode == 0


def test_who_leaves_does_not_end_it_for_others(ask: Client, upstream: Before, image: str) -> None:
    layer = _layer(ask, image)
    go_on = threading.Event()
    upstream.on("GET", layer, hold=go_on)
    leaver = http.client.HTTPConnection(ask.host, timeout=60)
    leaver.request("GET", f"/v2/hub/{image}/blobs/{layer}")
    assert leaver.getresponse().read(10) == CONTENT[:10]
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(ask, "GET", f"/v2/hub/{image}/blobs/{layer}")
        assert upstream.halfway.wait(30)
        leaver.close()
        go_on.set()
        answer: Answer = other.result()
    assert digest_of(answer.body) == layer
    assert upstream.count("GET", layer) == 1


def test_metrics_and_events(registry: OnggiRegistry, ask: Client, upstream: Before, image: str) -> None:
    _layer(ask, image)
    text = registry.anonymous.ok("GET", "/metrics").body.decode()
    assert 'onggi_registry_upstream_total{what="manifest",outcome="fetched"}' in text
    events = registry.admin.ok("GET", "/api/v1/projects/hub/events").json()
    found = [event for event in events if event["repository"] == f"hub/{image}"]
    assert [(event["kind"], event["reference"]) for event in found] == [("replication", "v1")]
    assert json.dumps(found[0]["details"]).count("cache") == 1
