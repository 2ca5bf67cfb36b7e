"""Published ports: what is asked for, which port of the host it gets, and holding that port against others."""

import errno
import random
import resource
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from onggi.errors import Conflict, InvalidParameter, OnggiError, System, Unsupported
from onggi.linux.fd import Fd
from onggi.network.endpoint import Binding, PublishedPort

ANY_ADDRESS = "0.0.0.0"
_SHARE = 0.75
"""Of the engine's descriptors that ports may take: without any it could serve nobody."""
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_STREAM}


class PortAllocated(Conflict):
    """Another container of this engine has the port."""

    def __init__(self, host_ip: str, port: int) -> None:
        super().__init__(f"Bind for {host_ip}:{port} failed: port is already allocated")


class PortInUse(System):
    """A process of the host has the port."""

    def __init__(self, port: PublishedPort, address: str, reason: str) -> None:
        super().__init__(
            f"failed to bind host port for {port.host_ip}:{port.host_port}:{address}:"
            f"{port.container_port}/{port.protocol}: {reason}"
        )


class TooManyPorts(System):
    """Each published port takes a descriptor of the engine: so no process of the host can have it too."""

    def __init__(self) -> None:
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        super().__init__(
            f"too many published ports: each takes one of the {most} files that the engine may have open; publish fewer, "
            "or raise the limit (ulimit -n, LimitNOFILE=)"
        )


@dataclass(frozen=True, slots=True)
class PortWish:
    """One port of a container and the ports of the host that may stand for it."""

    protocol: str
    container_port: int
    host_ip: str
    first: int
    """0: any free port."""
    last: int

    def is_met_by(self, port: PublishedPort) -> bool:
        same = (port.protocol, port.container_port, port.host_ip) == (self.protocol, self.container_port, self.host_ip)
        return same and (not self.first or self.first <= port.host_port <= self.last)


def parse_container_port(text: str) -> tuple[int, int, str]:
    """`80/tcp`, `80` or `8000-8010/udp` → first, last, protocol. Raises InvalidParameter."""
    ports, _, protocol = text.partition("/")
    protocol = (protocol or "tcp").lower()
    if protocol not in _KINDS:
        raise InvalidParameter(f"invalid proto: {protocol}")
    first, last = _range(ports, f"invalid containerPort: {ports}")
    if first == 0:
        raise InvalidParameter(f"invalid containerPort: {ports}")
    return first, last, protocol


def _range(text: str, refusal: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    if not (low.isascii() and low.isdigit()) or (dash and not (high.isascii() and high.isdigit())):
        raise InvalidParameter(refusal)
    first, last = int(low), int(high if dash else low)
    if not 0 <= first <= last <= 65535:
        raise InvalidParameter(refusal)
    return first, last


def wishes(
    bindings: Mapping[str, Sequence[Binding] | None],
    exposed: Sequence[str],
    *,
    publish_all: bool,
    default_address: str = ANY_ADDRESS,
) -> Iterator[PortWish]:
    """What a container's PortBindings, ExposedPorts and PublishAllPorts ask for, in order of the container's ports.

    Raises InvalidParameter for what is not a port or an address, Unsupported for IPv6 ones.
    """
    asked = sorted((parse_container_port(text), rows or ()) for text, rows in bindings.items())
    for (first, last, protocol), rows in asked:
        if first != last:
            raise InvalidParameter(f"invalid port specification: {first}-{last}/{protocol}")
        if protocol == "sctp" and rows:
            raise Unsupported("publishing of SCTP ports is not supported")
        for row in rows or ([Binding()] if publish_all else []):
            low, high = (
                _range(row.host_port, f"invalid port specification: {row.host_port!r}") if row.host_port else (0, 0)
            )
            yield PortWish(protocol, first, _host_address(row.host_ip, default_address), low, high)
    if publish_all:
        named = {port for (port, rows) in asked}
        for text in exposed:
            first, last, protocol = parse_container_port(text)
            for port in range(first, last + 1):
                if (port, port, protocol) not in named and protocol != "sctp":
                    yield PortWish(protocol, port, default_address, 0, 0)


def _host_address(text: str, default: str) -> str:
    if not text:
        return default
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidParameter(f"invalid IP address: {text}") from None
    if not isinstance(address, IPv4Address):
        raise Unsupported(f"publishing on the IPv6 address {address} is not supported")
    return str(address)


def port_map(published: Sequence[PublishedPort], exposed: Sequence[str]) -> Mapping[str, Sequence[Binding] | None]:
    """NetworkSettings.Ports: what is published with its bindings, what is only exposed with none."""
    found: dict[str, list[Binding] | None] = {}
    for text in exposed:
        first, last, protocol = parse_container_port(text)
        for number in range(first, last + 1):
            found[f"{number}/{protocol}"] = None
    for port in published:
        rows = found.get(port.container) or []
        rows.append(Binding(port.host_ip, str(port.host_port)))
        found[port.container] = rows
    return dict(sorted(found.items(), key=lambda item: parse_container_port(item[0])))


class HostPorts:
    """The host's ports that containers of this engine have.

    Each is held by a socket that listens and never answers: no process of the host can take the port meanwhile, and
    what comes for it is translated before it would reach the socket.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], dict[str, Fd]] = {}
        """Protocol and port → host address → the socket."""
        self._next: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(len(taken) for taken in self._held.values())

    def allocate(self, asked: Sequence[PortWish], address: str) -> tuple[PublishedPort, ...]:
        """A host port for each wish, all or none. `address`, the container's, is for error messages.

        Raises PortAllocated, PortInUse or TooManyPorts.
        """
        if len(self) + len(asked) > _SHARE * resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            raise TooManyPorts
        given: list[PublishedPort] = []
        free = _ephemeral_range() if any(not wish.first for wish in asked) else (0, 0)
        try:
            for wish in asked:
                given.append(self._allocate(wish, address, free))
        except BaseException:
            self.release(given)
            raise
        return tuple(given)

    def exchange(
        self, had: Sequence[PublishedPort], asked: Sequence[PortWish], address: str
    ) -> tuple[PublishedPort, ...]:
        """Other wishes of a container that has ports: those that still meet a wish stay, all others are released.

        Raises PortAllocated or PortInUse; then it has what it had.
        """
        kept: list[PublishedPort] = []
        missing: list[PortWish] = []
        for wish in asked:
            match = next((port for port in had if port not in kept and wish.is_met_by(port)), None)
            if match is None:
                missing.append(wish)
            else:
                kept.append(match)
        dropped = [port for port in had if port not in kept]
        self.release(dropped)  # first: one of them may be wished for another port of the container
        try:
            return (*kept, *self.allocate(missing, address))
        except BaseException:
            for port in dropped:
                self.hold(port, address)
            raise

    def _allocate(self, wish: PortWish, address: str, free: tuple[int, int]) -> PublishedPort:
        if wish.first == wish.last != 0:
            port = PublishedPort(wish.protocol, wish.container_port, wish.host_ip, wish.first)
            self.hold(port, address)
            return port
        low, high = (wish.first, wish.last) if wish.first else free
        span = high - low + 1
        # From a place of its own on: another engine that died may have left its rules for the first ports.
        start = self._next.get(wish.protocol, low + random.randrange(span)) if not wish.first else low
        for step in range(span):
            number = low + (start - low + step) % span
            port = PublishedPort(wish.protocol, wish.container_port, wish.host_ip, number)
            try:
                self.hold(port, address)
            except (PortAllocated, PortInUse):
                continue
            if not wish.first:
                self._next[wish.protocol] = number + 1
            return port
        if wish.first:
            raise PortAllocated(wish.host_ip, wish.first)
        raise System("all ports are allocated")

    def hold(self, port: PublishedPort, address: str) -> None:
        """Take exactly this port. Raises PortAllocated, PortInUse, TooManyPorts."""
        taken = self._held.get((port.protocol, port.host_port), {})
        if taken and (port.host_ip in taken or ANY_ADDRESS in {port.host_ip, *taken}):
            raise PortAllocated(port.host_ip, port.host_port)
        try:
            holder = socket.socket(socket.AF_INET, _KINDS[port.protocol] | socket.SOCK_CLOEXEC)
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise TooManyPorts from error
            raise
        try:
            if port.protocol == "tcp":
                # Else connections that have just ended keep the port closed for a minute. UDP has none, and there
                # the option would let two sockets share the port.
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((port.host_ip, port.host_port))
            if port.protocol == "tcp":
                holder.listen(0)
        except OSError as error:
            holder.close()
            reasons = {
                errno.EADDRINUSE: "address already in use",
                errno.EADDRNOTAVAIL: "cannot assign requested address",
                errno.EACCES: "permission denied",
            }
            if error.errno in reasons:
                raise PortInUse(port, address, reasons[error.errno]) from error
            raise
        self._held.setdefault((port.protocol, port.host_port), {})[port.host_ip] = Fd(holder.detach())

    def restore(
        self, had: Mapping[PublishedPort, str], has: Iterable[PublishedPort]
    ) -> Mapping[PublishedPort, OnggiError | OSError]:
        """Hold again what a container had (with its addresses), and no more what it has besides.

        Gives those that could not be had again, each with the reason.
        """
        has = set(has)
        self.release([port for port in has if port not in had])
        lost: dict[PublishedPort, OnggiError | OSError] = {}
        for port in had.keys() - has:
            try:
                self.hold(port, had[port])
            except (OnggiError, OSError) as error:
                lost[port] = error
        return lost

    def release(self, ports: Sequence[PublishedPort]) -> None:
        """Idempotent."""
        for port in ports:
            taken = self._held.get((port.protocol, port.host_port), {})
            holder = taken.pop(port.host_ip, None)
            if holder is not None:
                holder.close()
            if not taken:
                self._held.pop((port.protocol, port.host_port), None)

    def close(self) -> None:
        """Let go of all sockets; what runs stays published."""
        for taken in self._held.values():
            for holder in taken.values():
                holder.close()
        self._held.clear()


def _ephemeral_range() -> tuple[int, int]:
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(low), int(high)
