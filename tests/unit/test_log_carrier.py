"""What goes to remote logging drivers: channel and carrier as the shim runs them, against real sockets."""

import array
import gzip
import json
import os
import re
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onggi.runtime.logs.channel import Channel, RemoteRefused
from onggi.runtime.poll import Poll
from tests.conditions import until

NOW_NS = 1_764_547_200_123_456_789
LONG = b"x" * 16384


class Shim:
    """The channel's owner: turns its loop and reaps its children."""

    def __init__(self, order: dict[str, Any], buffer_bytes: int | None = None) -> None:
        self.poll = Poll()
        self.channel = Channel(order, buffer_bytes, self.poll)
        self._closed = False

    def record(self, *parts: bytes, stream: str = "stdout") -> None:
        self.channel.record(stream, list(parts), NOW_NS)

    def turn_until(self, holds: Callable[[], object]) -> None:
        def turn() -> object:
            if self.poll:
                self.poll.turn(10)
            return holds()

        until(turn)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.channel.close()
        until(_no_child)


def _no_child() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


@pytest.fixture
def shim() -> Iterator[Callable[..., Shim]]:
    opened: list[Shim] = []

    def open(order: dict[str, Any], buffer_bytes: int | None = None) -> Shim:
        opened.append(Shim(order, buffer_bytes))
        return opened[-1]

    yield open
    for each in opened:
        each.close()


class Stream:
    """A server that keeps what each client sends."""

    def __init__(self, family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> None:
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.settimeout(60)
        self.listener.bind(address)
        self.listener.listen()
        self.port = self.listener.getsockname()[1] if family == socket.AF_INET else 0
        self.client: socket.socket | None = None

    def read(self, size: int) -> bytes:
        if self.client is None:
            self.client, _ = self.listener.accept()
            self.client.settimeout(60)
        data = b""
        while len(data) < size and (piece := self.client.recv(size - len(data))):
            data += piece
        return data

    def read_all(self) -> bytes:
        return self.read(1 << 30)

    def close(self) -> None:
        self.listener.close()
        if self.client is not None:
            self.client.close()


@pytest.fixture
def server() -> Iterator[Stream]:
    opened = Stream()
    yield opened
    opened.close()


@pytest.fixture
def datagrams() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(60)
        yield opened


def syslog(network: str, *, port: int = 0, path: str = "", format: str = "", **more: Any) -> dict[str, Any]:
    tls = {"ca": "", "cert": "", "key": "", "skip_verify": False}
    return {"driver": "syslog", "network": network, "host": "127.0.0.1", "port": port, "path": path, "facility": 24,
            "format": format, "tag": "web", "hostname": "here", "tls": tls} | more  # fmt: skip


def gelf(network: str, port: int, compression: str = "gzip", **more: Any) -> dict[str, Any]:
    return {"driver": "gelf", "network": network, "host": "127.0.0.1", "port": port, "hostname": "here",
            "extra": {"_tag": "web"}, "compression": compression, "level": 1, "reconnects": 3, "delay_s": 0} | more  # fmt: skip


def fluentd(port: int, **more: Any) -> dict[str, Any]:
    return {"driver": "fluentd", "network": "tcp", "host": "127.0.0.1", "port": port, "tag": "docker.web",
            "common": {"container_id": "c", "container_name": "/web"}, "retry_wait_s": 0.05, "max_retries": 5,
            "async": False, "reconnect_interval_s": 0, "sub_second_precision": False, "request_ack": False,
            "write_timeout_s": 0} | more  # fmt: skip


# syslog


@pytest.mark.parametrize(
    ("format", "shape"),
    [
        ("", rb"<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d web\[\d+\]: hello\n"),
        ("rfc3164", rb"<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d here web\[\d+\]: hello\n"),
        ("rfc5424", rb"<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d) here web \d+ web - hello\n"),
        ("rfc5424micro", rb"<30>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.123456(Z|[+-]\d\d:\d\d) here web \d+ web - hello\n"),
    ],
)
def test_formats_of_syslog(shim: Callable[..., Shim], datagrams: socket.socket, format: str, shape: bytes) -> None:
    shim(syslog("udp", port=datagrams.getsockname()[1], format=format)).record(b"hello\n")
    assert re.fullmatch(shape, datagrams.recv(4096))


def test_syslog_over_a_stream(shim: Callable[..., Shim], server: Stream) -> None:
    opened = shim(syslog("tcp", port=server.port))
    opened.record(b"one\ntwo\n")
    opened.record(b"wrong\n", stream="stderr")
    opened.record(LONG, b"end\n")
    opened.close()
    lines = server.read_all().splitlines()
    assert [line.partition(b": ")[2] for line in lines] == [b"one", b"two", b"wrong", LONG, b"end"]
    assert [line[:4] for line in lines] == [b"<30>", b"<30>", b"<27>", b"<30>", b"<30>"]


@pytest.mark.parametrize("kind", ["unix", "unixgram"])
def test_syslog_on_the_machine(shim: Callable[..., Shim], tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "log")
    if kind == "unix":
        server = Stream(socket.AF_UNIX, path)
        shim(syslog("unix", path=path)).record(b"hello\n")
        assert server.read(4) == b"<30>"
        server.close()
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        shim(syslog("unixgram", path=path)).record(b"hello\n")
        assert listening.recv(4096).endswith(b": hello\n")


def test_a_server_that_comes_back(shim: Callable[..., Shim], server: Stream) -> None:
    """What it was sent before it went is its own affair; afterwards each line arrives once."""
    opened = shim(syslog("tcp", port=server.port))
    opened.record(b"one\n")
    assert server.read(1)
    assert server.client is not None
    server.client.close()
    server.client = None
    opened.record(b"two\n")
    opened.close()
    assert server.read_all().endswith(b": two\n")


def test_a_server_that_is_not_there(shim: Callable[..., Shim]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(RemoteRefused) as refused:
            shim(syslog("tcp", port=port))
        assert refused.value.strerror == f"dial tcp 127.0.0.1:{port}: connect: connection refused"
        with pytest.raises(RemoteRefused) as refused:
            shim(gelf("tcp", port))
        assert refused.value.strerror == (
            f"gelf: cannot connect to GELF endpoint: 127.0.0.1:{port} dial tcp 127.0.0.1:{port}: connect: connection refused"
        )
        assert _no_child()
        shim(fluentd(port, **{"async": True, "max_retries": 0})).record(b"nobody listens\n")


# GELF


@pytest.mark.parametrize("compression", ["gzip", "zlib", "none"])
def test_gelf_datagrams(shim: Callable[..., Shim], datagrams: socket.socket, compression: str) -> None:
    shim(gelf("udp", datagrams.getsockname()[1], compression)).record(b"h\xc3\xa9 \xff\n\nsecond\n", stream="stderr")
    unpack: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "zlib": zlib.decompress, "none": bytes}
    first, second = (json.loads(unpack[compression](datagrams.recv(65536))) for _ in range(2))
    assert first == {
        "version": "1.1", "host": "here", "short_message": "hé \ufffd", "timestamp": 1764547200.123, "level": 3,
        "_tag": "web",
    }  # fmt: skip
    assert second["short_message"] == "second", "an empty line is no message"


def test_a_long_gelf_message_comes_in_chunks(shim: Callable[..., Shim], datagrams: socket.socket) -> None:
    text = os.urandom(4000).hex().encode()
    shim(gelf("udp", datagrams.getsockname()[1], "none")).record(text + b"\n")
    chunks: dict[int, bytes] = {}
    count = 1
    while len(chunks) < count:
        chunk = datagrams.recv(65536)
        assert chunk[:2] == b"\x1e\x0f"
        number, count = struct.unpack("BB", chunk[10:12])
        chunks[number] = chunk[12:]
        assert len(chunk) <= 1420
    assert json.loads(b"".join(chunks[n] for n in range(count)))["short_message"] == text.decode()


def test_gelf_over_a_stream(shim: Callable[..., Shim], server: Stream) -> None:
    opened = shim(gelf("tcp", server.port))
    opened.record(b"one\ntwo\n")
    opened.close()
    *messages, end = server.read_all().split(b"\0")
    assert [json.loads(message)["short_message"] for message in messages] == ["one", "two"]
    assert end == b""


# Fluentd


def _forwarded(data: bytes) -> list[Any]:
    """The MessagePack values one behind the other."""
    found = []
    while data:
        for size in range(1, len(data) + 1):
            try:
                found.append(msgspec.msgpack.decode(data[:size], ext_hook=lambda code, value: (code, bytes(value))))
            except msgspec.DecodeError:
                continue
            data = data[size:]
            break
    return found


def test_fluentd(shim: Callable[..., Shim], server: Stream) -> None:
    opened = shim(fluentd(server.port))
    opened.record(b"one\n")
    opened.record(b"half", b"of it\n", stream="stderr")
    opened.close()
    one, half, rest = _forwarded(server.read_all())
    assert one == ["docker.web", NOW_NS // 10**9,
                   {"container_id": "c", "container_name": "/web", "source": "stdout", "log": "one"}, {}]  # fmt: skip
    pieces = [
        (m[2]["log"], m[2]["partial_message"], m[2]["partial_ordinal"], m[2]["partial_last"]) for m in (half, rest)
    ]
    assert pieces == [("half", "true", "1", "false"), ("of it", "true", "2", "true")]
    assert half[2]["partial_id"] == rest[2]["partial_id"]


def test_fluentd_with_exact_times_and_receipts(shim: Callable[..., Shim], server: Stream) -> None:
    opened = shim(fluentd(server.port, sub_second_precision=True, request_ack=True))
    opened.record(b"one\n")
    data = b""
    until(lambda: _grown(server), "the message arrives")
    assert server.client is not None
    while True:
        data += server.client.recv(4096)
        try:
            (message,) = _forwarded(data)
            break
        except ValueError:
            continue
    assert message[1] == (0, struct.pack(">II", *divmod(NOW_NS, 10**9)))
    server.client.sendall(msgspec.msgpack.encode({"ack": message[3]["chunk"]}))
    opened.close()
    assert server.read_all() == b"", "once acknowledged it is not sent again"


def _grown(server: Stream) -> bool:
    if server.client is None:
        server.client, _ = server.listener.accept()
        server.client.settimeout(60)
    return True


# journald


def test_journald(shim: Callable[..., Shim], tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        journal.settimeout(60)
        opened = shim(
            {"driver": "journald", "path": path, "epoch": "e", "fields": {"CONTAINER_NAME": "web", "L": "a\nb"}}
        )
        opened.record(b"one\n")
        entry = journal.recv(65536)
        assert b"CONTAINER_NAME=web\n" in entry
        assert b"L\n" + (3).to_bytes(8, "little") + b"a\nb\n" in entry
        assert b"PRIORITY=6\nMESSAGE=one\nSYSLOG_TIMESTAMP=2025-12-01T00:00:00.123456789Z\n" in entry
        assert b"CONTAINER_LOG_EPOCH=e\nCONTAINER_LOG_ORDINAL=1\n" in entry
        assert b"PARTIAL" not in entry
        opened.record(LONG, b"end\n", stream="stderr")
        first, second = journal.recv(65536), journal.recv(65536)
        assert b"PRIORITY=3\nMESSAGE=" + LONG + b"\n" in first
        assert b"CONTAINER_PARTIAL_MESSAGE=true\n" in first
        assert b"CONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=true\n" in second


def test_a_journal_entry_too_long_for_a_datagram(shim: Callable[..., Shim], tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        journal.settimeout(60)
        shim({"driver": "journald", "path": path, "epoch": "e", "fields": {"BIG": "x" * 500_000}}).record(b"one\n")
        _, ancillary, _, _ = journal.recvmsg(1, socket.CMSG_SPACE(4))
        (number,) = array.array("i", ancillary[0][2])
        with open(number, "rb") as file:
            file.seek(0)
            assert file.read().startswith(b"BIG=" + b"x" * 500_000 + b"\nPRIORITY=6\nMESSAGE=one\n")


# Holding up, losing, dying


def test_in_blocking_mode_the_program_waits_and_nothing_is_lost(shim: Callable[..., Shim], server: Stream) -> None:
    opened = shim(syslog("tcp", port=server.port))
    wrote = 0
    while not opened.channel.full:
        opened.record(b"%06d" % wrote + LONG[:8000] + b"\n")
        wrote += 1
    drained: list[bool] = []
    opened.channel.drained = lambda: drained.append(True)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(server.read_all()))
    reader.start()
    opened.turn_until(lambda: drained)
    assert not opened.channel.full
    opened.close()
    reader.join(60)
    numbers = [line.partition(b": ")[2][:6] for line in received[0].splitlines()]
    assert numbers == [b"%06d" % n for n in range(wrote)]


def test_in_non_blocking_mode_it_goes_on_and_the_newest_are_lost(
    shim: Callable[..., Shim], server: Stream, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = shim(syslog("tcp", port=server.port), 100_000)
    for n in range(2000):
        opened.record(b"%06d" % n + LONG[:8000] + b"\n")
        assert not opened.channel.full
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(server.read_all()))
    reader.start()
    opened.close()
    reader.join(60)
    numbers = [int(line.partition(b": ")[2][:6]) for line in received[0].splitlines()]
    assert 0 < len(numbers) < 2000
    assert numbers == sorted(set(numbers)), "each once and in order"
    assert "parts of a log found its buffer full" in capfd.readouterr().err


def test_a_carrier_that_is_killed_is_begun_anew(shim: Callable[..., Shim], server: Stream) -> None:
    opened = shim(syslog("tcp", port=server.port))
    opened.record(b"one\n")
    assert server.read(1)
    assert server.client is not None
    server.client.close()
    server.client = None
    carrier = opened.channel._carrier
    os.kill(carrier, signal.SIGKILL)
    os.waitpid(carrier, 0)
    opened.record(b"two\n")  # while there is none
    opened.channel.child_ended(carrier)
    opened.record(b"three\n")
    opened.close()
    lines = server.read_all().splitlines()
    assert [line.partition(b": ")[2] for line in lines] == [b"two", b"three"]


def test_the_end_is_not_waited_for(shim: Callable[..., Shim], server: Stream) -> None:
    opened = shim(syslog("tcp", port=server.port))
    while not opened.channel.full:
        opened.record(LONG + b"\n")
    opened.record(b"last\n")
    begun = time.monotonic()
    opened.channel.close()
    assert time.monotonic() - begun < 5
    opened._closed = True
    assert server.read_all().endswith(b": last\n")
