"""The streams of a container in the shim: without a container, with real pipes, terminals and sockets."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.runtime import spool
from onggi.runtime.client import Client
from onggi.runtime.poll import Poll
from onggi.runtime.stdio import Stdio
from tests.logs import open_log

CTRL_P_CTRL_Q = b"\x10\x11"


class Program:
    """The program's ends of its streams, and the shim's side of them."""

    def __init__(self, directory: Path, *, terminal: bool = False, open_stdin: bool = True, stdin_once: bool = False):
        self.poll = Poll()
        self.directory = directory
        self.detached = 0
        self.log = directory / "log"
        self.stdio = Stdio(
            self.poll,
            open_stdin=open_stdin,
            stdin_once=stdin_once,
            detached=self._count,
        )
        self.stdio.log = open_log(self.log, None, 1)
        self.terminal = terminal
        if terminal:
            master, slave = os.openpty()
            self.stdin, self.stdout, self.stderr = (os.dup(slave) for _ in range(3))
            os.close(slave)
            os.set_blocking(self.stdin, False)
            self.stdio.begin(master)
        else:
            ends = self.stdio.prepare()
            self.stdin, self.stdout, self.stderr = (os.dup(ends[name]) for name in ("stdin", "stdout", "stderr"))
            os.set_blocking(self.stdin, False)
            self.stdio.begin()

    def _count(self) -> None:
        self.detached += 1

    def attach(self, received: bytes = b"", initial: bytes = b"", **flags: bool | bytes) -> socket.socket:
        ours, theirs = socket.socketpair()
        chosen = {"stdin": True, "stdout": True, "stderr": True, "framed": not self.terminal, "detach_keys": b""}
        client = Client(ours.detach(), spool=str(self.directory), **{**chosen, **flags})  # type: ignore[arg-type]
        self.stdio.attach(client, initial, received)
        theirs.setblocking(False)
        return theirs

    def turn(self) -> None:
        """Until nothing is ready any more."""
        for _ in range(10_000):
            before = self.poll._poll.poll(0)
            if not before:
                return
            self.poll.turn(0)
        raise AssertionError("the loop spins")

    def turn_until(self, client: socket.socket, size: int) -> bytes:
        """Until the client has got `size` bytes."""
        got = b""
        deadline = time.monotonic() + 20
        while len(got) < size and time.monotonic() < deadline:
            self.poll.turn(100)
            got += received(client) or b""
        return got

    def read_stdin(self) -> bytes | None:
        """What has arrived; None for nothing; b"" for the end."""
        try:
            return os.read(self.stdin, 1 << 20)
        except BlockingIOError:
            return None


@pytest.fixture
def program(tmp_path: Path) -> "Iterator[Callable[..., Program]]":
    made: list[Program] = []

    def make(**flags: bool) -> Program:
        made.append(Program(tmp_path, **flags))
        return made[-1]

    yield make
    for one in made:
        for end in (one.stdin, one.stdout, one.stderr):
            os.close(end)
        one.stdio.finish()


def received(client: socket.socket) -> bytes | None:
    """All there is; None when the connection is open and there is nothing."""
    parts: list[bytes] = []
    while True:
        try:
            part = client.recv(1 << 20)
        except BlockingIOError:
            return b"".join(parts) or None
        if not part:
            return b"".join(parts)
        parts.append(part)


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def test_each_client_gets_the_streams_it_wants(program: "Callable[..., Program]") -> None:
    run = program()
    both, only_errors = run.attach(initial=b"HTTP/1.1 101 UPGRADED\r\n\r\n"), run.attach(stdout=False)
    os.write(run.stdout, b"out")
    os.write(run.stderr, b"err")
    run.turn()
    assert received(both) == b"HTTP/1.1 101 UPGRADED\r\n\r\n" + frame(1, b"out") + frame(2, b"err")
    assert received(only_errors) == frame(2, b"err")


def test_what_was_typed_before_the_attach_comes_first(program: "Callable[..., Program]") -> None:
    run = program()
    client = run.attach(received=b"early ")
    client.send(b"late")
    run.turn()
    assert run.read_stdin() == b"early late"


def test_the_end_of_input_reaches_the_program_once(program: "Callable[..., Program]") -> None:
    run = program(stdin_once=True)
    client = run.attach()
    client.send(b"all")
    client.shutdown(socket.SHUT_WR)
    run.turn()
    assert run.read_stdin() == b"all"
    assert run.read_stdin() == b""
    os.write(run.stdout, b"answer")
    run.turn()
    assert received(client) == frame(1, b"answer"), "the client still gets what the program answers"


def test_input_that_the_program_has_not_read_comes_before_its_end(program: "Callable[..., Program]") -> None:
    run = program(stdin_once=True)
    client = run.attach()
    sent = 0
    while sent < 1 << 20:
        sent += client.send(bytes(65536)) if sent < 300_000 else 1 << 20
        run.turn()
    client.shutdown(socket.SHUT_WR)
    total = 0
    while data := run.read_stdin():
        total += len(data)
        run.turn()
    assert data == b""
    assert total >= 300_000


def test_who_ends_typing_without_stdin_once_ends_the_attachment_only(program: "Callable[..., Program]") -> None:
    run = program(stdin_once=False)
    first, second = run.attach(), run.attach(stdin=False)
    first.shutdown(socket.SHUT_WR)
    run.turn()
    assert received(first) == b""
    assert run.read_stdin() is None
    os.write(run.stdout, b"on")
    run.turn()
    assert received(second) == frame(1, b"on")


def test_a_program_that_closed_its_stdin_is_not_disturbed(program: "Callable[..., Program]") -> None:
    run = program(stdin_once=True)
    client = run.attach()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, run.stdin)
    os.close(null)
    client.send(b"nobody reads")
    run.turn()
    os.write(run.stdout, b"fine")
    run.turn()
    assert received(client) == frame(1, b"fine")


def test_a_client_that_does_not_read_holds_up_nobody(program: "Callable[..., Program]") -> None:
    run = program()
    slow, quick = run.attach(), run.attach()
    wrote = b""
    got = b""
    for number in range(400):
        data = b"%08d" % number * 2000
        wrote += data
        os.write(run.stdout, data)
        run.turn()
        got += received(quick) or b""
    for end in (run.stdout, run.stderr):
        os.dup2(run.stdin, end)
    run.stdio.finish()
    assert run.log.read_bytes().count(b"stream") >= len(wrote) // 16384
    late = b""
    while part := received(slow):
        late += part
        run.turn()
    assert late == got
    assert got.count(b"\x01\0\0\0") == 400


def test_when_its_spool_is_full_the_program_waits(
    program: "Callable[..., Program]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "DISK_BYTES", 1 << 20)
    run = program()
    slow = run.attach(framed=False)
    os.set_blocking(run.stdout, False)
    wrote = 0
    try:
        while wrote < 64 << 20:
            wrote += os.write(run.stdout, bytes(65536))
            run.turn()
    except BlockingIOError:
        pass
    assert wrote < 4 << 20
    got = 0
    while got < wrote:
        got += len(received(slow) or b"")
        run.turn()
    assert os.write(run.stdout, bytes(65536)) == 65536


def test_a_full_client_that_hangs_up_frees_the_program(
    program: "Callable[..., Program]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "DISK_BYTES", 1 << 20)
    run = program()
    slow = run.attach(framed=False)
    os.set_blocking(run.stdout, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(run.stdout, bytes(65536))
            run.turn()
    slow.close()
    run.turn()
    assert os.write(run.stdout, b"goes on") == 7


def test_the_end_comes_when_everything_was_delivered(program: "Callable[..., Program]") -> None:
    run = program()
    client = run.attach(framed=False)
    for _ in range(40):
        os.write(run.stdout, bytes(60_000))
        run.turn()
    os.write(run.stdout, b"last words")
    for end in (run.stdout, run.stderr):
        os.dup2(run.stdin, end)
    run.stdio.finish()
    got = bytearray()
    while part := received(client):
        got += part
        run.turn()
    assert len(got) == 40 * 60_000 + 10
    assert got.endswith(b"last words")
    assert not run.poll, "nothing is watched any more: the shim may end"


def test_a_terminal_is_one_raw_stream(program: "Callable[..., Program]") -> None:
    run = program(terminal=True)
    client = run.attach()
    os.write(run.stdout, b"out\n")
    os.write(run.stderr, b"err\n")
    client.send(b"typed\n")
    # The terminal echoes in its own time.
    assert run.turn_until(client, len(b"out\r\nerr\r\ntyped\r\n")) == b"out\r\nerr\r\ntyped\r\n"
    assert run.read_stdin() == b"typed\n"


def test_a_terminal_outlives_a_program_that_closes_it_for_a_while(program: "Callable[..., Program]") -> None:
    run = program(terminal=True)
    name = os.ttyname(run.stdout)
    null = os.open("/dev/null", os.O_RDWR)
    for end in (run.stdin, run.stdout, run.stderr):
        os.dup2(null, end)
    os.close(null)
    run.turn()
    client = run.attach()
    again = os.open(name, os.O_RDWR | os.O_NOCTTY)
    os.write(again, b"back\n")
    os.close(again)
    assert run.turn_until(client, 6) == b"back\r\n"


def test_the_size_of_the_terminal(program: "Callable[..., Program]") -> None:
    run = program(terminal=True)
    run.stdio.resize(33, 121)
    assert os.get_terminal_size(run.stdout) == (121, 33)


def test_the_end_of_typing_does_not_close_a_terminal(program: "Callable[..., Program]") -> None:
    run = program(terminal=True, stdin_once=True)
    client = run.attach()
    client.shutdown(socket.SHUT_WR)
    run.turn()
    assert received(client) == b""
    assert run.read_stdin() is None


def test_detach_keys_end_the_attachment_only(program: "Callable[..., Program]") -> None:
    run = program(terminal=True)
    client = run.attach(detach_keys=CTRL_P_CTRL_Q)
    os.set_blocking(run.stdin, True)
    client.send(b"ls\n\x10")
    run.turn()
    assert run.detached == 0
    client.send(b"\x11lost")
    run.turn()
    assert run.detached == 1
    assert run.read_stdin() == b"ls\n"
    assert received(client) is not None
    assert client.recv(1) == b""


@given(st.lists(st.binary(max_size=6).map(lambda typed: bytes(b"ab"[byte % 2] for byte in typed)), max_size=8))
def test_keys_are_found_wherever_the_reads_are_cut(reads: list[bytes]) -> None:
    keys = b"aab"
    ours, theirs = socket.socketpair()
    with theirs:
        client = Client(
            ours.detach(), stdin=True, stdout=True, stderr=True, framed=False, detach_keys=keys, spool="/nowhere"
        )
        passed = b""
        for read in reads:
            out, detached = client.typed(read)
            passed += out
            if detached:
                break
        client.close()
    before, found, _ = b"".join(reads).partition(keys)
    assert detached if reads and found else True
    if found:
        assert passed == before
    else:
        held = before[len(passed) :]
        assert passed + held == before
        assert keys.startswith(held)
