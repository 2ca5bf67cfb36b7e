"""Network namespaces from the test's side: working in one, asking and answering, a neighbour outside the host."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from onggi.linux.fd import Fd
from onggi.linux.netlink import Route
from onggi.linux.process import CLONE_NEWNET, setns, unshare
from onggi.network import dns

T = TypeVar("T")
PATIENCE_S = 20.0
SHORT_S = 1.5
"""How long silence must last to count as silence."""


def within(namespace: Fd, work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own inside a namespace."""
    outcome: list[T | BaseException] = []

    def enter() -> None:
        try:
            setns(namespace, CLONE_NEWNET)
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(PATIENCE_S)
    assert outcome, "the work inside did not end"
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


@contextmanager
def answering(namespace: Fd, port: int, text: bytes, *, udp: bool = False) -> Iterator[None]:
    """A server inside that says `text` to whoever comes."""
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM

    def listen() -> socket.socket:
        server = socket.socket(socket.AF_INET, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        if not udp:
            server.listen()
        return server

    server = within(namespace, listen)
    end = threading.Event()

    def serve() -> None:
        server.settimeout(0.1)
        while not end.is_set():
            try:
                if udp:
                    _, sender = server.recvfrom(100)
                    server.sendto(text, sender)
                else:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(text)
            except TimeoutError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        server.close()


def ask(address: str, port: int, *, udp: bool = False, timeout_s: float = PATIENCE_S) -> bytes:
    """What a server says; b"" when nobody answers."""
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(min(timeout_s, 2.0))
        try:
            if not udp:
                client.settimeout(timeout_s)
                client.connect((address, port))
                return client.recv(100)
            client.connect((address, port))
            while True:
                client.send(b"?")
                try:
                    return client.recv(100)
                except TimeoutError:
                    if time.monotonic() > deadline:
                        return b""
        except OSError:
            return b""


def connects_to(address: str, port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(SHORT_S)
        try:
            client.connect((address, port))
        except OSError:
            return False
        return True


def ask_from(namespace: Fd, address: str, port: int, *, udp: bool = False, timeout_s: float = PATIENCE_S) -> bytes:
    return within(namespace, lambda: ask(address, port, udp=udp, timeout_s=timeout_s))


def resolve(namespace: Fd, name: str, kind: int = dns.A, *, stream: bool = False) -> tuple[int, list[str]]:
    """Code and addresses (or raw data) that 127.0.0.11 answers inside."""

    def query() -> bytes:
        wire = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + dns.encode_name(name) + struct.pack(">HH", kind, dns.IN)
        kind_of_socket = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind_of_socket) as client:
            client.settimeout(PATIENCE_S)
            client.connect(("127.0.0.11", 53))
            if not stream:
                client.send(wire)
                return client.recv(4096)
            client.sendall(len(wire).to_bytes(2, "big") + wire)
            reply = b""
            while len(reply) < 2 or len(reply) < 2 + int.from_bytes(reply[:2], "big"):
                piece = client.recv(4096)
                assert piece, "the resolver closed the connection"
                reply += piece
            return reply[2:]

    reply = within(namespace, query)
    identity, _, _, count, _, _ = struct.unpack_from(">HHHHHH", reply)
    assert identity == 7
    offset = 12 + len(dns.encode_name(name)) + 4
    found = []
    for _ in range(count):
        _, sort, _, _, length = struct.unpack_from(">HHHIH", reply, offset)
        data = reply[offset + 12 : offset + 12 + length]
        found.append(socket.inet_ntoa(data) if sort == dns.A else repr(data))
        offset += 12 + length
    return dns.code_of(reply), sorted(found)


@contextmanager
def outside() -> Iterator[tuple[Fd, str]]:
    """A neighbour on a link of its own: its namespace, and the host's address on that link."""
    made: list[Fd] = []

    def make() -> None:
        unshare(CLONE_NEWNET)
        made.append(Fd(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    near = f"ogn{os.urandom(4).hex()}"
    third, fourth = os.urandom(2)
    subnet = f"198.18.{third}.{fourth & 0xFC}"
    base = subnet.rsplit(".", 1)[0]
    host, other = f"{base}.{(fourth & 0xFC) + 1}", f"{base}.{(fourth & 0xFC) + 2}"
    with made[0] as namespace, Route() as route:
        bridge = f"ogm{os.urandom(4).hex()}"
        route.add_bridge(bridge, mtu=1500)
        try:
            route.add_veth(near, "eth0", namespace.fileno(), master=route.index(bridge), mtu=1500, mac=b"\2\0\0\0\0\1")
            route.add_address(route.index(bridge), host, 30)
            route.up(route.index(bridge))

            def inside() -> None:
                with Route() as far:
                    far.up(1)
                    index = far.index("eth0")
                    far.up(index)
                    far.add_address(index, other, 30)
                    far.add_default_route(host)

            within(namespace, inside)
            yield namespace, host
        finally:
            route.delete(bridge)


def send_forged(namespace: Fd, gateway: str, destination: str, port: int) -> None:
    """From a neighbour's eth0: a datagram to `destination` in a frame that is addressed to the host's own link.

    No neighbour's kernel would send it so (127.0.0.1 is its own, foreign addresses need a route); an attacker does.
    """

    def send() -> None:
        with Route() as route:
            index = route.index("eth0")
            own_mac = next(link.mac for link in route.links() if link.index == index)
            own = next(address for found, address, _ in route.addresses() if found == index)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.sendto(b"?", (gateway, 9))  # so that the gateway's address is resolved
        deadline = time.monotonic() + PATIENCE_S
        host_mac = ""
        while not host_mac:
            assert time.monotonic() < deadline, "the gateway's MAC address did not become known"
            with open("/proc/thread-self/net/arp", encoding="ascii") as table:
                for line in table.readlines()[1:]:
                    address, _, flags, mac, *_ = line.split()
                    if address == gateway and int(flags, 16) & 2:
                        host_mac = mac
        datagram = struct.pack(">HHHH", 4000, port, 8 + 6, 0) + b"forged"
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, socket.IPPROTO_UDP, 0)
        head += socket.inet_aton(own) + socket.inet_aton(destination)
        total = sum(struct.unpack(">10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        head = head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
        frame = bytes.fromhex((host_mac + own_mac).replace(":", "")) + b"\x08\x00" + head + datagram
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
            raw.bind(("eth0", 0))
            raw.send(frame)

    within(namespace, send)


@contextmanager
def hearing(namespace: Fd, port: int) -> Iterator[Callable[[float], bool]]:
    """A UDP socket inside; the function tells whether a forged datagram comes within so many seconds."""

    def listen() -> socket.socket:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("0.0.0.0", port))
        return server

    with within(namespace, listen) as server:

        def heard(seconds: float) -> bool:
            server.settimeout(seconds)
            try:
                return server.recv(100) == b"forged"
            except TimeoutError:
                return False

        yield heard
