"""What pull, push, login and distribution answer, line by line, asked of real Docker and of Onggi in the same run."""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Engine
from tests.http import UnixConnection
from tests.peers import Docker
from tests.registry import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    Registry,
    TokenServer,
    Uploader,
    compressed,
    layer_of,
    push_image,
)

ALICE = {"username": "alice", "password": "secret"}
MALLORY = {"username": "alice", "password": "wrong"}
BULKY = {"Downloading", "Download complete", "Extracting", "Waiting", "Pushing", "Verifying Checksum"}
"""Lines whose number and moment depend on speed; Docker leaves some of them out now and then."""
Answer = tuple[int, list[Any]]


def ask(server: Path, method: str, path: str, *, auth: dict[str, str] | None = None, body: object = None) -> Answer:
    """Status and JSON values of the reply; of lines without `id` all, of a row's the states it went through, in order."""
    connection = UnixConnection(server, timeout_s=100)
    headers = {"X-Registry-Auth": urlsafe_b64encode(json.dumps(auth or {}).encode()).decode()}
    content = None
    if body is not None:
        headers["Content-Type"], content = "application/json", json.dumps(body)
    connection.request(method, path, content, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    lines: list[Any] = []
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        value = json.loads(line)
        if isinstance(value, dict) and "id" in value and "progressDetail" in value:
            if value["status"] not in BULKY:
                rows.setdefault(value["id"], []).append(value["status"])
        else:
            lines.append(value)
    return response.status, [*lines, rows] if rows else lines


@pytest.fixture(scope="module")
def stocked(registry: Registry) -> str:
    """The host of a registry with some images, good and bad, that nobody has pulled before."""
    host, repository = registry.host, "parity/app"
    layers = [layer_of({f"f{number}": os.urandom(9)}) for number in range(5)]
    push_image(host, repository, "1", layers)
    push_image(host, repository, "2", [*layers[:4], layer_of({"big": os.urandom(3_000_000)})])
    push_image(host, repository, "zstd", [layer_of({"z": os.urandom(9)})], compression="zstd")
    arm = {"architecture": "arm64", "os": "linux"}
    pushed = push_image(host, repository, "arm", [layer_of({"arm": os.urandom(9)})], platform=arm)
    with Uploader(host, repository) as upload:
        size = len(upload.request("GET", f"/v2/{repository}/manifests/arm", None, {"Accept": MANIFEST})[2])
        entry = {"mediaType": MANIFEST, "digest": pushed.digest, "size": size, "platform": arm}
        upload.manifest("index", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, INDEX)
        blob = compressed(layer_of({"x": b"y"}), "gzip")
        layer = {"mediaType": LAYER + "+gzip", "digest": upload.blob(blob), "size": len(blob)}
        artifact = {"mediaType": "application/vnd.example", "digest": upload.blob(b"{}"), "size": 2}
        upload.manifest("artifact", {"schemaVersion": 2, "mediaType": MANIFEST, "config": artifact, "layers": [layer]})
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        ).encode()
        described = {"mediaType": CONFIG, "digest": upload.blob(config), "size": len(config)}
        upload.manifest("few", {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": [layer]})
    return host


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    directory = tmp_path_factory.mktemp("guarded")
    with TokenServer(directory / "tokens", {"alice": "secret"}) as tokens:
        with Registry(directory / "registry", tokens=tokens) as registry:
            token = tokens.sign("alice", "onggi-test", ["repository:private/app:pull,push"])
            push_image(
                registry.host, "private/app", "1", [layer_of({"p": os.urandom(9)})], authorization=f"Bearer {token}"
            )
            yield registry


def both(engine: Engine, peer: Docker, method: str, path: str, **options: Any) -> tuple[Answer, Answer]:
    """Docker's answer and ours."""
    return ask(peer.socket, method, path, **options), ask(engine.socket, method, path, **options)


def forget(engine: Engine, peer: Docker, *names: str) -> None:
    for name in names:
        peer("rmi", "-f", name)
        engine.docker("rmi", "-f", name)


def test_pull_of_a_new_a_known_and_a_related_image(engine: Engine, peer: Docker, stocked: str) -> None:
    names = [f"{stocked}/parity/app:1", f"{stocked}/parity/app:2"]
    try:
        for tag in ("1", "1", "2"):
            theirs, ours = both(engine, peer, "POST", f"/images/create?fromImage={stocked}/parity/app&tag={tag}")
            assert ours == theirs
            assert theirs[0] == 200
        digest = theirs[1][1]["status"].removeprefix("Digest: ")
        theirs, ours = both(engine, peer, "POST", f"/images/create?fromImage={stocked}/parity/app&tag={digest}")
        assert ours == theirs
    finally:
        forget(engine, peer, *names)


@pytest.mark.parametrize(
    "path",
    [
        "fromImage={open}/parity/none&tag=1", "fromImage={open}/parity/app&tag=none", "fromImage={open}/parity/app&tag=index",
        "fromImage={open}/parity/app&tag=artifact", "fromImage=127.0.0.1:1/x&tag=1", "fromImage={open}/Parity/app&tag=1",
        "fromImage={open}/parity/app&tag=-x", "fromImage={open}/parity/app&tag=1&platform=foo", "fromImage=scratch&tag=1",
        "fromImage={open}/parity/app@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "fromImage={guarded}/private/app&tag=1", "fromImage={open}/parity/app&tag=1&platform=a/b/c/d",
    ],
)  # fmt: skip
def test_refused_pulls(engine: Engine, peer: Docker, stocked: str, guarded: Registry, path: str) -> None:
    query = path.format(open=stocked, guarded=guarded.host)
    theirs, ours = both(engine, peer, "POST", f"/images/create?{query}")
    assert ours == theirs


def test_pull_with_another_s_configuration_ends_in_docker_s_words(engine: Engine, peer: Docker, stocked: str) -> None:
    """Docker notices after it has extracted, we before we download: the last line is the same."""
    theirs, ours = both(engine, peer, "POST", f"/images/create?fromImage={stocked}/parity/app&tag=few")
    assert ours[1][-1] == next(line for line in theirs[1] if "error" in line)


def test_image_for_another_platform(engine: Engine, peer: Docker, stocked: str) -> None:
    name = f"{stocked}/parity/app:arm"
    try:
        for platform in ("", "&platform=linux/amd64"):
            query = f"fromImage={stocked}/parity/app&tag=arm{platform}"
            theirs, ours = both(engine, peer, "POST", f"/images/create?{query}")
            assert ours == theirs
    finally:
        forget(engine, peer, name)


def test_zstd(engine: Engine, peer: Docker, stocked: str) -> None:
    try:
        theirs, ours = both(engine, peer, "POST", f"/images/create?fromImage={stocked}/parity/app&tag=zstd")
        assert ours == theirs
    finally:
        forget(engine, peer, f"{stocked}/parity/app:zstd")


def test_push(engine: Engine, peer: Docker, stocked: str, guarded: Registry) -> None:
    """To repositories of each one's own, for what one has pushed the other would find. Digests differ: Docker packs anew."""
    source = f"{stocked}/parity/app:1"
    names = [source]
    try:
        answers = []
        sides: list[tuple[Path, Callable[..., object]]] = [(peer.socket, peer), (engine.socket, engine.docker)]
        for number, (socket_path, docker) in enumerate(sides):
            docker("pull", "-q", source, check=True)
            mounted, sent = f"{stocked}/push/p{number}", f"{guarded.host}/push/p{number}"
            for name in (mounted, sent):
                docker("tag", source, f"{name}:1", check=True)
                names.append(f"{name}:1")
            said = [
                ask(socket_path, "POST", f"/images/{name}/push?tag={tag}", auth=auth)
                for name, tag, auth in (
                    (mounted, "1", None), (mounted, "1", None), (sent, "1", None), (sent, "1", MALLORY), (sent, "1", ALICE),
                    (sent, "1", ALICE), (sent, "none", ALICE),
                )
            ]  # fmt: skip
            answers.append(json.loads(json.dumps(said).replace(f"push/p{number}", "push/p")))
        theirs, ours = answers
        for number, (their, our) in enumerate(zip(theirs, ours, strict=True)):
            for answer in (their, our):
                for line in answer[1]:
                    if "digest" in str(line.get("status", "")) or "aux" in line:
                        line.clear()
            assert our == their, f"push number {number}"
    finally:
        forget(engine, peer, *names)


@pytest.mark.parametrize(
    ("credentials", "server"),
    [
        (ALICE, "{guarded}"),
        (MALLORY, "{guarded}"),
        (ALICE, "{open}"),
        (ALICE, "127.0.0.1:1"),
        (ALICE, "http://{guarded}"),
    ],
)
def test_login(
    engine: Engine, peer: Docker, stocked: str, guarded: Registry, *, credentials: dict[str, str], server: str
) -> None:
    body = credentials | {"serveraddress": server.format(open=stocked, guarded=guarded.host)}
    theirs, ours = both(engine, peer, "POST", "/auth", body=body)
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "auth"),
    [
        ("{open}/parity/app:index", None), ("{open}/parity/none:1", None), ("{guarded}/private/app:1", None),
        ("{open}/Parity", None), ("127.0.0.1:1/x", None),
    ],
)  # fmt: skip
def test_distribution(
    engine: Engine, peer: Docker, stocked: str, guarded: Registry, *, name: str, auth: dict[str, str] | None
) -> None:
    path = f"/distribution/{name.format(open=stocked, guarded=guarded.host)}/json"
    theirs, ours = both(engine, peer, "GET", path, auth=auth)
    assert ours == theirs


def test_distribution_of_a_single_image_names_its_platform(engine: Engine, peer: Docker, stocked: str) -> None:
    """Docker leaves the platform of OCI images out."""
    theirs, ours = both(engine, peer, "GET", f"/distribution/{stocked}/parity/app:1/json")
    assert ours[1][0]["Descriptor"] == theirs[1][0]["Descriptor"]
    assert ours[1][0]["Platforms"] == [{"architecture": "amd64", "os": "linux"}]
