"""Which proxy a request to a registry goes through. The rules are Go's (golang.org/x/net/http/httpproxy), so dockerd's.

A proxy is the administrator's word. It resolves names itself, so where a request goes behind it is the proxy's to
judge; what a registry names may still be no forbidden address, as far as this machine can tell (see `http`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from yarl import URL

from onggi.errors import InvalidParameter

_SCHEMES = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class _Exception:
    """One entry of NO_PROXY. `port` None: any."""

    name: str = ""
    network: IPv4Network | IPv6Network | None = None
    port: int | None = None
    below_only: bool = False
    """`.example.org`: hosts below it, not itself."""

    def takes(self, host: str, address: IPv4Address | IPv6Address | None, port: int | None) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address is not None and address.version == self.network.version and address in self.network
        return host.endswith(f".{self.name}") or (host == self.name and not self.below_only)


class Proxies:
    """HTTP_PROXY, HTTPS_PROXY and NO_PROXY. Raises InvalidParameter for a proxy that can't be used."""

    def __init__(self, http: str = "", https: str = "", no_proxy: str = "") -> None:
        self._proxies = {"http": _proxy_url("http-proxy", http), "https": _proxy_url("https-proxy", https)}
        entries = [entry for part in no_proxy.lower().split(",") if (entry := part.strip())]
        self._none = "*" in entries
        self._exceptions: Sequence[_Exception] = [_exception(entry) for entry in entries]

    def of(self, url: URL) -> URL | None:
        """The proxy for a request to `url`; None: go there directly, as to this machine itself always."""
        proxy = self._proxies.get(url.scheme)
        host = (url.host or "").lower().rstrip(".")
        if proxy is None or self._none or host == "localhost":
            return None
        address = _address(host)
        if address is not None and address.is_loopback:
            return None
        if any(entry.takes(host, address, url.port) for entry in self._exceptions):
            return None
        return proxy


def _proxy_url(option: str, text: str) -> URL | None:
    """`host:port` means http, as in Go."""
    if not text:
        return None
    shown = text.rpartition("@")[2]  # what comes before may be a password
    try:
        url = URL(text if "://" in text else f"http://{text}")
        if not url.host or url.port is None:
            raise ValueError("it names no host")
    except ValueError as error:
        raise InvalidParameter(f"invalid {option} {shown!r}: it must be a URL, as http://HOST:PORT") from error
    if url.scheme not in _SCHEMES:
        raise InvalidParameter(f"invalid {option} {shown!r}: {url.scheme} proxies are not supported: use http or https")
    return url


def _exception(entry: str) -> _Exception:
    if (network := _network(entry)) is not None:
        return _Exception(network=network)
    host, colon, digits = entry.rpartition(":")
    port = int(digits) if colon and digits.isascii() and digits.isdigit() and len(digits) < 6 else None
    if port is not None:
        if (network := _network(host.strip("[]"))) is not None:
            return _Exception(network=network, port=port)
        entry = host
    below_only = entry.startswith((".", "*."))
    return _Exception(name=entry.removeprefix("*").removeprefix(".").rstrip("."), port=port, below_only=below_only)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.strip("[]"))
    except ValueError:
        return None


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
