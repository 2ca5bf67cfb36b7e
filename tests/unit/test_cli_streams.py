"""Attached streams, signals, detach keys: on real descriptors, without an engine."""

import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from onggi.cli import signals, terminal
from onggi.cli.connection import Connection
from onggi.cli.failure import Failure
from onggi.cli.streams import Output, Session, Signals, forwarded
from tests.cli import ROOT


def _frame(stream: int, text: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(20)
    with ours, theirs:
        yield Connection(ours), theirs


def test_frames_are_taken_apart_wherever_they_are_cut(capfd: pytest.CaptureFixture[str]) -> None:
    data = _frame(1, b"one") + _frame(2, b"err") + _frame(1, b"") + _frame(1, b"two" * 1000)
    output = Output(framed=True)
    for at in range(0, len(data), 7):
        output.write(data[at : at + 7])
    assert capfd.readouterr() == ("one" + "two" * 1000, "err")


def test_a_session_ends_with_its_stream(
    pair: tuple[Connection, socket.socket], capfd: pytest.CaptureFixture[str]
) -> None:
    connection, engine = pair
    connection.ahead = _frame(1, b"early ")
    engine.sendall(_frame(1, b"late"))
    engine.shutdown(socket.SHUT_WR)
    assert Session(connection, stdin=False, output=True, tty=False).carry()
    assert capfd.readouterr().out == "early late"


_WITH_STDIN = """
import sys
sys.path.insert(0, {source!r})
import _socket
from onggi.cli.connection import Connection
from onggi.cli.streams import Session
session = Session(Connection(_socket.socket(fileno=int(sys.argv[1]))), stdin=True, output=True, tty={tty}, keys={keys!r})
print("carried", session.carry(), flush=True)
"""


def _program(theirs: socket.socket, *, tty: bool, stdin: int, keys: bytes = b"") -> "subprocess.Popen[bytes]":
    """A process that carries a session on `theirs`, with `stdin` for its standard input."""
    program = _WITH_STDIN.format(source=str(ROOT / "src"), tty=tty, keys=keys)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program, str(theirs.fileno())],
        pass_fds=[theirs.fileno()], stdin=stdin, stdout=subprocess.PIPE,
    )  # fmt: skip


def _all(engine: socket.socket) -> bytes:
    data = b""
    while more := engine.recv(65536):
        data += more
    return data


def test_the_end_of_input_closes_one_direction_only() -> None:
    engine, theirs = socket.socketpair()
    engine.settimeout(20)
    reading, writing = os.pipe()
    with engine, theirs:
        process = _program(theirs, tty=False, stdin=reading)
        theirs.close()
        os.write(writing, b"typed")
        os.close(writing)
        os.close(reading)
        assert _all(engine) == b"typed"
        engine.sendall(_frame(1, b"answer\n"))
        engine.close()
        assert process.communicate(timeout=20)[0] == b"answer\ncarried True\n"


def test_detach_keys_end_the_session_and_are_not_sent() -> None:
    engine, theirs = socket.socketpair()
    engine.settimeout(20)
    master, slave = pty.openpty()
    with engine, theirs:
        process = _program(theirs, tty=True, stdin=slave, keys=b"\x10\x11")
        theirs.close()
        os.close(slave)
        engine.sendall(b"ready")  # is printed when the terminal is raw: before, it would take ctrl-q for itself
        assert process.stdout is not None
        assert process.stdout.read(5) == b"ready"
        os.write(master, b"ls\x10x\x10\x11")
        assert _all(engine) == b"ls\x10x"
        assert process.communicate(timeout=20)[0] == b"carried False\n"
    os.close(master)


@pytest.mark.parametrize(
    ("typed", "sent", "detached"),
    [
        ([b"abc"], b"abc", False),
        ([b"\x10", b"\x11"], b"", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11z"], b"\x10", True),
        ([b"a\x10"], b"a", False),
    ],
)
def test_key_sequences(typed: list[bytes], sent: bytes, detached: bool) -> None:
    sequence = terminal.KeySequence(terminal.DEFAULT_KEYS)
    results = [sequence.feed(data) for data in typed]
    assert (b"".join(data for data, _ in results), results[-1][1]) == (sent, detached)


def test_detach_keys_are_read_as_docker_reads_them() -> None:
    assert terminal.detach_keys("ctrl-p,ctrl-q") == terminal.DEFAULT_KEYS
    assert terminal.detach_keys("a,ctrl-@,ctrl-[,ctrl-_") == b"a\x00\x1b\x1f"
    for text in ("", "foo-bar", "ctrl-P", "ctrl-", "é", "ctrl-ab"):
        with pytest.raises(Failure, match="invalid detach keys"):
            terminal.detach_keys(text)


def test_a_signal_wakes_the_wait_and_is_handed_on(pair: tuple[Connection, socket.socket]) -> None:
    connection, engine = pair
    seen: list[int] = []

    def on_signal(number: int) -> None:
        seen.append(number)
        engine.shutdown(socket.SHUT_RDWR)

    with Signals([signals.number("SIGUSR1")]) as caught:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signals.number("SIGUSR1")))
        timer.start()
        session = Session(connection, stdin=False, output=True, tty=False, signals=caught, on_signal=on_signal)
        assert session.carry()
        timer.join()
    assert seen == [signals.number("SIGUSR1")]


def test_handlers_are_put_back() -> None:
    before = signals.handle(signals.number("SIGUSR2"), signals.ignore)
    try:
        with Signals([signals.number("SIGUSR2")]):
            pass
        assert signals.handle(signals.number("SIGUSR2"), signals.ignore) == signals.ignore
    finally:
        signals.handle(signals.number("SIGUSR2"), before)


def test_which_signals_are_forwarded() -> None:
    names = {signals.names()[number] for number in forwarded()}
    assert {"INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "TSTP", "CONT"} <= names
    assert names & {"CHLD", "PIPE", "KILL", "STOP", "WINCH", "SEGV"} == set()


def test_output_that_is_left_after_the_end_is_still_printed(
    pair: tuple[Connection, socket.socket], capfd: pytest.CaptureFixture[str]
) -> None:
    """The exit status may come before the last output."""
    connection, engine = pair
    ended, status = socket.socketpair()
    with ended, status:
        status.sendall(b"x")

        def end() -> None:
            engine.sendall(_frame(1, b"last"))
            engine.close()

        timer = threading.Timer(0.3, end)
        timer.start()
        session = Session(connection, stdin=False, output=True, tty=False, ended=Connection(ended))
        assert session.carry()
        timer.join()
    assert capfd.readouterr().out == "last"
