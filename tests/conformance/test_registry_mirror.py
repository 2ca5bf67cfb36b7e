"""Our registry as Docker Hub's mirror, as people configure it: `registry-mirrors` of a real dockerd, and of our engine."""

import json
import os
import shutil
import subprocess
import uuid
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import Engine
from tests.onggi_registry import OnggiRegistry
from tests.peers import PEERS, Docker, peer_run, peer_socket
from tests.registry import PushedImage, Registry, push_busybox, push_image
from tests.upstream import Before

SCRIPT = Path(__file__).parent.parent.parent / "scripts/peers.sh"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Before]:
    """What plays Docker Hub: docker-registry, whose requests are counted."""
    with Registry(tmp_path_factory.mktemp("hub")) as behind, Before(behind.host) as before:
        yield before


@pytest.fixture(scope="module")
def image(hub: Before) -> PushedImage:
    return push_busybox(hub.host)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, hub: Before) -> Iterator[OnggiRegistry]:
    options = ("--remote-network", "127.0.0.0/8", "--mirror", "hub")
    with OnggiRegistry(tmp_path_factory.mktemp("mirror"), *options) as running:
        running.admin.ok("POST", "/api/v1/remotes", {"name": "hub", "url": hub.url})
        running.admin.ok("POST", "/api/v1/projects", {"name": "hub", "public": True})
        running.admin.ok("PUT", "/api/v1/projects/hub/upstream", {"remote": "hub", "check_s": 0})
        yield running


def run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=30)


@pytest.fixture(scope="module")
def docker(mirror: OnggiRegistry) -> Iterator[Docker]:
    """A dockerd of its own that knows the mirror. It runs no container, and touches no firewall."""
    peer_socket()  # the root is there, and /run in it
    name = f"mirrored-{uuid.uuid4().hex[:8]}"
    # With `--bridge none` it would delete the docker0 of whatever other dockerd there is.
    bridge = f"ogtm{os.getpid() % 100_000}"
    run("ip", "link", "add", bridge, "type", "bridge")
    run("ip", "address", "add", f"10.251.{os.getpid() % 250}.1/24", "dev", bridge)
    place = PEERS / "run/peer" / name
    place.mkdir()
    log = place / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [SCRIPT, "run", "dockerd", "-H", f"unix:///run/peer/{name}/sock", "--data-root", f"/run/peer/{name}/data",
             "--exec-root", f"/run/peer/{name}/exec", "--pidfile", f"/run/peer/{name}/pid", "--bridge", bridge,
             "--iptables=false", "--ip6tables=false", "--registry-mirror", f"http://{mirror.host}",
             "--insecure-registry", "127.0.0.0/8"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | {"ONGGI_PEERS": str(PEERS)},
        )  # fmt: skip
    found = Docker(place / "sock")
    try:
        until(lambda: process.poll() is not None or found("version").returncode == 0, "dockerd answers")
        assert process.poll() is None, log.read_text()[-3000:]
        yield found
    finally:
        process.terminate()
        process.wait(60)
        run("ip", "link", "delete", bridge)
        peer_run("sh", "-c", f"umount -R /run/peer/{name}/data 2>/dev/null; rm -rf /run/peer/{name}")
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("signed_in", [False, True], ids=["anonymous", "signed in at Docker Hub"])
def test_docker_pulls_through_it(
    docker: Docker, mirror: OnggiRegistry, hub: Before, image: PushedImage, tmp_path: Path, *, signed_in: bool
) -> None:
    """What docker has for Docker Hub it sends the mirror too: nobody minds."""
    account = {"https://index.docker.io/v1/": {"auth": b64encode(b"bob:for Docker Hub").decode()}} if signed_in else {}
    (tmp_path / "config.json").write_text(json.dumps({"auths": account}))
    config = ("--config", str(tmp_path))
    hub.clear()
    mirror.admin("DELETE", "/api/v1/repositories/hub/library/busybox/-")
    done = docker(*config, "pull", "busybox", check=True)
    assert f"Digest: {image.digest}" in done.stdout
    assert docker("image", "inspect", "--format", "{{.Id}}", "busybox").stdout.strip() in (image.image_id, image.digest)
    blobs = hub.count("GET", "/blobs/")
    assert blobs == 1 + len(image.layers)
    docker("rmi", "busybox", check=True)
    docker(*config, "pull", "busybox", check=True)
    docker("rmi", "busybox", check=True)
    assert hub.count("GET", "/blobs/") == blobs, "the second time all comes from the mirror"
    tags = mirror.admin.ok("GET", "/api/v1/repositories/hub/library/busybox/-/tags").json()
    assert [tag["name"] for tag in tags] == ["latest"]


def test_docker_sees_a_moved_tag(docker: Docker, mirror: OnggiRegistry, hub: Before) -> None:
    first = push_image(hub.host, "library/moving", "latest", [b"\0" * 1024])
    assert f"Digest: {first.digest}" in docker("pull", "moving", check=True).stdout
    second = push_image(hub.host, "library/moving", "latest", [b"\0" * 2048])
    assert f"Digest: {second.digest}" in docker("pull", "moving", check=True).stdout


def test_our_engine_pulls_through_it(mirror: OnggiRegistry, hub: Before, image: PushedImage, tmp_path: Path) -> None:
    with Engine(tmp_path, number=7, options=("--registry-mirror", f"http://{mirror.host}")) as engine:
        done = engine.onggi("pull", "busybox", check=True)
        assert f"Digest: {image.digest}" in done.stdout
        shown = engine.onggi("run", "--rm", "--network", "none", "busybox", "echo", "from the mirror", check=True)
        assert shown.stdout == "from the mirror\n"
