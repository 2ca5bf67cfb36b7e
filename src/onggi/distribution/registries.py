"""The registries of the world, as this engine was told to see them: from a name to clients that have answered."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Self

import aiohttp

from onggi.distribution.client import Client
from onggi.distribution.credentials import Credentials
from onggi.distribution.endpoint import Endpoints, RegistryOptions
from onggi.distribution.failure import Unreachable
from onggi.distribution.http import Deadlines, Http


class Registries:
    """Enter it to ask. Connections are kept between requests; proofs are not."""

    def __init__(self, options: RegistryOptions, deadlines: Deadlines | None = None) -> None:
        self._endpoints = Endpoints(options)
        self._proxies = options.proxies
        self._deadlines = deadlines or Deadlines()
        self._http: Http | None = None

    async def __aenter__(self) -> Self:
        # Reads all the system's authorities: 15 ms.
        verified = await asyncio.to_thread(ssl.create_default_context)
        self._http = Http(self._deadlines, verified, self._proxies)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def clients(
        self, registry: str, credentials: Credentials | None, *, mirrors: bool = False, insecure: bool = False
    ) -> AsyncGenerator[Client, None]:
        """Mirrors first, then the registry itself; of one host the first scheme that answers. `insecure`: the user
        said so, for this once.

        Raises the last Unreachable when nobody answers. A mirror never sees credentials.
        """
        assert self._http is not None, "the registries are not entered"
        answered: set[str | None] = set()
        failure: Unreachable | None = None
        for endpoint in await self._endpoints.of(registry, mirrors=mirrors, insecure=insecure):
            if endpoint.base.authority in answered:
                continue
            client = Client(self._http, endpoint, None if endpoint.mirror else credentials)
            try:
                await client.ping()
            except Unreachable as error:
                failure = error
                continue
            answered.add(endpoint.base.authority)
            yield client
        if not answered and failure is not None:
            raise failure

    async def client(self, registry: str, credentials: Credentials | None, *, insecure: bool = False) -> Client:
        """The registry itself. Raises Unreachable."""
        async with aclosing(self.clients(registry, credentials, insecure=insecure)) as clients:
            async for client in clients:
                return client
        raise Unreachable(f"{registry} has no address")

    @asynccontextmanager
    async def follow(self, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """What is at a URL that the user named. Raises InvalidParameter, Answer, Unreachable, Misbehaved."""
        assert self._http is not None, "the registries are not entered"
        async with self._http.follow(url) as response:
            yield response
