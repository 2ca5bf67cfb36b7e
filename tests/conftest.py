"""What integration and conformance tests climb on: engine → image → container, each cleaned up by the fixture that made it.

Needs root. Each worker process has an engine of its own: roots beneath its temporary directory, a bridge named after
its process, as is its subnet, so that suites run side by side and beside a Docker.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Engine, census
from tests.images import busybox_archive
from tests.peers import Docker, peer_socket
from tests.registry import Registry


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if "unit" not in item.path.parts:
                item.add_marker(pytest.mark.skip(reason="needs root: namespaces, mounts and cgroups"))


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image as `docker save` writes it, made of this machine's own static busybox."""
    path = tmp_path_factory.mktemp("image") / "busybox.tar"
    busybox_archive(path, name="busybox:latest")
    return path


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory, busybox_tar: Path) -> Iterator[Engine]:
    """An engine with `busybox:latest` in it, shared by the tests of this process."""
    with Engine(tmp_path_factory.mktemp("engine")) as running:
        running.docker("load", "-i", str(busybox_tar), check=True)
        yield running
    assert census(running) == []


@pytest.fixture
def own_engine(tmp_path: Path, busybox_tar: Path) -> Iterator[Engine]:
    """An engine for one test alone, with `busybox:latest` in it: to be killed, restarted, filled."""
    with Engine(tmp_path, number=1) as running:
        running.docker("load", "-i", str(busybox_tar), check=True)
        yield running
    assert census(running) == []


@pytest.fixture
def busybox() -> str:
    """The name of the image that every engine of the tests holds."""
    return "busybox:latest"


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A container name that tells whose it is, should it be left over."""
    words = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return f"{words[:48]}-{os.getpid()}".strip("-")


@pytest.fixture(autouse=True)
def no_container_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove what a test left in the shared engine, and fail it for that."""
    yield
    if "engine" in request.fixturenames:
        shared: Engine = request.getfixturevalue("engine")
        left = shared.docker("ps", "-aq").stdout.split()
        if left:
            shared.docker("rm", "-fv", *left)
            pytest.fail(f"the test left {len(left)} container(s)")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An open registry on loopback, for the tests of this process."""
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def peer(busybox_tar: Path) -> Docker:
    """A real dockerd with `busybox:latest` in it. Shared by everybody: remove what you make."""
    docker = Docker(peer_socket())
    docker("load", "-i", str(busybox_tar), check=True)
    return docker
