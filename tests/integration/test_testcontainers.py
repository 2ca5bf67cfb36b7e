"""Testcontainers on our socket: generic containers, every wait strategy, exec; its reaper, in an image built here."""

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import ROOT, Engine
from tests.images import Entry, busybox_layer, directory, docker_archive, file, layer
from tests.integration.test_clients import environment

PYTHON = Path("/usr/bin/python3")
REAPER = "onggi-test/reaper:1"

WAITS = """
import sys
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import (
    CompositeWaitStrategy, ContainerStatusWaitStrategy, ExecWaitStrategy, FileExistsWaitStrategy, HealthcheckWaitStrategy,
    HttpWaitStrategy, LogMessageWaitStrategy, PortWaitStrategy,
)

SERVES = "mkdir /srv; echo the page > /srv/index.html; echo up >&2; exec httpd -f -v -p 80 -h /srv"
strategies = {
    "log": lambda: LogMessageWaitStrategy("up"),
    "port": lambda: PortWaitStrategy(80),
    "http": lambda: HttpWaitStrategy(80).for_status_code(200).for_response_predicate(lambda text: "the page" in text),
    "exec": lambda: ExecWaitStrategy(["test", "-e", "/srv/index.html"]),
    "status": ContainerStatusWaitStrategy,
    "health": HealthcheckWaitStrategy,
    "all": lambda: CompositeWaitStrategy(LogMessageWaitStrategy("up"), PortWaitStrategy(80)),
}
for name, strategy in strategies.items():
    container = DockerContainer("busybox").with_command(["sh", "-c", SERVES]).with_exposed_ports(80)
    container.with_kwargs(healthcheck={"test": ["CMD", "true"], "interval": 100_000_000})
    with container.waiting_for(strategy().with_startup_timeout(60)):
        assert container.exec("cat /srv/index.html") == (0, b"the page\\n"), name
        assert container.exec(["sh", "-c", "exit 3"]).exit_code == 3
        assert b"up" in b"".join(container.get_logs())
        assert container.get_container_info().State.Status == "running"
        print(name)
marker = sys.argv[1]
with DockerContainer("busybox").with_command(["sh", "-c", "touch /shared/is-there; exec sleep 1000"]).with_volume_mapping(
    marker, "/shared", "rw"
).waiting_for(FileExistsWaitStrategy(marker + "/is-there")):
    print("file")
"""
GENERIC = """
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

with Network() as network:
    server = DockerContainer("busybox").with_command(["sh", "-c", "mkdir /w; echo $WORD > /w/index.html; exec httpd -f -h /w"])
    server.with_env("WORD", "from next door").with_network(network).with_network_aliases("server")
    client = DockerContainer("busybox").with_command("sleep 1000").with_network(network).with_tmpfs_mount("/scratch")
    client.with_copy_into_container(b"copied", "/root/file")
    with server, client:
        for _ in range(100):
            code, page = client.exec("wget -q -O - http://server/")
            if code == 0:
                break
        print(page.decode().strip())
        print(client.exec("cat /root/file").output.decode())
        assert b"tmpfs on /scratch" in client.exec("mount").output
"""
CRASHES = """
import os
from testcontainers.core.container import DockerContainer

left = DockerContainer("busybox").with_command("sleep 1000").start()
print(left.get_container_id(), flush=True)
os._exit(1)
"""


def run(engine: Engine, script: str, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=200, check=False,
        env=environment(engine) | {"TC_POOLING_INTERVAL": "0.1"} | more,
    )  # fmt: skip


def test_wait_strategies(engine: Engine, tmp_path: Path) -> None:
    done = run(engine, WAITS, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["log", "port", "http", "exec", "status", "health", "all", "file"]


def test_containers_on_a_network(engine: Engine) -> None:
    done = run(engine, GENERIC)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["from next door", "copied"]


def _with_libraries(program: Path) -> list[Path]:
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    return [program, *(Path(word) for word in listed.split() if word.startswith("/"))]


def _python() -> Iterator[Entry]:
    """This machine's own Python, with its standard library."""
    library = Path("/usr/lib") / f"python{sysconfig.get_python_version()}"
    places = {found for program in (PYTHON.resolve(), *library.glob("lib-dynload/_socket*.so")) for found in
              _with_libraries(program)}  # fmt: skip
    places |= {
        found for found in library.rglob("*.py") if "test" not in found.parts and "dist-packages" not in found.parts
    }
    places |= set(library.glob("lib-dynload/*.so"))
    for parent in sorted({parent for place in places for parent in place.parents}):
        if str(parent) not in ("/", "/usr", "/usr/bin", "/lib", "/usr/lib", "/usr/sbin"):
            yield directory(str(parent).lstrip("/"))
    yield directory("usr/lib")
    for place in sorted(places):
        yield file(str(place).lstrip("/"), place.read_bytes(), 0o755)


@pytest.fixture
def reaper(engine: Engine, tmp_path: Path) -> Iterator[str]:
    if not PYTHON.exists():
        pytest.skip("the image of the reaper is made of Debian's python3, which is not installed")
    program = layer([file("reaper.py", (ROOT / "tests/reaper.py").read_bytes())])
    docker_archive(tmp_path / "reaper.tar", [REAPER], [busybox_layer(), layer(_python()), program],
                   Cmd=[str(PYTHON.resolve()), "-u", "/reaper.py"])  # fmt: skip
    engine.docker("load", "-i", str(tmp_path / "reaper.tar"), check=True)
    yield REAPER
    engine.docker("rmi", REAPER, check=True)


def test_the_reaper_removes_what_a_crash_has_left(engine: Engine, reaper: str) -> None:
    done = run(
        engine, CRASHES, TESTCONTAINERS_RYUK_DISABLED="false", RYUK_CONTAINER_IMAGE=reaper,
        RYUK_RECONNECTION_TIMEOUT="1s", TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE=str(engine.socket),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    left = done.stdout.strip()
    assert engine.docker("inspect", left).returncode == 0, "it is left"
    until(lambda: engine.docker("inspect", left).returncode == 1, "the container is removed")
    until(lambda: not engine.docker("ps", "-aq").stdout, "the reaper has ended and is removed, too")
