"""Keeps web pages out: a browser on a machine that serves the API over TCP must not be turned against it.

A page of another site is told apart by `Origin`; one whose name was made to point here (DNS rebinding) by `Host`. Neither
concerns a unix socket's clients, whose Host is whatever they like.
"""

import ipaddress
import socket
from collections.abc import Iterable

from aiohttp import web

from onggi.errors import Forbidden


class Guard:
    """`names` are host names that clients may use over TCP, beside addresses, localhost and this machine's own."""

    def __init__(self, names: Iterable[str]) -> None:
        own = socket.gethostname()
        self._names = frozenset(name.lower() for name in (*names, "localhost", own, own.partition(".")[0]))

    def check(self, request: web.Request) -> None:
        """Raises Forbidden."""
        if "Origin" in request.headers:
            raise Forbidden("requests by web pages are refused: the Origin header is not accepted")
        transport = request.transport
        if transport is None or not isinstance(transport.get_extra_info("sockname"), tuple):
            return
        host = request.headers.get("Host", "")
        name = host.partition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
        if name.lower() in self._names or _is_address(name):
            return
        raise Forbidden(
            f"the Host header {host[:200]!a} does not name this engine: call it by its address, or start the daemon with "
            f"--api-name {name[:100]!a}"
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
