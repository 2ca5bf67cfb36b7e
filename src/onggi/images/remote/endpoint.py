"""Endpoints: at which base URLs, and under which trust, a registry is spoken to.

docker.io lives at registry-1.docker.io, behind its mirrors if there are any. A registry is spoken to by HTTPS with a
verified certificate. One that the daemon was told is insecure (by name or by network; loopback is so by default) may
show any certificate, and is spoken to by plain HTTP where it does not speak TLS. Directories `certs.d/HOST:PORT/` hold
its own authorities (`*.crt`) and our certificates for it (`NAME.cert` with `NAME.key`), as for Docker.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from yarl import URL

from onggi.errors import InvalidParameter, System
from onggi.images.remote.address import Scope, beside, look_up
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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to ask."""

    base: URL
    """Scheme, host, port, and for a mirror perhaps a path; no final slash."""
    tls: ssl.SSLContext
    around: frozenset[Scope]
    """Where its answers may point to."""
    mirror: bool = False

    @property
    def origin(self) -> tuple[str, str, int]:
        return origin_of(self.base)

    def url(self, path: str) -> URL:
        """`path` as it stands, encoded already, below `/v2/`."""
        return URL(f"{str(self.base).rstrip('/')}/v2/{path}", encoded=True)


def origin_of(url: URL) -> tuple[str, str, int]:
    """Scheme, host and port: what a credential belongs to. Raises ValueError for a URL that has none."""
    if url.host is None or url.port is None:
        raise ValueError(f"{url} has no host")
    return url.scheme, url.host.lower(), url.port


class Endpoints:
    """Finds the endpoints of registries. Contexts for TLS are made once for each set of certificates."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._contexts: dict[object, ssl.SSLContext] = {}
        self._mirrors = [_mirror_url(text) for text in options.mirrors]
        self._networks = []
        self._names = set()
        for entry in options.insecure:
            try:
                self._networks.append(ip_network(entry, strict=False))
            except ValueError:
                self._names.add(entry.lower())

    async def of(self, registry: str, *, mirrors: bool = False) -> list[Endpoint]:
        """In the order to try. `mirrors` for what only reads. Raises System for certificates that can't be read."""
        found: list[Endpoint] = []
        if registry == DOCKER_HUB:
            if mirrors:
                for url in self._mirrors:
                    found += await self._of_host(url, mirror=True)
            return found + await self._of_host(DOCKER_HUB_URL)
        return await self._of_host(URL(f"https://{registry}", encoded=True))

    async def _of_host(self, url: URL, *, mirror: bool = False) -> list[Endpoint]:
        addresses = await look_up(url.host or "")
        insecure = self._is_insecure(url, addresses)
        around = beside(addresses)
        tls = await asyncio.to_thread(self._context, _authority(url), verify=not insecure)
        found = [Endpoint(url, tls, around, mirror)]
        if insecure and url.scheme == "https":
            port = url.explicit_port
            plain = url.with_scheme("http") if port is not None else url.with_scheme("http").with_port(None)
            found.append(Endpoint(plain, tls, around, mirror))
        return found

    def _is_insecure(self, url: URL, addresses: Sequence[str]) -> bool:
        if url.scheme == "http" or {_authority(url), url.host} & self._names:
            return True
        return any(ip_address(a.partition("%")[0]) in network for a in addresses for network in self._networks)

    def _context(self, authority: str, *, verify: bool) -> ssl.SSLContext:
        files = [
            path
            for directory in self._options.certificates
            for path in _listing(directory / authority)
            if path.suffix in {".crt", ".cert", ".key"}
        ]
        key = (verify, *((path, path.stat().st_mtime_ns) for path in files))
        if (known := self._contexts.get(key)) is not None:
            return known
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for path in files:
            try:
                if path.suffix == ".crt":
                    context.load_verify_locations(path)
                elif path.suffix == ".cert":
                    if (secret := path.with_suffix(".key")) not in files:
                        raise System(
                            f"missing key {secret.name} for client certificate {path.name}. "
                            "CA certificates must use the extension .crt"
                        )
                    context.load_cert_chain(path, secret)
                elif path.with_suffix(".cert") not in files:
                    raise System(f"missing client certificate {path.stem}.cert for key {path.name}")
            except (OSError, ssl.SSLError) as error:
                raise System(f"{path} can't be used: {error}") from error
        self._contexts[key] = context
        return context


def _listing(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _authority(url: URL) -> str:
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
