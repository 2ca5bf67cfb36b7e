"""The resolver: a process of its own that answers at 127.0.0.11 inside containers of user-defined networks.

It is unprivileged and holds sockets that were opened inside the containers' namespaces: hostile packets never meet the
engine, and names resolve while the engine is down. One thread waits on epoll and never waits for anything else: a dead
upstream server delays only the query that was sent to it.

The engine speaks to it over a SEQPACKET socket, one JSON object a message (see `Resolver.obey`). Names it owns never
leave the host; what it does not own goes to the container's upstream servers, from the host's namespace, if it has any.
"""

import heapq
import os
import resource
import select
import socket
import sys
import time
from functools import partial

from onggi import jsontext
from onggi.linux import message
from onggi.linux.fd import Fd
from onggi.linux.process import prctl
from onggi.network import dns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Reply = Callable[[bytes], None]

VERSION = 1
NOBODY = 65534
PENDING = 128
"""Queries of one container that may wait for upstream servers; those above are refused."""
STREAMS = 16
"""TCP connections of one container."""
UPSTREAM_S = 2.0
STREAM_S = 10.0
BATCH = 64
"""Datagrams of one container that are read before others have their turn."""
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38


class Zone:
    """The names of one network: name → container → address, and back."""

    __slots__ = ("addresses", "name", "names", "subnet")

    def __init__(self, name: str, subnet: "tuple[int, int]") -> None:
        self.name = name.lower()
        self.subnet = subnet
        self.names: dict[str, dict[str, str]] = {}
        self.addresses: dict[str, tuple[str, str]] = {}
        """Address → container, its name."""

    def drop(self, container: str) -> None:
        for name in [name for name, found in self.names.items() if container in found]:
            del self.names[name][container]
            if not self.names[name]:
                del self.names[name]
        for address in [address for address, (holder, _) in self.addresses.items() if holder == container]:
            del self.addresses[address]

    def holds(self, address: str) -> bool:
        number = int.from_bytes(socket.inet_aton(address), "big")
        return self.subnet[0] <= number <= self.subnet[1]


class Client:
    """One container: its sockets, what it may know, whom else to ask for it."""

    __slots__ = ("datagrams", "listener", "names", "networks", "pending", "streams", "upstream")

    def __init__(self, datagrams: socket.socket, listener: socket.socket) -> None:
        self.datagrams, self.listener = datagrams, listener
        self.networks: list[str] = []
        self.upstream: list[str] = []
        self.names: dict[str, str] = {}
        """Names of its own: links, host.docker.internal."""
        self.pending = 0
        self.streams: set[Stream] = set()


class Stream:
    """One TCP connection of a container (RFC 7766: length, message, length, message, …)."""

    __slots__ = ("client", "connection", "incoming", "outgoing", "used_at")

    def __init__(self, client: Client, connection: socket.socket, now: float) -> None:
        self.client, self.connection = client, connection
        self.incoming, self.outgoing = bytearray(), bytearray()
        self.used_at = now


class Forward:
    """One query on its way to upstream servers."""

    __slots__ = ("client", "identity", "incoming", "outgoing", "query", "reply", "servers", "socket", "turn", "wire")

    def __init__(self, client: Client, query: dns.Query, wire: bytes, reply: "Reply", *, stream: bool) -> None:
        self.client, self.query, self.wire, self.reply = client, query, wire, reply
        self.servers = list(client.upstream)
        self.identity = 0
        self.socket: socket.socket | None = None
        self.turn = 0
        self.incoming = bytearray() if stream else None
        self.outgoing = b""


class Resolver:
    """The loop. `listener` is where the engine connects."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = 0
        self._engines: set[int] = set()
        self._clients: dict[str, Client] = {}
        self._zones: dict[str, Zone] = {}
        self._ended = False

    def run(self) -> None:
        """Until the engine says so, or is gone with nobody left to serve."""
        self._listener.setblocking(False)
        self._watch(self._listener.fileno(), select.EPOLLIN, self._accept_engine)
        while not self._ended:
            for number, events in self._epoll.poll(self._next_timer()):
                handler = self._handlers.get(number)
                if handler is not None:
                    handler(events)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()

    def _next_timer(self) -> float:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1

    def _after(self, seconds: float, act: "Callable[[], None]") -> None:
        self._ticket += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._ticket, act))

    def _watch(self, number: int, events: int, handler: "Callable[[int], None]") -> None:
        if number in self._handlers:
            self._epoll.modify(number, events)
        else:
            self._epoll.register(number, events)
        self._handlers[number] = handler

    def _forget(self, number: int) -> None:
        if self._handlers.pop(number, None) is not None:
            self._epoll.unregister(number)

    # The engine

    def _accept_engine(self, _: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it was given up meanwhile
        connection.setblocking(False)
        number = connection.detach()
        self._engines.add(number)
        self._watch(number, select.EPOLLIN, lambda _: self._hear(number))

    def _hear(self, number: int) -> None:
        while True:
            try:
                order = message.receive(number)
            except BlockingIOError:
                return
            except ConnectionResetError:
                order = None
            if order is None:
                self._forget(number)
                self._engines.discard(number)
                os.close(number)
                # Without an engine it goes on for the containers that run; for nobody it would run for ever.
                self._ended = self._ended or (not self._engines and not self._clients)
                return
            try:
                answer = self.obey(jsontext.loads(order.payload), order.descriptors)
            finally:
                order.close()
            if answer is not None:
                message.send(number, jsontext.dumps(answer).encode())

    def obey(self, order: "dict[str, Any]", descriptors: "list[Fd]") -> "dict[str, Any] | None":
        """One order of the engine.

        sync                                        → {"version": 1, "clients": [ID, …]}
        open    client networks upstream names      + its UDP and its TCP socket
        update  client networks upstream names
        close   client
        add     network network_name first last client names address   first and last address, as numbers
        drop    network client
        end
        """
        what = order["do"]
        if what == "sync":
            return {"version": VERSION, "clients": list(self._clients)}
        if what == "open":
            self._open(order, *descriptors)
        elif what == "update":
            client = self._clients.get(order["client"])
            if client is not None:
                self._describe(client, order)
        elif what == "close":
            self._close(order["client"])
        elif what == "add":
            zone = self._zones.setdefault(
                order["network"], Zone(order["network_name"], (order["first"], order["last"]))
            )
            zone.drop(order["client"])
            for name in order["names"]:
                zone.names.setdefault(name.lower(), {})[order["client"]] = order["address"]
            zone.addresses[order["address"]] = (order["client"], order["names"][0])
        elif what == "drop":
            found = self._zones.get(order["network"])
            if found is not None:
                found.drop(order["client"])
                if not found.addresses:
                    del self._zones[order["network"]]
        elif what == "end":
            self._ended = True
        return None

    def _open(self, order: "dict[str, Any]", datagrams: Fd, listener: Fd) -> None:
        self._close(order["client"])
        client = Client(socket.socket(fileno=datagrams.take()), socket.socket(fileno=listener.take()))
        client.datagrams.setblocking(False)
        client.listener.setblocking(False)
        self._describe(client, order)
        self._clients[order["client"]] = client
        self._watch(client.datagrams.fileno(), select.EPOLLIN, lambda _: self._read_datagrams(client))
        self._watch(client.listener.fileno(), select.EPOLLIN, lambda _: self._accept_stream(client))

    @staticmethod
    def _describe(client: Client, order: "dict[str, Any]") -> None:
        client.networks, client.upstream = order["networks"], order["upstream"]
        client.names = {name.lower(): address for name, address in order["names"].items()}

    def _close(self, identity: str) -> None:
        client = self._clients.pop(identity, None)
        if client is None:
            return
        for stream in list(client.streams):
            self._end_stream(stream)
        for each in (client.datagrams, client.listener):
            self._forget(each.fileno())
            each.close()

    # Queries

    def _read_datagrams(self, client: Client) -> None:
        for _ in range(BATCH):
            try:
                wire, sender = client.datagrams.recvfrom(dns.MESSAGE_BYTES)
            except OSError:
                return  # nothing left, or an ICMP error for a reply of ours: the asker has gone

            def reply(answer: bytes, sender: "Any" = sender) -> None:
                try:
                    client.datagrams.sendto(answer, sender)
                except OSError:
                    pass  # closed, or its buffer is full: datagrams may be lost, the asker asks again

            self._answer(client, wire, reply, stream=False)

    def _answer(self, client: Client, wire: bytes, reply: "Reply", *, stream: bool) -> None:
        try:
            query = dns.parse(wire)
        except dns.Malformed as error:
            if error.code is not None:
                reply(dns.refusal(wire, error.code))
            return
        limit = dns.MESSAGE_BYTES if stream else dns.UDP_BYTES
        found = self._local(client, query)
        if found is not None:
            reply(dns.answer(query, *found, limit=limit))
        elif not client.upstream:
            reply(dns.answer(query, dns.SERVFAIL))
        elif client.pending >= PENDING:
            reply(dns.answer(query, dns.REFUSED))
        else:
            client.pending += 1
            self._ask_next(Forward(client, query, wire, reply, stream=stream))

    def _local(self, client: Client, query: dns.Query) -> "tuple[int, Sequence[tuple[int, bytes]]] | None":
        """Code and records for a name that is known here; None for all others."""
        zones = [self._zones[network] for network in client.networks if network in self._zones]
        address = dns.reverse_address(query.name)
        if address is not None:
            for zone in zones:
                if address in zone.addresses:
                    name = f"{zone.addresses[address][1]}.{zone.name}"
                    try:
                        data = dns.encode_name(name)
                    except (ValueError, UnicodeEncodeError):
                        return dns.NXDOMAIN, ()
                    wanted = query.sort == dns.IN and query.kind in {dns.PTR, dns.ANY}
                    return dns.NOERROR, [(dns.PTR, data)] if wanted else []
                if zone.holds(address):
                    return dns.NXDOMAIN, ()
            return None
        addresses = self._addresses(client, zones, query.name)
        if addresses is None:
            return None
        if query.sort != dns.IN or query.kind not in {dns.A, dns.ANY}:
            return dns.NOERROR, ()  # the name is there, but nothing of that kind
        turn = int.from_bytes(os.urandom(1), "big") % len(addresses)
        return dns.NOERROR, [(dns.A, socket.inet_aton(each)) for each in addresses[turn:] + addresses[:turn]]

    @staticmethod
    def _addresses(client: Client, zones: "list[Zone]", name: str) -> "list[str] | None":
        for zone in zones:
            if name in zone.names:
                return list(zone.names[name].values())
        first, dot, last = name.rpartition(".")
        if dot:
            for zone in zones:
                if zone.name == last and first in zone.names:
                    return list(zone.names[first].values())
        own = client.names.get(name)
        return [own] if own is not None else None

    # Upstream

    def _ask_next(self, forward: Forward) -> None:
        """Send the query to the next server, or give up."""
        self._drop_socket(forward)
        while forward.servers:
            server = forward.servers.pop(0)
            try:
                self._send(forward, server)
            except OSError:
                continue
            self._after(UPSTREAM_S, partial(self._expire_turn, forward, forward.turn))
            return
        self._settle(forward, dns.answer(forward.query, dns.SERVFAIL))

    def _expire_turn(self, forward: Forward, turn: int) -> None:
        if forward.turn == turn and forward.socket is not None:
            self._ask_next(forward)

    def _send(self, forward: Forward, server: str) -> None:
        forward.turn += 1
        forward.identity = int.from_bytes(os.urandom(2), "big")
        wire = dns.with_id(forward.wire, forward.identity)
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        stream = forward.incoming is not None
        # A socket for each query: its port is one more thing that a forger has to guess. Connected, it hears nobody
        # but the server that was asked.
        connection = socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        forward.socket = connection
        connection.setblocking(False)
        number = connection.fileno()
        if forward.incoming is None:
            connection.connect((server, 53))
            connection.send(wire)
            self._watch(number, select.EPOLLIN, lambda _: self._hear_datagram(forward))
            return
        forward.incoming.clear()
        forward.outgoing = len(wire).to_bytes(2, "big") + wire
        try:
            connection.connect((server, 53))
        except BlockingIOError:
            pass  # EINPROGRESS
        self._watch(number, select.EPOLLOUT, lambda events: self._speak_stream(forward, events))

    def _hear_datagram(self, forward: Forward) -> None:
        assert forward.socket is not None, "a query without a socket hears nothing"
        try:
            wire = forward.socket.recv(dns.MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._ask_next(forward)
            return
        if dns.replies_to(wire, forward.query, forward.identity):
            self._take(forward, wire)

    def _speak_stream(self, forward: Forward, events: int) -> None:
        assert forward.socket is not None, "a query without a socket hears nothing"
        assert forward.incoming is not None, "a query by datagram has no stream"
        try:
            if forward.outgoing:
                sent = forward.socket.send(forward.outgoing)
                forward.outgoing = forward.outgoing[sent:]
                if not forward.outgoing:
                    self._watch(
                        forward.socket.fileno(), select.EPOLLIN, lambda events: self._speak_stream(forward, events)
                    )
                return
            piece = forward.socket.recv(dns.MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._ask_next(forward)
            return
        forward.incoming += piece
        length = int.from_bytes(forward.incoming[:2], "big")
        if len(forward.incoming) >= 2 + length > 2:
            wire = bytes(forward.incoming[2 : 2 + length])
            if dns.replies_to(wire, forward.query, forward.identity):
                self._take(forward, wire)
                return
            piece = b""
        if not piece:
            self._ask_next(forward)

    def _take(self, forward: Forward, wire: bytes) -> None:
        """A server's answer: the next one is asked when it says that it cannot tell."""
        if forward.servers and dns.code_of(wire) in {dns.SERVFAIL, dns.REFUSED, dns.NOTIMP}:
            self._ask_next(forward)
        else:
            self._settle(forward, dns.with_id(wire, forward.query.id))

    def _settle(self, forward: Forward, answer: bytes) -> None:
        self._drop_socket(forward)
        forward.turn += 1
        forward.client.pending -= 1
        forward.reply(answer)

    def _drop_socket(self, forward: Forward) -> None:
        if forward.socket is not None:
            self._forget(forward.socket.fileno())
            forward.socket.close()
            forward.socket = None

    # Streams of containers

    def _accept_stream(self, client: Client) -> None:
        try:
            connection, _ = client.listener.accept()
        except OSError:
            return  # the connection was given up meanwhile
        if len(client.streams) >= STREAMS:
            connection.close()
            return
        connection.setblocking(False)
        stream = Stream(client, connection, time.monotonic())
        client.streams.add(stream)
        self._watch(connection.fileno(), select.EPOLLIN, lambda events: self._serve_stream(stream, events))
        self._after(STREAM_S, lambda: self._expire(stream))

    def _expire(self, stream: Stream) -> None:
        if stream not in stream.client.streams:
            return
        left = stream.used_at + STREAM_S - time.monotonic()
        if left > 0:
            self._after(left, lambda: self._expire(stream))
        else:
            self._end_stream(stream)

    def _end_stream(self, stream: Stream) -> None:
        if stream in stream.client.streams:
            stream.client.streams.discard(stream)
            self._forget(stream.connection.fileno())
            stream.connection.close()

    def _serve_stream(self, stream: Stream, events: int) -> None:
        stream.used_at = time.monotonic()
        try:
            if events & select.EPOLLOUT and stream.outgoing:
                del stream.outgoing[: stream.connection.send(stream.outgoing)]
                self._arm(stream)
                return
            piece = stream.connection.recv(dns.MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._end_stream(stream)
            return
        stream.incoming += piece
        while len(stream.incoming) >= 2 and stream in stream.client.streams:
            length = int.from_bytes(stream.incoming[:2], "big")
            if len(stream.incoming) < 2 + length:
                break
            wire = bytes(stream.incoming[2 : 2 + length])
            del stream.incoming[: 2 + length]
            self._answer(stream.client, wire, lambda answer: self._write_stream(stream, answer), stream=True)

    def _write_stream(self, stream: Stream, answer: bytes) -> None:
        if stream not in stream.client.streams:
            return
        stream.outgoing += len(answer).to_bytes(2, "big") + answer
        if len(stream.outgoing) > 4 * dns.MESSAGE_BYTES:
            self._end_stream(stream)  # it asks and does not read
            return
        self._arm(stream)

    def _arm(self, stream: Stream) -> None:
        """With answers to be read, wait for that first: no more questions are taken meanwhile."""
        events = select.EPOLLOUT if stream.outgoing else select.EPOLLIN
        self._watch(stream.connection.fileno(), events, lambda events: self._serve_stream(stream, events))


def drop_privileges() -> None:
    """Nobody, for good. Sockets in hand stay."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.chdir("/")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    prctl(_PR_SET_DUMPABLE, 0)


def main() -> None:
    """`resolver DIRECTORY DESCRIPTOR`: whose it is (for those who look at `ps`), and the listening socket."""
    listener = socket.socket(fileno=int(sys.argv[-1]))
    drop_privileges()
    Resolver(listener).run()
