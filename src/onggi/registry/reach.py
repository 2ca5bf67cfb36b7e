"""How other registries are reached: only at addresses that are allowed, whatever names and answers say.

The rule is that of webhooks (`webhooks.targets.allowed`): public addresses, and the networks of `--remote-network`. Where
a remote's answers point to (token servers, redirects) is bound by decision 7 too.
"""

import asyncio
import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from yarl import URL

from onggi.distribution.address import beside, is_special, look_up
from onggi.distribution.client import Client
from onggi.distribution.endpoint import Endpoint, authority_of
from onggi.distribution.http import Deadlines, Http
from onggi.distribution.repository import Repository
from onggi.distribution.trust import Trust
from onggi.errors import InvalidParameter
from onggi.registry.remotes import Remote
from onggi.registry.webhooks.targets import Networks, allowed

DEADLINES = Deadlines(connect_s=10, document_s=60)
_KEPT_S = 300
"""How long a client with its tokens, and where its name led, is kept."""
CERTIFICATES = "certs.d"
"""Below the root: HOST[:PORT]/*.crt, authorities of remotes beside the system's, as Docker keeps them."""


class Reach:
    """Enter it to connect."""

    def __init__(self, root: Path, networks: Networks) -> None:
        self._networks = networks
        self._trust = Trust([root / CERTIFICATES])
        self._clients: dict[Remote, tuple[float, Client]] = {}
        self._http: Http | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def client(self, remote: Remote) -> Client:
        """Of the remote's account. Raises System for certificates that can't be used."""
        known = self._clients.get(remote)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        if (
            self._http is None
        ):  # registries that need none don't pay for it: the system's authorities are some megabytes
            self._http = Http(DEADLINES, ssl.create_default_context(), permits=self._permits)
        url = URL(remote.url)
        addresses = await look_up(url.host or "")
        tls = await asyncio.to_thread(self._trust.context, authority_of(url), verify=True)
        endpoint = Endpoint(url, tls, beside(addresses), is_special(addresses))
        client = Client(self._http, endpoint, remote.credentials)
        now = time.monotonic()
        self._clients = {of: entry for of, entry in self._clients.items() if entry[0] > now}
        self._clients[remote] = now + _KEPT_S, client
        return client

    def _permits(self, address: str) -> bool:
        return allowed(address, self._networks)

    async def repository(self, remote: Remote, name: str, *, actions: str = "pull") -> Repository:
        """Docker Hub's `busybox` is `library/busybox`. Raises InvalidParameter for a name that none can have."""
        if not name:
            raise InvalidParameter("a repository of the remote has no name")
        if remote.is_docker_hub and "/" not in name:
            name = f"library/{name}"
        return Repository(await self.client(remote), name, actions=actions)
