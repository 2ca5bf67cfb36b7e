"""Endpoints: at which base URLs, and under which trust, a registry is spoken to.

docker.io lives at registry-1.docker.io, behind its mirrors if there are any. A registry is spoken to by HTTPS with a
verified certificate. One that the daemon was told is insecure (by name or by network; loopback is so by default) may
show any certificate, and is spoken to by plain HTTP where it does not speak TLS. `certs.d/HOST:PORT/hosts.toml` names
mirrors for any registry (see `hosts_file`).
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path

from yarl import URL

from onggi.distribution.address import Scope, beside, is_special, look_up
from onggi.distribution.hosts_file import ConfiguredHost, HostsFile, read_hosts_file
from onggi.distribution.proxy import Proxies
from onggi.distribution.trust import Trust
from onggi.errors import InvalidParameter
from onggi.oci.reference import DOCKER_HUB

DOCKER_HUB_URL = URL("https://registry-1.docker.io")
DOCKER_HUB_KEYS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"})


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """What the daemon was told about registries."""

    insecure: Sequence[str] = ("127.0.0.0/8", "::1/128")
    """Host, host:port or network that may be spoken to in plain HTTP or with an unknown certificate."""
    mirrors: Sequence[str] = ()
    """Base URLs that are asked before docker.io."""
    certificates: Sequence[Path] = (Path("/etc/onggi/certs.d"), Path("/etc/docker/certs.d"))
    """Directories that hold HOST[:PORT]/{*.crt, *.cert, *.key}."""
    most_downloads: int = 4
    most_uploads: int = 5
    push_compression: str = "gzip"
    """Of layers that are kept as plain tars: gzip or zstd."""
    proxies: Proxies = field(default_factory=Proxies)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to ask."""

    base: URL
    """Scheme, host, port, and for a mirror perhaps a path; no final slash."""
    tls: ssl.SSLContext
    around: frozenset[Scope]
    """Where its answers may point to, and where its own name may lead when it is looked up again."""
    special: bool
    """The user named a place that no answer may point to, such as a link-local address, or a name that leads nowhere."""
    mirror: bool = False
    resolves: bool = True
    """May be asked what a tag means."""

    @property
    def origin(self) -> tuple[str, str, int]:
        return origin_of(self.base)

    def allowed(self, url: URL) -> frozenset[Scope] | None:
        """What a request to `url` may connect to; None: to what the user himself named, wherever that is."""
        return None if self.special and url.host == self.base.host else self.around

    def url(self, path: str) -> URL:
        """`path` as it stands, encoded already, below `/v2/`."""
        return URL(f"{str(self.base).rstrip('/')}/v2/{path}", encoded=True)


def origin_of(url: URL) -> tuple[str, str, int]:
    """Scheme, host and port: what a credential belongs to. Raises ValueError for a URL that has none."""
    if url.host is None or url.port is None:
        raise ValueError(f"{url} has no host")
    return url.scheme, url.host.lower(), url.port


class Endpoints:
    """Finds the endpoints of registries."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._trust = Trust(options.certificates)
        self._mirrors = [_mirror_url(text) for text in options.mirrors]
        self._networks = []
        self._names = set()
        for entry in options.insecure:
            try:
                self._networks.append(ip_network(entry, strict=False))
            except ValueError:
                self._names.add(entry.lower())

    async def of(self, registry: str, *, mirrors: bool = False, insecure: bool = False) -> list[Endpoint]:
        """In the order to try. `mirrors` for what only reads. `insecure`: as if the daemon had been told that the
        registry is. Raises System for files that can't be used."""
        own = DOCKER_HUB_URL if registry == DOCKER_HUB else URL(f"https://{registry}", encoded=True)
        file = await asyncio.to_thread(self._hosts_file, registry)
        found: list[Endpoint] = []
        if mirrors:
            for url in self._mirrors if registry == DOCKER_HUB else ():
                found += await self._of_host(url, mirror=True)
            for host in file.mirrors if file else ():
                if "pull" in host.capabilities:
                    found += await self._of_host(host.url, host, mirror=authority_of(host.url) != authority_of(own))
        if file is not None and file.server is not None:
            return found + await self._of_host(file.server.url, file.server, insecure=insecure)
        return found + await self._of_host(own, insecure=insecure)

    def _hosts_file(self, registry: str) -> HostsFile | None:
        for name in (registry, "_default"):
            for directory in self._options.certificates:
                if (found := read_hosts_file(directory / name)) is not None:
                    return found
        return None

    async def _of_host(
        self, url: URL, host: ConfiguredHost | None = None, *, mirror: bool = False, insecure: bool = False
    ) -> list[Endpoint]:
        addresses = await look_up(url.host or "")
        insecure = insecure or self._is_insecure(url, addresses)
        verify = not insecure and not (host is not None and host.skip_verify)
        authorities, pairs = (host.authorities, host.pairs) if host is not None else ((), ())
        tls = await asyncio.to_thread(self._trust.context, authority_of(url), authorities, pairs, verify=verify)
        resolves = host is None or "resolve" in host.capabilities
        around, special = beside(addresses), is_special(addresses)
        found = [Endpoint(url, tls, around, special, mirror, resolves)]
        if insecure and url.scheme == "https":
            port = url.explicit_port
            plain = url.with_scheme("http") if port is not None else url.with_scheme("http").with_port(None)
            found.append(Endpoint(plain, tls, around, special, mirror, resolves))
        return found

    def _is_insecure(self, url: URL, addresses: Sequence[str]) -> bool:
        if url.scheme == "http" or {authority_of(url), url.host} & self._names:
            return True
        return any(ip_address(a.partition("%")[0]) in network for a in addresses for network in self._networks)


def authority_of(url: URL) -> str:
    """Host and, where it is written, port."""
    port = f":{url.explicit_port}" if url.explicit_port is not None else ""
    host = url.host or ""
    return f"[{host}]{port}" if ":" in host else f"{host}{port}"


def _mirror_url(text: str) -> URL:
    try:
        url = URL(text)
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError("it is no http or https URL")
    except ValueError as error:
        raise InvalidParameter(f"invalid mirror: {text!r}: {error}") from error
    if url.query_string or url.fragment or url.user:
        raise InvalidParameter(f"invalid mirror: no user, query or fragment may be at the end of the URI {text!r}")
    return url
