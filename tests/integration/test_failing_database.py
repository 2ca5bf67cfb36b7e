"""The database refuses a write in the middle of a transition: what has happened is told all the same.

The refusals are real: triggers in the engine's own database file.
"""

import os
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.conditions import until
from tests.engine import Engine, state

pytestmark = pytest.mark.timeout(400)  # a busy machine


@contextmanager
def refusing(engine: Engine, change: str, when: str = "1") -> Iterator[None]:
    """Let the database refuse a kind of change, as `UPDATE ON containers`, for a while."""
    path = engine.data_root / "state.db"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        connection.execute(
            f"CREATE TRIGGER broken BEFORE {change} WHEN {when} BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
    try:
        yield
    finally:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
            connection.execute("DROP TRIGGER broken")


@pytest.fixture
def container(own_engine: Engine, name: str) -> str:
    own_engine.docker("create", "--name", name, "--stop-signal", "KILL", "busybox", "sleep", "1000")
    return name


def test_who_waits_hears_of_an_end_that_could_not_be_noted(own_engine: Engine, container: str) -> None:
    own_engine.docker("start", container, check=True)
    with refusing(own_engine, "UPDATE ON containers", "NEW.state = 'exited'"):
        own_engine.docker("kill", container, check=True)
        assert own_engine.docker("wait", container).stdout == "137\n"
    assert state(own_engine, container)["Status"] == "exited"
    own_engine.kill()
    own_engine.start()
    assert (state(own_engine, container)["Status"], state(own_engine, container)["ExitCode"]) == ("exited", 137)


def test_a_policy_holds_though_the_end_could_not_be_noted(own_engine: Engine, container: str) -> None:
    own_engine.docker("update", "--restart", "always", container, check=True)
    own_engine.docker("start", container, check=True)
    first = state(own_engine, container)["Pid"]
    with refusing(own_engine, "UPDATE ON containers", "NEW.state = 'restarting'"):
        os.kill(first, signal.SIGKILL)
        until(lambda: state(own_engine, container)["Pid"] not in {0, first}, "it runs again")


def test_a_start_that_fails_is_noted_though_its_network_stays(own_engine: Engine, name: str) -> None:
    own_engine.docker("create", "--name", name, "busybox", "nope", check=True)
    with refusing(own_engine, "DELETE ON endpoints"):
        refused = own_engine.docker("start", name)
        assert 'exec: "nope": executable file not found in $PATH' in refused.stderr
        found = state(own_engine, name)
        assert (found["Status"], found["ExitCode"]) == ("created", 127)
        assert "nope" in found["Error"]
    own_engine.docker("rm", name, check=True)


@pytest.mark.parametrize("change", ["UPDATE OF config ON containers", "INSERT ON endpoints"])
def test_ports_that_could_not_be_noted_are_as_before(own_engine: Engine, name: str, change: str) -> None:
    serve = "mkdir -p /srv; echo page > /srv/index.html; exec httpd -f -p 80 -h /srv"
    own_engine.docker("run", "-d", "--name", name, "--stop-signal", "KILL", "-p", "127.0.0.1::80", "busybox", "sh", "-c",
                      serve, check=True)  # fmt: skip
    first = own_engine.docker("port", name, "80", check=True).stdout.strip()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        second = probe.getsockname()[1]
    until(lambda: answers(first), "it serves")
    with refusing(own_engine, change):
        refused = own_engine.onggi("update", "--publish-rm", "80", "--publish-add", f"127.0.0.1:{second}:81", name)
        assert refused.returncode == 1
        assert answers(first)
        assert own_engine.docker("port", name).stdout == f"80/tcp -> {first}\n"
    with socket.create_server(("127.0.0.1", second)):
        pass  # nobody holds it
    own_engine.kill()
    own_engine.start()
    assert own_engine.docker("port", name).stdout == f"80/tcp -> {first}\n"
    assert answers(first)


def answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"page" in connection.makefile("rb").read()
    except OSError:
        return False
