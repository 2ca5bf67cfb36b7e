"""Where a webhook may go: not into the machine, not into its network, unless the registry's owner allows it.

A project's owner writes the URL, and the registry's machine asks it: without a rule that reaches the cloud's metadata
address, databases on loopback, routers. Names are resolved once, every address is looked at, and the connection goes to
just those addresses, so that a second look-up can't lead elsewhere. (CVE-2020-13788)
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from onggi.errors import InvalidParameter

Networks = Sequence[IPv4Network | IPv6Network]
MOST_URL = 2000
_NAT64 = IPv6Network("64:ff9b::/96")
"""Leads to the IPv4 address in its last 32 bits. (RFC 6052)"""


class TargetForbidden(InvalidParameter):
    def __init__(self, host: str, address: str) -> None:
        super().__init__(
            f"the webhook's host {host[:100]!a} is at {address}, which is not on the public network: the registry's owner "
            "may allow it by --webhook-network"
        )


def check_url(text: str) -> str:
    """The URL, if its form will do. Raises InvalidParameter."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidParameter(f"the webhook's URL is malformed: {error}") from error
    if len(text) > MOST_URL or not text.isprintable() or " " in text:
        raise InvalidParameter("the webhook's URL is malformed or too long")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InvalidParameter("a webhook's URL is https://HOST[:PORT]/PATH, or http://")
    if parts.username is not None or parts.password is not None:
        raise InvalidParameter(
            "a webhook's URL holds no user and password: the receiver verifies the signature instead"
        )
    return text


def allowed(address: str, networks: Networks) -> bool:
    """True for a public address, and for what the registry's owner has allowed."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        within = IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else None
        found = found.ipv4_mapped or found.sixtofour or within or found
    if any(found.version == network.version and found in network for network in networks):
        return True
    return found.is_global and not found.is_multicast


class CheckedResolver(AbstractResolver):
    """Resolves names to addresses that are allowed, and refuses a name that has any other."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises TargetForbidden, OSError."""
        found: list[Any] = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=socket.AF_UNSPEC, flags=socket.AI_ADDRCONFIG
        )
        results: list[ResolveResult] = []
        for kind, _, protocol, _, place in found:
            if not allowed(place[0], self._networks):
                raise TargetForbidden(host, place[0])
            results.append(ResolveResult(hostname=host, host=place[0], port=port, family=kind, proto=protocol,
                                         flags=socket.AI_NUMERICHOST))  # fmt: skip
        return results

    async def close(self) -> None:
        """Nothing is kept."""


def check_literal(url: URL, networks: Networks) -> None:
    """An address in the URL is not resolved, so it is looked at here. Raises TargetForbidden.

    It is the host as the client reads it: other digits than ASCII's are numbers to it, too.
    """
    host = url.raw_host or ""
    # What aiohttp takes for an address, and so does not resolve (helpers.is_ip_address).
    if (":" in host or host.replace(".", "").isdigit()) and not allowed(host, networks):
        raise TargetForbidden(host, host)
