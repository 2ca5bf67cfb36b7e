"""HTTP for the registry client: no cookies, no passwords from the environment, no decompression, no redirects by
itself; each request with deadlines, through the proxy that is set, and kept to the addresses that its caller allows."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from yarl import URL

import onggi
from onggi.distribution.address import (
    AddressRefused,
    NotPermitted,
    Permits,
    Scope,
    ScopedResolver,
    beside,
    look_up,
    scope_of_literal,
)
from onggi.distribution.failure import Misbehaved, TooSlow, answer, printable, unreachable
from onggi.distribution.proxy import Proxies
from onggi.errors import InvalidParameter

_BUFFER_BYTES = 512 * 1024
_ERROR_LIMIT_BYTES = 64 * 1024
MOST_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
Body = bytes | AsyncIterator[bytes] | None


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a registry may keep us waiting, in seconds, and how often it may fail us."""

    connect_s: float = 30
    document_s: float = 90
    """For a whole document (manifest, token, list), from the request to its last byte."""
    idle_s: float = 60
    """For the next byte of a blob, and for the head of a reply."""
    trickle_s: float = 60
    """In so long a time a blob must bring at least `trickle_bytes`."""
    trickle_bytes: int = 4096
    retry_s: float = 1
    """The first pause before trying again; each further one is longer by as much."""
    patience_s: float = 60
    """The longest `Retry-After` that is waited for."""
    most_tries: int = 5
    """Without progress in between."""


class Http:
    """The connections of one engine to registries. Connections are kept apart by the addresses they may go to."""

    def __init__(
        self,
        deadlines: Deadlines,
        verified: ssl.SSLContext,
        proxies: Proxies | None = None,
        permits: Permits | None = None,
    ) -> None:
        """`permits`: which addresses may be connected to at all; None for all."""
        self.deadlines = deadlines
        self.verified = verified
        """For hosts that the daemon was told nothing about: the system's authorities."""
        self._proxies = proxies or Proxies()
        self._permits = permits
        self._sessions: dict[frozenset[Scope] | None, aiohttp.ClientSession] = {}

    def _session(self, allowed: frozenset[Scope] | None) -> aiohttp.ClientSession:
        session = self._sessions.get(allowed)
        if session is None:
            session = self._sessions[allowed] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=64, resolver=ScopedResolver(allowed, self._permits), use_dns_cache=False, keepalive_timeout=15
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"onggi/{onggi.__version__}", "Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=False,
                requote_redirect_url=False,
                read_bufsize=_BUFFER_BYTES,
            )
        return session

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: URL,
        *,
        tls: ssl.SSLContext,
        allowed: frozenset[Scope] | None,
        headers: Mapping[str, str],
        body: Body = None,
        reply_s: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request and its reply, whatever its status. `allowed` None: where the user himself pointed to.

        Raises Unreachable (also for what breaks while the caller reads the reply), AddressRefused, NotPermitted.
        """
        scope = scope_of_literal(url.host or "")
        if allowed is not None and scope not in {None, *allowed}:
            raise AddressRefused(url.host or "", scope or Scope.FORBIDDEN)
        if self._permits is not None and scope is not None and not self._permits((url.host or "").strip("[]")):
            raise NotPermitted(url.host or "", url.host or "")
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self.deadlines.connect_s, sock_read=reply_s or self.deadlines.idle_s
        )
        proxy = self._proxies.of(url)
        if proxy is not None:
            await _check_behind_proxy(url, allowed)
            allowed = None  # the connection goes to the proxy, which the administrator named
        try:
            async with self._session(allowed).request(
                method, url, ssl=tls, headers=headers, data=body, timeout=timeout, allow_redirects=False, proxy=proxy
            ) as response:
                yield response
        except aiohttp.ClientError as error:
            raise unreachable(method, str(url.with_query(None)), error) from error

    @asynccontextmanager
    async def follow(self, text: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """A GET of a URL that the user named, and of where it redirects to. Raises InvalidParameter, Answer, …"""
        try:
            url = URL(text)
            check_web(url)
        except ValueError as error:
            raise InvalidParameter(f"{printable(text)!r} is no URL that can be fetched") from error
        around = beside(await look_up(url.host or ""))
        host = url.host
        for _ in range(MOST_REDIRECTS + 1):
            allowed = None if url.host == host else around
            async with self.request("GET", url, tls=self.verified, allowed=allowed, headers={}) as response:
                if response.status in REDIRECTS:
                    url = redirected(url, response.headers.get("Location", ""))
                    continue
                if response.status != HTTPStatus.OK:
                    raise answer(response.status, response.reason or "", b"")
                yield response
                return
        raise Misbehaved(f'Get "{url.with_query(None)}": stopped after {MOST_REDIRECTS} redirects')

    @asynccontextmanager
    async def within(self, method: str, url: URL) -> AsyncIterator[None]:
        """The deadline for a whole document. Raises TooSlow."""
        try:
            async with asyncio.timeout(self.deadlines.document_s):
                yield
        except TimeoutError as error:
            raise TooSlow(
                f'{method.capitalize()} "{url.with_query(None)}": no whole answer within {self.deadlines.document_s:g} seconds'
            ) from error


async def _check_behind_proxy(url: URL, allowed: frozenset[Scope] | None) -> None:
    """Raises AddressRefused where this machine's own look-up says so. What it can't look up, the proxy judges alone."""
    if allowed is None:
        return
    try:
        await ScopedResolver(allowed).resolve(url.host or "", url.port or 0)
    except socket.gaierror:
        return


def check_web(url: URL) -> None:
    """Raises ValueError unless it is http or https with a host, and without user and password."""
    if url.scheme not in {"http", "https"} or not url.host or url.user is not None or url.password is not None:
        raise ValueError(f"{url} is no plain web address")


def redirected(url: URL, location: str) -> URL:
    """Where `url` redirects to: never to what is no web address, never from https to http. Raises Misbehaved."""
    try:
        if not location:
            raise ValueError("nowhere")
        target = url.join(URL(location, encoded=True))
        check_web(target)
    except ValueError as error:
        raise Misbehaved(f"refused: {url.host} redirects to {printable(location)!r}") from error
    if url.scheme == "https" and target.scheme == "http":
        raise Misbehaved(f"refused: {url.host} redirects from https to {printable(target.with_query(None))}")
    return target


async def read_document(response: aiohttp.ClientResponse, limit_bytes: int, what: str) -> bytes:
    """The whole body, which must not be longer than `limit_bytes`. Raises Misbehaved."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > limit_bytes:
            raise Misbehaved(f"{what} is larger than {limit_bytes} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def read_error(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of an error's body: what is longer is no sentence."""
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _ERROR_LIMIT_BYTES:
            break
    return body[:_ERROR_LIMIT_BYTES]
