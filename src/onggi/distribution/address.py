"""Which addresses a request may go to when a registry, not the user, chose the host.

A user may name any registry. Where its answers point to (token realms, redirects, foreign layers) may be any public
host, but an address of this machine, of the local network or of a cloud's metadata service only when the registry
itself is in such a place: else a registry could use the daemon to reach what it can't reach itself. Addresses are
checked at the connect, after the look-up of the name, so a name that changes its mind gains nothing.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult

from onggi.errors import Forbidden

_METADATA = frozenset(ip_address(text) for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200"))
_SHARED = ip_network("100.64.0.0/10")
_TRANSLATED: tuple[IPv6Network, ...] = (IPv6Network("64:ff9b::/96"),)


class Scope(StrEnum):
    """Where an address is."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    FORBIDDEN = "special"
    """Link-local, multicast, unspecified, metadata: never because a registry says so."""


class AddressRefused(Forbidden):
    """A registry pointed to a place that it has no business with."""

    def __init__(self, host: str, scope: Scope) -> None:
        super().__init__(f"refused: the registry refers to {host}, a {scope} address that is not its own")


def scope_of(text: str) -> Scope:
    """Raises ValueError when `text` is no address."""
    address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif any(address in network for network in _TRANSLATED):
            address = IPv4Address(int(address) & 0xFFFFFFFF)
        elif address.sixtofour is not None:
            address = address.sixtofour
    if address in _METADATA or address.is_link_local or address.is_multicast or address.is_unspecified:
        return Scope.FORBIDDEN
    if address.is_loopback:
        return Scope.LOOPBACK
    if address.is_private or (isinstance(address, IPv4Address) and address in _SHARED):
        return Scope.PRIVATE
    return Scope.PUBLIC if address.is_global else Scope.FORBIDDEN


def scope_of_literal(host: str) -> Scope | None:
    """Of a host that is an address already; None for a name."""
    try:
        return scope_of(host.strip("[]"))
    except ValueError:
        return None


def beside(addresses: Iterable[str]) -> frozenset[Scope]:
    """Where the answers of a registry at `addresses` may point to."""
    return frozenset({Scope.PUBLIC, *(scope_of(address) for address in addresses)} - {Scope.FORBIDDEN})


def is_special(addresses: Sequence[str]) -> bool:
    """A place that only the user himself may name; so is one without address."""
    return not addresses or any(scope_of(address) == Scope.FORBIDDEN for address in addresses)


async def look_up(host: str) -> list[str]:
    """All addresses of `host`; none when there is no such name."""
    host = host.strip("[]")
    if scope_of_literal(host) is not None:
        return [host]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


Permits = Callable[[str], bool]
"""May an address be connected to at all? What whoever runs the program allows, whatever users and registries name."""


class NotPermitted(Forbidden):
    """Whoever runs this program allows no connection to the address."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(f"{host[:100]!a} is at {address[:60]}, where this program is not allowed to connect")


class ScopedResolver(AbstractResolver):
    """Gives only addresses within `allowed`; a name that has others only is refused. None: the user's own word.

    A name that has an address which `permits` does not let through is refused.
    """

    def __init__(self, allowed: frozenset[Scope] | None, permits: Permits | None = None) -> None:
        self._allowed, self._permits = allowed, permits

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results: list[ResolveResult] = []
        refused: Scope | None = None
        for kind, _, protocol, _, address in found:
            text = str(address[0])
            if self._permits is not None and not self._permits(text):
                raise NotPermitted(host, text)
            scope = scope_of(text)
            if self._allowed is not None and scope not in self._allowed:
                refused = scope
                continue
            results.append(
                ResolveResult(
                    hostname=host,
                    host=text,
                    port=port,
                    family=int(kind),
                    proto=protocol,
                    flags=int(socket.AI_NUMERICHOST | socket.AI_NUMERICSERV),
                )
            )
        if not results and refused is not None:
            raise AddressRefused(host, refused)
        return results

    async def close(self) -> None:
        """Nothing is held."""
