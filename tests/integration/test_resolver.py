"""The resolver's loop with real sockets: upstream servers that answer, lie, stall or refuse."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from onggi import jsontext
from onggi.linux import message
from onggi.linux.fd import Fd
from onggi.network import dns
from onggi.network.resolver import Resolver

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to answer on port 53")
PATIENCE_S = 20.0


class Upstream:
    """A server on a loopback address of its own, port 53; `behave` makes replies from a query."""

    def __init__(self, behave: Callable[[bytes], list[bytes]]) -> None:
        self.behave = behave
        self.heard: list[str] = []
        self.address = f"127.{os.urandom(1)[0] | 1}.{os.urandom(1)[0]}.{os.urandom(1)[0] | 1}"
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind((self.address, 53))
        self.streams = socket.socket()
        self.streams.bind((self.address, 53))
        self.streams.listen()
        for work in (self._serve_datagrams, self._serve_streams):
            threading.Thread(target=work, daemon=True).start()

    def _serve_datagrams(self) -> None:
        while True:
            try:
                wire, sender = self.datagrams.recvfrom(4096)
            except OSError:
                return
            if not wire:  # shut down
                return
            self.heard.append(dns.parse(wire).name)
            for reply in self.behave(wire):
                self.datagrams.sendto(reply, sender)

    def _serve_streams(self) -> None:
        while True:
            try:
                connection, _ = self.streams.accept()
            except OSError:
                return
            with connection:
                wire = connection.recv(4096)[2:]
                self.heard.append(dns.parse(wire).name)
                for reply in self.behave(wire):
                    framed = len(reply).to_bytes(2, "big") + reply
                    connection.sendall(framed[:1])
                    connection.sendall(framed[1:])

    def close(self) -> None:
        for each in (self.datagrams, self.streams):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # a datagram socket is not connected, but wakes up all the same
            each.close()


def says(address: str) -> Callable[[bytes], list[bytes]]:
    return lambda wire: [dns.answer(dns.parse(wire), dns.NOERROR, [(dns.A, socket.inet_aton(address))])]


def silent(wire: bytes) -> list[bytes]:
    return []


def refuses(wire: bytes) -> list[bytes]:
    return [dns.answer(dns.parse(wire), dns.SERVFAIL)]


class Bench:
    """A resolver in a thread, the engine's connection to it, and its clients' sockets."""

    def __init__(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind("\0" + os.urandom(8).hex())
        listener.listen()
        self.engine = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.engine.connect(listener.getsockname())
        self.thread = threading.Thread(target=Resolver(listener).run)
        self.thread.start()

    def order(self, sockets: tuple[Fd, ...] = (), **order: object) -> None:
        message.send(self.engine.fileno(), jsontext.dumps(order).encode(), sockets)

    def client(self, name: str, networks: list[str], upstream: list[str]) -> tuple[str, int]:
        """Open a client; where it is to be asked, by either protocol."""
        while True:
            datagrams, stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
            datagrams.bind(("127.0.0.1", 0))
            try:
                stream.bind(datagrams.getsockname())
            except OSError:
                continue
            break
        stream.listen()
        where: tuple[str, int] = datagrams.getsockname()
        with Fd(datagrams.detach()) as one, Fd(stream.detach()) as two:
            self.order((one, two), do="open", client=name, networks=networks, upstream=upstream, names={})
        return where

    def sync(self) -> list[str]:
        self.order(do="sync")
        answer = message.receive(self.engine.fileno())
        assert answer is not None
        found: list[str] = jsontext.loads(answer.payload)["clients"]
        return found

    def end(self) -> None:
        self.order(do="end")
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        self.engine.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    try:
        yield made
    finally:
        made.end()


@contextmanager
def upstream(behave: Callable[[bytes], list[bytes]]) -> Iterator[Upstream]:
    made = Upstream(behave)
    try:
        yield made
    finally:
        made.close()


def wire_of(name: str, kind: int = dns.A) -> bytes:
    return struct.pack(">HHHHHH", 99, 0x0100, 1, 0, 0, 0) + dns.encode_name(name) + struct.pack(">HH", kind, dns.IN)


def ask(where: tuple[str, int], name: str, *, stream: bool = False) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        client.connect(where)
        wire = wire_of(name)
        if not stream:
            client.send(wire)
            return client.recv(4096)
        client.sendall(len(wire).to_bytes(2, "big") + wire)
        reply = client.recv(4096)
        while len(reply) < 2 or len(reply) < 2 + int.from_bytes(reply[:2], "big"):
            reply += client.recv(4096)
        return reply[2:]


def address_in(reply: bytes) -> str:
    assert reply[:2] == b"\0\x63"
    return socket.inet_ntoa(reply[-4:])


@pytest.mark.parametrize("stream", [False, True])
def test_other_names_go_upstream_and_own_ones_never(bench: Bench, *, stream: bool) -> None:
    with upstream(says("192.0.2.7")) as server:
        where = bench.client("c", ["n"], [server.address])
        bench.order(
            do="add", network="n", network_name="net", first=0, last=0, client="c", names=["web"], address="10.0.0.2"
        )
        bench.sync()
        assert address_in(ask(where, "web", stream=stream)) == "10.0.0.2"
        assert address_in(ask(where, "example.org", stream=stream)) == "192.0.2.7"
        assert server.heard == ["example.org"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_dead_server_and_a_refusing_one_are_passed_over(bench: Bench, *, stream: bool) -> None:
    with upstream(silent) as dead, upstream(refuses) as refusing, upstream(says("192.0.2.7")) as good:
        where = bench.client("c", [], [dead.address, refusing.address, good.address])
        assert address_in(ask(where, "example.org", stream=stream)) == "192.0.2.7"


def test_a_dead_server_delays_nobody_else(bench: Bench) -> None:
    with upstream(silent) as dead, upstream(says("192.0.2.7")) as good:
        stuck = bench.client("a", [], [dead.address] * 3)
        swift = bench.client("b", [], [good.address])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waiting:
            for _ in range(50):
                waiting.sendto(wire_of("stuck.example"), stuck)
            before = time.monotonic()
            assert address_in(ask(swift, "example.org")) == "192.0.2.7"
            assert time.monotonic() - before < 1.5


def test_nobody_to_ask_is_said_at_once(bench: Bench) -> None:
    assert dns.code_of(ask(bench.client("c", [], []), "example.org")) == dns.SERVFAIL


def test_forged_answers_are_not_believed(bench: Bench) -> None:
    def lie_first(wire: bytes) -> list[bytes]:
        query = dns.parse(wire)
        evil = [(dns.A, socket.inet_aton("6.6.6.6"))]
        other = dns.parse(wire.replace(b"example", b"elpmaxe"))
        return [
            dns.with_id(dns.answer(query, dns.NOERROR, evil), query.id ^ 1),
            dns.answer(other, dns.NOERROR, evil),
            wire,
            b"",
            *says("192.0.2.7")(wire),
        ]

    with upstream(lie_first) as server:
        assert address_in(ask(bench.client("c", [], [server.address]), "example.org")) == "192.0.2.7"


def test_a_flood_of_rubbish_and_of_queries_leaves_it_alive(bench: Bench) -> None:
    with upstream(silent) as dead:
        where = bench.client("c", ["n"], [dead.address])
        bench.order(
            do="add", network="n", network_name="net", first=0, last=0, client="c", names=["web"], address="10.0.0.2"
        )
        bench.sync()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            for number in range(3000):
                flood.sendto(os.urandom(number % 80), where)
                flood.sendto(wire_of(f"n{number}.example"), where)
        streams = [socket.create_connection(where, PATIENCE_S) for _ in range(40)]
        for stream in streams:
            try:
                stream.sendall(b"\xff\xff" + b"x" * 100)
            except OSError:
                continue  # one of those above the limit
        assert address_in(ask(where, "web")) == "10.0.0.2"
        for stream in streams:
            stream.close()


def test_a_closed_client_and_its_names_are_gone(bench: Bench) -> None:
    where = bench.client("c", ["n"], [])
    bench.order(
        do="add", network="n", network_name="net", first=0, last=0, client="d", names=["db"], address="10.0.0.3"
    )
    assert bench.sync() == ["c"]
    assert address_in(ask(where, "db.net")) == "10.0.0.3"
    bench.order(do="drop", network="n", client="d")
    bench.sync()
    assert dns.code_of(ask(where, "db.net")) == dns.SERVFAIL
    bench.order(do="close", client="c")
    assert bench.sync() == []
    with socket.socket() as client:
        client.settimeout(PATIENCE_S)
        with pytest.raises(ConnectionRefusedError):
            client.connect(where)
