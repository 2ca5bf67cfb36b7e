"""Our own command line's way to run: a start that waits for its client's attach, and tells the end in its answer."""

import socket
from collections.abc import Iterator

import pytest

from tests.engine import Engine, state

DEADLINE_S = 60


def ask(engine: Engine, path: str, *headers: str) -> socket.socket:
    """Send a request whose answer is read later."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(DEADLINE_S)
    connection.connect(str(engine.socket))
    head = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Length: 0", *headers]
    connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
    return connection


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    """What comes, up to and with `mark`."""
    data = b""
    while mark not in data:
        piece = connection.recv(65536)
        assert piece, f"it has ended after {data!r}"
        data += piece
    return data


@pytest.fixture
def created(engine: Engine, name: str) -> Iterator[str]:
    engine.docker("create", "-i", "--name", name, "--network", "none", "busybox", "sh", "-c", "cat; exit 5", check=True)
    yield name
    engine.docker("rm", "-f", name)


def test_it_starts_when_its_client_has_attached(engine: Engine, created: str) -> None:
    with ask(engine, f"/containers/{created}/start", "Onggi-Wait: next-exit me", "Onggi-Trace: 1") as start:
        # Answered by the same loop after the start's request was read: nothing has happened for want of an attach.
        assert state(engine, created)["Status"] == "created"
        attach = f"/containers/{created}/attach?stream=1&stdin=1&stdout=1"
        upgrade = ("Connection: Upgrade", "Upgrade: tcp")
        with ask(engine, attach, *upgrade, "Onggi-Mark: another") as other:
            assert b" 101 " in read_until(other, b"\r\n\r\n")
            assert state(engine, created)["Status"] == "created"
        with ask(engine, attach, *upgrade, "Onggi-Mark: me") as stream:
            assert b" 101 " in read_until(stream, b"\r\n\r\n")
            head = read_until(start, b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            for phase in (b"set-up;dur=", b"execute;dur=", b"note;dur="):
                assert phase in head
            assert state(engine, created)["Status"] == "running"
            stream.sendall(b"through\n")
            stream.shutdown(socket.SHUT_WR)
            assert b"through\n" in read_until(stream, b"through\n")
        assert b'{"StatusCode":5}' in read_until(start, b"}\n")


def test_a_client_that_goes_before_it_attaches_starts_nothing(engine: Engine, created: str) -> None:
    ask(engine, f"/containers/{created}/start", "Onggi-Wait: next-exit me").close()
    with ask(
        engine, f"/containers/{created}/attach?stream=1&stdout=1", "Connection: Upgrade", "Upgrade: tcp"
    ) as stream:
        assert b" 101 " in read_until(stream, b"\r\n\r\n")
        assert state(engine, created)["Status"] == "created"
        assert engine.docker("start", created, check=True).stdout == f"{created}\n"


def test_the_end_of_one_that_runs_already_is_told(engine: Engine, created: str) -> None:
    engine.docker("start", created, check=True)
    attach = f"/containers/{created}/attach?stream=1&stdin=1&stdout=1"
    with (
        ask(engine, f"/containers/{created}/start", "Onggi-Wait: next-exit me") as start,
        ask(engine, attach, "Connection: Upgrade", "Upgrade: tcp", "Onggi-Mark: me") as stream,
    ):
        assert b" 101 " in read_until(stream, b"\r\n\r\n")
        assert read_until(start, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        engine.docker("kill", created, check=True)
        assert b'{"StatusCode":137}' in read_until(start, b"}\n")


@pytest.mark.parametrize(("condition", "status"), [("next-exit", b" 404 "), ("whenever", b" 400 ")])
def test_refusals_are_a_start_s(engine: Engine, condition: str, status: bytes) -> None:
    with ask(engine, "/containers/nobody/start", f"Onggi-Wait: {condition} me") as start:
        assert status in read_until(start, b"\r\n")


def test_the_command_line_runs_by_it(engine: Engine, name: str) -> None:
    done = engine.onggi("--trace", "run", "--rm", "-i", "busybox", "sh", "-c", "cat; exit 9", input="in\n")
    assert (done.returncode, done.stdout) == (9, "in\n")
    for phase in ("create", "attach", "engine: set-up", "engine: execute", "streams", "wait", "total"):
        assert phase in done.stderr
    failed = engine.onggi("run", "--name", name, "busybox", "no-such-program")
    assert (failed.returncode, failed.stdout) == (127, "")
    assert "executable file not found" in failed.stderr
    assert engine.onggi("start", "--attach", name).returncode == 1
    engine.onggi("rm", name, check=True)
    assert engine.onggi("run", "--rm", "busybox", "no-such-program").returncode == 127
    assert engine.docker("ps", "-aq").stdout == ""
