"""`--link` on the default bridge, told by real Docker and by Onggi in the same run."""

import re
from collections.abc import Callable, Iterator

import pytest

from tests.engine import Engine
from tests.peers import Docker

Ask = Callable[..., list[str]]
_ADDRESS = re.compile(r"\b(?:10|172)\.\d+\.\d+\.\d+\b")
_ID = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{12})\b")


def comparable(text: str) -> list[str]:
    """Without what is drawn: addresses and IDs, by the order in which they come."""
    for pattern in (_ADDRESS, _ID):
        drawn = list(dict.fromkeys(pattern.findall(text)))
        text = pattern.sub(lambda found, drawn=drawn: f"<{drawn.index(found.group())}>", text)  # type: ignore[misc]
    return text.splitlines()


@pytest.fixture
def both(engine: Engine, peer: Docker, name: str) -> Iterator[Callable[..., str]]:
    """Run the same words against both and require the same answer; the answer of ours."""

    def ask(*words: str) -> str:
        done = [docker(*words) for docker in (engine.docker, peer)]
        ours, theirs = [(answer.returncode, comparable(answer.stdout), comparable(answer.stderr)) for answer in done]
        assert ours == theirs
        return done[0].stdout + done[0].stderr

    yield ask
    for docker in (engine.docker, peer):
        docker("rm", "-f", f"{name}-web", f"{name}-db", f"{name}-db2")


def test_the_life_of_a_link(both: Callable[..., str], name: str) -> None:
    db, web = f"{name}-db", f"{name}-web"
    both("run", "-d", "--name", db, "-h", "store", "-e", "A=1", "--expose", "5432", "--expose", "80-82", "--expose",
         "53/udp", "busybox", "sleep", "1000")  # fmt: skip
    both("run", "-d", "--name", web, "--link", f"{db}:my-db", "busybox", "sleep", "1000")
    variables = both("exec", web, "env")
    assert "MY_DB_PORT_5432_TCP_ADDR=" in variables
    assert f"MY_DB_NAME=/{web}/my-db" in variables
    both("exec", web, "cat", "/etc/hosts")
    both("exec", web, "sh", "-c", "ping -c1 -W9 -q my-db | grep received")
    assert both("inspect", "-f", "{{json .HostConfig.Links}}", web) == f'["/{db}:/{web}/my-db"]\n'
    both("inspect", "-f", "{{.Name}}", f"{web}/my-db")
    assert both("ps", "--no-trunc", "--format", "{{.Names}}", "--filter", f"name={db}") == f"{db},{web}/my-db\n"
    both("rename", db, f"{db}2")
    assert both("inspect", "-f", "{{json .HostConfig.Links}}", web) == f'["/{db}2:/{web}/my-db"]\n'
    both("rm", "--link", web)
    both("stop", "-t", "0", f"{db}2")
    both("restart", "-t", "0", web)
    assert "Cannot link to a non running container" in both("start", web)
    both("rm", "--link", f"{web}/my-db")
    assert both("inspect", "-f", "{{json .HostConfig.Links}}", web) == "null\n"
    both("start", web)


def test_who_restarts_elsewhere_is_found_again(engine: Engine, name: str) -> None:
    db, web = f"{name}-db", f"{name}-web"
    try:
        engine.docker("run", "-d", "--name", db, "busybox", "sleep", "1000", check=True)
        engine.docker("run", "-d", "--name", web, "--link", f"{db}:store", "busybox", "sleep", "1000", check=True)
        engine.docker("restart", "-t", "0", db, check=True)
        address = engine.docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", db, check=True).stdout.strip()
        assert f"{address}\tstore " in engine.docker("exec", web, "cat", "/etc/hosts", check=True).stdout
        assert "1 packets received" in engine.docker("exec", web, "ping", "-c1", "-W9", "-q", "store").stdout
    finally:
        engine.docker("rm", "-f", db, web)


@pytest.mark.parametrize(
    "words",
    [
        ("--link", "no-such"),
        ("--link", "a:b:c"),
        ("--network", "host", "--link", "no-such:x"),
    ],
)
def test_refusals(both: Callable[..., str], name: str, words: tuple[str, ...]) -> None:
    both("create", "--name", f"{name}-web", *words, "busybox")


def test_on_a_network_of_ones_own_a_link_is_an_alias(engine: Engine, name: str) -> None:
    db, web = f"{name}-db", f"{name}-web"
    engine.docker("network", "create", name, check=True)
    try:
        engine.docker("run", "-d", "--name", db, "--network", name, "busybox", "sleep", "1000", check=True)
        done = engine.docker("run", "--rm", "--name", web, "--network", name, "--link", f"{db}:store", "busybox", "ping",
                             "-c1", "-W9", "-q", "store")  # fmt: skip
        assert "1 packets received" in done.stdout
    finally:
        engine.docker("rm", "-f", db)
        engine.docker("network", "rm", name)
