"""The registry's own container image: built here, run by our engine and by real Docker as its guide says."""

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import ROOT, Engine
from tests.onggi_registry import PASSWORD, Client, basic
from tests.peers import CommandLine

pytestmark = pytest.mark.timeout(500)
TAG = f"onggi-registry:test-{os.getpid()}"
BUILD_S = 400
LOCKED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def build(archive: Path) -> str:
    """Gives the manifest's digest."""
    words = [sys.executable, str(ROOT / "packaging/registry_image/build.py"), str(archive), "--tag", TAG]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=BUILD_S, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("registry-image") / "registry.tar"
    build(path)
    return path


def _document(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def test_what_the_image_says(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        (item,) = json.loads(_document(tar, "manifest.json"))
        config = json.loads(_document(tar, item["Config"]))
        with tarfile.open(fileobj=tar.extractfile(item["Layers"][0]), mode="r:gz") as layer:
            members = layer.getmembers()
    assert config["config"]["User"] == "10001:10001"
    assert list(config["config"]["Volumes"]) == ["/var/lib/onggi-registry"]
    privileged = [each.name for each in members if each.isfile() and each.mode & 0o6000]
    devices = [each.name for each in members if each.ischr() or each.isblk()]
    assert (privileged, devices) == ([], [])
    mine = [each.name for each in members if (each.uid, each.gid) == (10001, 10001)]
    assert mine == ["./var/lib/onggi-registry"], "its account can change nothing else"
    assert {each.name for each in members if each.name.startswith("./etc/host") or "machine-id" in each.name} <= {
        "./etc/host.conf"
    }


@pytest.mark.skipif("ONGGI_TESTS_WHOLE" not in os.environ, reason="builds it once more: ONGGI_TESTS_WHOLE=1")
def test_it_can_be_built_again_to_the_bit(archive: Path, tmp_path: Path) -> None:
    build(tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


@dataclass
class Running:
    """A container of the image, and how to ask it."""

    docker: CommandLine
    name: str
    """Also its network's, so that nobody's default bridge is needed, and the beginning of its volume's."""

    @property
    def volume(self) -> str:
        return f"{self.name}-data"

    def start(self) -> None:
        done = self.docker(
            "run", "-d", "--name", self.name, "--network", self.name, *LOCKED, "--health-interval", "1s",
            "-v", f"{self.volume}:/var/lib/onggi-registry", "-p", "127.0.0.1::5000", TAG,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def until_healthy(self) -> None:
        def health() -> bool:
            state = json.loads(self.docker("inspect", self.name).stdout)[0]["State"]
            assert state["Running"], self.docker("logs", self.name).stderr
            return bool(state["Health"]["Status"] == "healthy")

        until(health, "the container is healthy")

    def client(self, authorization: str = "") -> Client:
        host = self.docker("port", self.name, "5000/tcp").stdout.split()[0]
        return Client(host, authorization)


@pytest.fixture(params=["onggi", "docker"])
def running(request: pytest.FixtureRequest, archive: Path, name: str) -> Iterator[Running]:
    docker: Callable[..., subprocess.CompletedProcess[str]]
    if request.param == "onggi":
        engine: Engine = request.getfixturevalue("engine")
        docker = engine.onggi
    else:
        docker = request.getfixturevalue("peer")
    loaded = docker("load", "-i", str(archive))
    assert loaded.returncode == 0, loaded.stderr
    container = Running(docker, name)
    created = docker("network", "create", container.name)
    assert created.returncode == 0, created.stderr
    try:
        container.start()
        yield container
    finally:
        docker("rm", "-f", container.name)
        docker("volume", "rm", container.volume)
        docker("network", "rm", container.name)
        docker("rmi", "-f", TAG)


def test_it_takes_a_push_and_keeps_it(running: Running) -> None:
    """Without any privilege, on a root it can't write to; through a restart, and in a new container on its volume."""
    running.until_healthy()
    assert running.docker("exec", running.name, "/usr/bin/id", "-u").stdout == "10001\n"
    found = re.findall(r"^    ([a-z0-9-]{23})$", running.docker("logs", running.name).stderr, re.MULTILINE)
    assert len(found) == 1, "its first start prints the owner's password, once"
    owner = running.client(basic("admin", found[0]))
    owner.ok("PUT", "/api/v1/user/password", {"current": found[0], "new": PASSWORD})
    pushed = running.client(basic("admin", PASSWORD)).image("library/app", "v1", b"some content")

    assert running.docker("restart", running.name).returncode == 0
    running.until_healthy()
    answer = running.client().ok("GET", "/v2/library/app/manifests/v1")
    assert answer.headers["docker-content-digest"] == pushed

    assert running.docker("rm", "-f", running.name).returncode == 0
    running.start()
    running.until_healthy()
    (layer,) = running.client().ok("GET", "/v2/library/app/manifests/v1").json()["layers"]
    assert running.client().ok("GET", f"/v2/library/app/blobs/{layer['digest']}").body == b"some content"
    # Who looks after it does so within the container.
    listed = running.docker("exec", running.name, "onggi", "registry", "fsck")
    assert listed.returncode == 0, listed.stderr
