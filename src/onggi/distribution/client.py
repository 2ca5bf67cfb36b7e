"""A client of one registry endpoint for one user: requests with proofs, redirects by hand, errors as sentences."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from onggi.distribution.authorization import Authorization
from onggi.distribution.challenge import parse_challenges
from onggi.distribution.credentials import Credentials
from onggi.distribution.endpoint import Endpoint, origin_of
from onggi.distribution.failure import Answer, Misbehaved, answer, printable
from onggi.distribution.http import MOST_REDIRECTS, REDIRECTS, Body, Http, read_document, read_error, redirected


class Client:
    """`scopes` are what tokens are asked for, such as `repository:library/busybox:pull`."""

    def __init__(self, http: Http, endpoint: Endpoint, credentials: Credentials | None) -> None:
        self.http, self.endpoint = http, endpoint
        self.authorization = Authorization(http, endpoint, credentials)

    async def ping(self) -> None:
        """Ask for `/v2/`: does the registry answer, and what does it want for a proof? Raises Unreachable."""
        url = self.endpoint.url("")
        async with self.http.within("GET", url):
            async with self.http.request(
                "GET", url, tls=self.endpoint.tls, allowed=self.endpoint.allowed(url), headers={}
            ) as response:
                if response.status == HTTPStatus.UNAUTHORIZED:
                    self.authorization.learn(parse_challenges(response.headers.getall("WWW-Authenticate", [])))
                await read_error(response)

    async def log_in(self) -> str:
        """Ask for `/v2/` with a proof; gives the refresh token, if one was handed out. Raises Answer."""
        await self.ping()
        url = self.endpoint.url("")
        header = await self._proof("GET", url, (), offline=True)
        headers = {"Authorization": header} if header else {}
        async with self.http.within("GET", url):
            async with self.http.request(
                "GET", url, tls=self.endpoint.tls, allowed=self.endpoint.allowed(url), headers=headers
            ) as response:
                if response.status != HTTPStatus.OK:
                    challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
                    content = self.authorization.hidden(await read_error(response))
                    failure = answer(response.status, response.reason or "", content, challenges)
                    text = f'Get "{url}": {failure}'
                    raise type(failure)(failure.status, failure.reasons, text)
                await read_error(response)
        return self.authorization.refresh_token

    async def document(
        self, method: str, url: URL, *, scopes: Sequence[str], limit_bytes: int, what: str,
        headers: Mapping[str, str] | None = None, body: bytes | None = None,
    ) -> tuple[int, CIMultiDictProxy[str], bytes]:  # fmt: skip
        """One request with a small body and a small reply. Raises Answer, Unreachable, Misbehaved."""
        async with self.http.within(method, url):
            async with self.stream(
                method, url, scopes=scopes, headers=headers, body=None if body is None else lambda: body
            ) as reply:
                content = await read_document(reply, limit_bytes, what) if method != "HEAD" else b""
                return reply.status, reply.headers, content

    @asynccontextmanager
    async def stream(
        self, method: str, url: URL, *, scopes: Sequence[str], headers: Mapping[str, str] | None = None,
        body: Callable[[], Body] | None = None, reply_s: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:  # fmt: skip
        """A request whose reply, of a status below 400, is read by the caller; `body` is called anew for each try."""
        proven = False
        redirects = 0
        async with AsyncExitStack() as stack:
            while True:
                response = await stack.enter_async_context(
                    self._once(method, url, scopes, headers or {}, body=body() if body else None, reply_s=reply_s)
                )
                if response.status in REDIRECTS and method in {"GET", "HEAD"}:
                    redirects += 1
                    if redirects > MOST_REDIRECTS:
                        raise Misbehaved(f'{method.capitalize()} "{url.with_query(None)}": stopped after 10 redirects')
                    url = redirected(url, response.headers.get("Location", ""))
                    await stack.aclose()
                    continue
                if response.status in REDIRECTS:
                    raise Misbehaved(f"refused: the registry redirects an upload ({response.status})")
                if response.status < HTTPStatus.BAD_REQUEST:
                    yield response
                    return
                challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
                async with self.http.within(method, url):
                    content = self.authorization.hidden(await read_error(response))
                own = origin_of(url) == self.endpoint.origin
                if response.status == HTTPStatus.UNAUTHORIZED and own and not proven:
                    proven = True
                    self.authorization.forget(scopes)
                    if self.authorization.learn(challenges):
                        await stack.aclose()
                        continue
                failure = answer(response.status, response.reason or "", content, challenges, head=method == "HEAD")
                if self.authorization.lacks_basic(challenges):
                    text = f'{method.capitalize()} "{url.with_query(None)}": no basic auth credentials'
                    raise type(failure)(failure.status, failure.reasons, text)
                failure.retry_after_s = retry_after(response.headers.get("Retry-After", ""))
                raise failure

    @asynccontextmanager
    async def _once(
        self,
        method: str,
        url: URL,
        scopes: Sequence[str],
        headers: Mapping[str, str],
        *,
        body: Body,
        reply_s: float | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """With the user's proof to the registry's own origin; without, and to allowed addresses only, to others."""
        own = origin_of(url) == self.endpoint.origin
        sent = dict(headers)
        if own and (proof := await self._proof(method, url, scopes)):
            sent["Authorization"] = proof
        async with self.http.request(
            method, url, tls=self.endpoint.tls if own else self.http.verified,
            allowed=self.endpoint.allowed(url), headers=sent, body=body, reply_s=reply_s,
        ) as response:  # fmt: skip
            yield response

    async def _proof(self, method: str, url: URL, scopes: Sequence[str], *, offline: bool = False) -> str | None:
        try:
            return await self.authorization.header(scopes, offline=offline)
        except Answer as error:
            text = f'{method.capitalize()} "{url.with_query(None)}": {error}'
            raise type(error)(error.status, error.reasons, text) from error

    def own_location(self, url: URL, location: str | None) -> URL:
        """Where an upload goes on: at the registry's own origin, or not at all. Raises Misbehaved."""
        try:
            if not location:
                raise ValueError("there is none")
            target = url.join(URL(location, encoded=True))
            if origin_of(target) != self.endpoint.origin:
                raise ValueError("it is another host's")
        except ValueError as error:
            raise Misbehaved(f"refused: the registry continues an upload at {printable(location)!r}") from error
        return target


def retry_after(text: str) -> float | None:
    """Seconds from now, given as such or as a date (RFC 9110, section 10.2.3); None for neither."""
    if text.isascii() and text.isdigit() and len(text) < 8:
        return float(text)
    try:
        moment = parsedate_to_datetime(text[:100])
    except ValueError:
        return None
    return max((moment - datetime.now(UTC)).total_seconds(), 0) if moment.tzinfo else None
