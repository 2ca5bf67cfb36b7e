"""Where a request comes from, and how its client reaches us. What a header says is believed of trusted proxies only.

Links and realms in answers begin with the configured `url`. Without one they name the host that the client called, if
that is an address, localhost, this machine's name or one given by --name; else the address that the connection has
here. So nobody can steer where another's client sends its password.
"""

import ipaddress
import re
import socket
from functools import lru_cache

from aiohttp import web

from onggi.registry.settings import Settings

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII)


def of(request: web.Request, settings: Settings) -> tuple[str, str]:
    """The client's address, and the base of links for it."""
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    address = peer[0] if isinstance(peer, tuple) else ""
    scheme, host = request.scheme if settings.tls is None else "https", request.headers.get("Host", "")
    if settings.trusted_proxies and _trusted(address, settings):
        address = _forwarded_for(request.headers.getall("X-Forwarded-For", []), settings) or address
        forwarded = request.headers.get("X-Forwarded-Proto", "").strip().lower()
        scheme = forwarded if forwarded in ("http", "https") else scheme
        host = request.headers.get("X-Forwarded-Host", host).strip()
    if settings.url:
        return address, settings.url
    if _acceptable(host, settings.names):
        return address, f"{scheme}://{host}"
    here = transport.get_extra_info("sockname") if transport is not None else None
    if isinstance(here, tuple):
        name = f"[{here[0]}]" if ":" in here[0] else here[0]
        return address, f"{scheme}://{name}:{here[1]}"
    return address, f"{scheme}://localhost"


def _trusted(address: str, settings: Settings) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in settings.trusted_proxies)


def _forwarded_for(headers: list[str], settings: Settings) -> str:
    """The last address of the chain that is no proxy of ours: what stands before it anybody may have written."""
    for text in reversed([part.strip() for header in headers for part in header.split(",")]):
        try:
            ipaddress.ip_address(text)
        except ValueError:
            return ""
        if not _trusted(text, settings):
            return text
    return ""


@lru_cache(maxsize=256)
def _acceptable(host: str, names: tuple[str, ...]) -> bool:
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].strip("[]").lower()
    own = socket.gethostname().lower()
    if name in ("localhost", own, own.partition(".")[0], *names):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
