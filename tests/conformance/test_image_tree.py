"""Images of several platforms: `manifests=1`, and `images --tree` of both command lines on the same engine."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli import SCRIPT
from tests.engine import Engine
from tests.http import UnixConnection
from tests.peers import docker_command
from tests.registry import INDEX, MANIFEST, Registry, Uploader, digest_of, layer_of, push_busybox, push_image

ARM = {"architecture": "arm64", "os": "linux", "variant": "v8"}


def push_index(host: str, repository: str) -> dict[str, Any]:
    """Two platforms and an attestation, as BuildKit writes it."""
    amd = push_busybox(host, repository, "amd64")
    arm = push_image(host, repository, "arm64", [layer_of({"arm": b"2"})], platform=ARM)
    statement = push_image(host, repository, "attestation", [layer_of({"statement": b"3"})])

    def entry(pushed: Any, platform: dict[str, str], **more: Any) -> dict[str, Any]:
        size = len(json.dumps(pushed.manifest).encode())
        return {"mediaType": MANIFEST, "digest": pushed.digest, "size": size, **more, "platform": platform}

    annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": amd.digest}
    document = {
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [
            entry(amd, {"architecture": "amd64", "os": "linux"}), entry(arm, ARM),
            entry(statement, {"architecture": "unknown", "os": "unknown"}, annotations=annotations),
        ],
    }  # fmt: skip
    with Uploader(host, repository) as upload:
        upload.manifest("multi", document, INDEX)
    return document


@pytest.fixture
def multi(engine: Engine, registry: Registry, tmp_path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """An image that was pulled by an index, with a second name and a container."""
    repository = f"tree/{tmp_path.name}"
    document = push_index(registry.host, repository)
    name = f"{registry.host}/{repository}:multi"
    engine.docker("pull", "-q", name, check=True)
    engine.docker("tag", name, "tree-other:1", check=True)
    container = engine.docker("create", name, "true", check=True).stdout.strip()
    yield name, document
    engine.docker("rm", container, check=True)
    engine.docker("rmi", name, "tree-other:1", check=True)


OURS = ["-f", "reference=*/tree/*", "-f", "reference=tree-other"]
"""Of many images Docker's command line does not keep the order of those that are equally old."""


def get(engine: Engine, path: str) -> Any:
    connection = UnixConnection(engine.socket)
    connection.request("GET", f"/v1.51{path}")
    answer = connection.getresponse()
    found = json.load(answer)
    connection.close()
    assert answer.status == 200, found
    return found


def test_all_manifests_of_the_index_are_told(engine: Engine, multi: tuple[str, dict[str, Any]]) -> None:
    name, document = multi
    found = get(engine, f"/images/{name}/json?manifests=1")
    amd, arm, attestation = found["Manifests"]
    digest = digest_of(json.dumps(document).encode())
    assert found["Descriptor"] == {
        "mediaType": INDEX, "digest": digest, "size": len(json.dumps(document).encode())}  # fmt: skip
    assert [each["Descriptor"] for each in found["Manifests"]] == document["manifests"]
    assert [each["Kind"] for each in found["Manifests"]] == ["image", "image", "attestation"]
    assert [each["Available"] for each in found["Manifests"]] == [True, False, False]
    assert amd["ImageData"]["Size"]["Unpacked"] == found["Size"]
    assert amd["Size"]["Total"] == amd["Size"]["Content"] + found["Size"]
    assert len(amd["ImageData"]["Containers"]) == 1
    assert arm["Size"] == {"Content": 0, "Total": 0}
    assert attestation["AttestationData"] == {"For": amd["ID"]}
    assert "Manifests" not in get(engine, f"/images/{name}/json")
    (listed,) = [image for image in get(engine, "/images/json?manifests=1") if name in image["RepoTags"]]
    assert listed["Manifests"] == found["Manifests"]


@pytest.mark.parametrize("words", [["--tree", *OURS], ["--tree", "tree-other"], ["--tree", "-a", *OURS], ["--tree", "-q"],
                                   ["--tree", "--digests"], ["--tree", "--format", "x"], ["--tree", "--no-trunc"]])  # fmt: skip
def test_the_tree_is_dockers(engine: Engine, multi: tuple[str, dict[str, Any]], words: list[str]) -> None:
    docker, onggi = engine.docker("images", *words), engine.onggi("images", *words)
    assert (onggi.returncode, onggi.stdout, onggi.stderr) == (docker.returncode, docker.stdout, docker.stderr)


def on_terminal(engine: Engine, command: str, columns: int) -> str:
    """What `images --tree` writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "DOCKER_HOST": f"unix://{engine.socket}", "ONGGI_HOST": f"unix://{engine.socket}"}
    environment |= {"DOCKER_CONFIG": str(engine.directory), "TERM": "xterm"}
    with subprocess.Popen(
        [command, "images", "--tree", *OURS], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
            shown += piece
            if not piece:
                break
        process.wait(60)
    os.close(ours)
    return shown.decode()


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_the_tree_on_a_terminal_is_dockers(engine: Engine, multi: tuple[str, dict[str, Any]], columns: int) -> None:
    assert on_terminal(engine, str(SCRIPT), columns) == on_terminal(engine, docker_command(), columns)
