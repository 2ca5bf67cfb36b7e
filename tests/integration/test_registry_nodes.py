"""Two nodes on one PostgreSQL and one directory of blobs: either may die at any moment, and nothing acknowledged is lost."""

import gzip
import json
import os
import random
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.balancer import Balancer
from tests.onggi_registry import PASSWORD, OnggiRegistry, digest_of
from tests.peers import PEERS, peer_run
from tests.postgres import LACKING, Postgres

pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)
WHOLE = os.environ.get("ONGGI_TESTS_WHOLE") == "1"
COLLECTING = ("--collect-every", "1s", "--unreferenced-age", "2s")
"""Garbage is collected all the while, and what no manifest names goes after less time than some pushes take."""
NOT_DONE = re.compile(r"BLOB_UNKNOWN|UNAVAILABLE")
"""Refusals that a push may meet: its blobs were collected before its manifest came, or nodes were in each other's way."""
DEATHS, CLIENTS = (60, 6) if WHOLE else (4, 3)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


class Nodes:
    def __init__(self, server: Postgres, directory: Path, name: str) -> None:
        secret = directory / "database"
        secret.touch(mode=0o600)
        secret.write_text(server.address(name) + "\n")
        self.shared = ("--database-file", str(secret), "--blobs", str(directory / "blobs"))
        self.one = OnggiRegistry(directory / "one", *self.shared, *COLLECTING)
        self.two = OnggiRegistry(directory / "two", *self.shared, *COLLECTING)

    def __enter__(self) -> "Nodes":
        self.one.__enter__()
        self.two.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.two.stop()
        self.one.stop()


@pytest.fixture
def nodes(server: Postgres, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    with Nodes(server, tmp_path, request.node.name) as nodes:
        yield nodes


def test_an_upload_goes_on_at_the_other_node(nodes: Nodes) -> None:
    one, two = nodes.one.admin, nodes.two.admin
    parts = [os.urandom(700_000), os.urandom(600_000), os.urandom(5)]
    digest = digest_of(b"".join(parts))
    place = one.ok("POST", "/v2/library/app/blobs/uploads/").headers["location"]
    offset = 0
    for client, part in zip((one, two, one), parts, strict=True):
        answer = client.ok("PATCH", place, part, {"Content-Range": f"{offset}-{offset + len(part) - 1}"})
        offset += len(part)
        assert answer.headers["range"] == f"0-{offset - 1}"
        place = answer.headers["location"]
    two.ok("PUT", f"{place}?digest={digest}")
    for client in (one, two):
        assert client.ok("GET", f"/v2/library/app/blobs/{digest}").body == b"".join(parts)


def test_what_is_done_at_one_node_holds_at_the_other(nodes: Nodes) -> None:
    user = nodes.one.user("kim")
    digest = nodes.one.admin.image("library/app", "v1", b"layer")
    assert nodes.two.admin.ok("HEAD", "/v2/library/app/manifests/v1").headers["docker-content-digest"] == digest
    token = nodes.one.admin.token("repository:library/app:pull")
    assert (
        replace(token, host=nodes.two.host)("GET", "/v2/library/app/manifests/v1").status == 200
    )  # signed by a common key
    nodes.two.admin.ok("DELETE", "/api/v1/users/kim")
    assert user("GET", "/api/v1/user").status == 401
    found = nodes.two.admin.ok("GET", "/api/v1/search?q=app").body
    assert b"library/app" in found


@pytest.mark.timeout(600)
def test_a_node_dies_during_pushes(nodes: Nodes) -> None:
    """kill -9 of either, in turn, at random moments, while clients push by a balancer and garbage is collected all the while."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    ended, acknowledged, guard = threading.Event(), dict[tuple[str, str], tuple[str, bytes]](), threading.Lock()

    def push(number: int) -> int:
        chance, count = random.Random(seed + number), 0
        while not ended.is_set():
            content = chance.randbytes(chance.choice((10, 5_000, 900_000)))
            repository, tag = f"library/app{number}", f"t{count % 20}"
            try:
                client.blob(repository, chance.randbytes(100))  # nobody will name it: work for the collector
                digest = client.image(repository, tag, content)
            except (OSError, HTTPException, AssertionError) as error:
                if isinstance(error, AssertionError) and not NOT_DONE.search(str(error)):
                    raise
                # Unknown whether the tag was moved: not ours to claim any more.
                with guard:
                    acknowledged.pop((repository, tag), None)
                continue
            with guard:
                acknowledged[repository, tag] = digest, content
            count += 1
        return count

    with Balancer(nodes.one.host, nodes.two.host) as balancer, ThreadPoolExecutor(CLIENTS) as pool:
        client = replace(nodes.one.admin, host=balancer.host)
        pushing = [pool.submit(push, number) for number in range(CLIENTS)]
        try:
            chance = random.Random(seed)
            for death in range(DEATHS):
                node = (nodes.one, nodes.two)[death % 2]
                ended.wait(chance.uniform(0.05, 0.8))  # the random moment
                node.kill()
                node.start()
        finally:
            ended.set()
        counts = [each.result() for each in pushing]
    assert all(counts), counts
    assert acknowledged
    print(f"{sum(counts)} images pushed, {DEATHS} deaths, {len(acknowledged)} tags to be looked at")
    assert any("collected: " in node.log.read_text() for node in (nodes.one, nodes.two)), "nothing was collected"
    for node in (nodes.one, nodes.two):
        for (repository, tag), (digest, content) in acknowledged.items():
            answer = node.admin.ok("GET", f"/v2/{repository}/manifests/{tag}")
            assert digest_of(answer.body) == digest
            manifest = json.loads(answer.body)
            for part in (manifest["config"], *manifest["layers"]):
                body = node.admin.ok("GET", f"/v2/{repository}/blobs/{part['digest']}").body
                assert digest_of(body) == part["digest"]
            assert body == content
    checked = nodes.one.command("fsck", *nodes.shared)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout == "all is well\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory in the peers' root, for skopeo's credentials."""
    if not (PEERS / "usr/bin/skopeo").exists():
        pytest.skip("skopeo is not installed: run scripts/setup.sh peers")
    path = PEERS / "tmp" / f"onggi-{uuid.uuid4().hex[:8]}"
    path.mkdir()
    yield path
    peer_run("rm", "-rf", f"/tmp/{path.name}")


def test_skopeo_by_a_balancer_while_a_node_is_down(nodes: Nodes, folder: Path) -> None:
    nodes.two.admin.image("library/source", "v1", b"x" * 3_000_000)
    with Balancer(nodes.one.host, nodes.two.host) as balancer:
        auth, place = f"/tmp/{folder.name}/auth.json", f"docker://{balancer.host}/library"
        peer_run(
            "skopeo", "login", "--tls-verify=false", "--authfile", auth, "-u", "admin", "-p", PASSWORD, balancer.host
        )
        flags = ("--src-tls-verify=false", "--dest-tls-verify=false", "--authfile", auth)
        peer_run("skopeo", "copy", *flags, f"{place}/source:v1", f"{place}/both:v1")
        nodes.one.kill()
        peer_run("skopeo", "copy", *flags, f"{place}/both:v1", f"{place}/one:v1")
        nodes.one.start()
        peer_run("skopeo", "copy", *flags, f"{place}/one:v1", f"dir:/tmp/{folder.name}/copy")
    layers = [path.read_bytes() for path in (folder / "copy").iterdir()]
    packed = [layer for layer in layers if layer.startswith(b"\x1f\x8b")]  # by skopeo, on the way
    assert [gzip.decompress(layer) for layer in packed] == [b"x" * 3_000_000]


def test_commands_work_beside_the_nodes(nodes: Nodes) -> None:
    nodes.two.admin.image("library/app", "v1", b"content")
    made = nodes.one.command("user", "create", "lee", "--password-stdin", *nodes.shared, text=PASSWORD)
    assert made.returncode == 0, made.stderr
    assert nodes.two.as_("lee")("GET", "/api/v1/user").status == 200
    collected = nodes.one.command("gc", *nodes.shared, "--unreferenced-age", "0s")
    assert collected.returncode == 0, collected.stderr
    assert nodes.one.admin("GET", "/v2/library/app/manifests/v1").status == 200
    assert nodes.one.command("fsck", *nodes.shared).stdout == "all is well\n"
    refused = nodes.one.command("backup", str(nodes.one.root / "b"), *nodes.shared)
    assert refused.returncode != 0


def test_a_node_with_other_blobs_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    nodes.one.admin.blob("library/app", b"content")
    stranger = OnggiRegistry(tmp_path / "three", *nodes.shared[:2], "--blobs", str(tmp_path / "elsewhere"))
    with pytest.raises(AssertionError, match="does not hold the blobs of this database"):
        stranger.start()


def test_a_new_database_is_not_given_old_blobs(nodes: Nodes, server: Postgres, tmp_path: Path) -> None:
    nodes.one.admin.blob("library/app", b"content")
    secret = tmp_path / "new"
    secret.touch(mode=0o600)
    secret.write_text(server.address("blank"))
    stranger = OnggiRegistry(tmp_path / "three", "--database-file", str(secret), *nodes.shared[2:])
    with pytest.raises(AssertionError, match="a new database begins with an empty one"):
        stranger.start()


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "database"
    secret.write_text("postgresql://u:hidden-word@localhost/x")
    secret.chmod(0o644)
    registry = OnggiRegistry(tmp_path / "one", "--database-file", str(secret))
    with pytest.raises(AssertionError, match="chmod 600") as caught:
        registry.start()
    assert "hidden-word" not in str(caught.value)


@pytest.mark.timeout(600)
def test_what_holds_on_sqlite_holds_on_postgresql(server: Postgres, tmp_path: Path) -> None:
    """The registry's other tests again: a sample, or all of them."""
    here = Path(__file__).parent
    names = (
        (
            "cache",
            "fuzz",
            "matrix",
            "oidc",
            "operation",
            "replication",
            "rights",
            "scanning",
            "secrets",
            "sessions",
            "signatures",
            "versions",
            "webhooks",
        )
        if WHOLE
        else ("sessions", "versions")
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n0", f"--basetemp={tmp_path}/other",
         *(str(here / f"test_registry_{name}.py") for name in names)],
        env=os.environ | {"ONGGI_TESTS_POSTGRES": str(server.path)}, cwd=here.parent.parent,
        capture_output=True, text=True, check=False, timeout=590,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
