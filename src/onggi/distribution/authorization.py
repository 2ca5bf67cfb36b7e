"""Proofs of who asks: basic, or bearer tokens from the server that a registry names. (distribution, docs/spec/auth)

An Authorization serves one user for one request of the API: nothing it learns is kept for others. What a registry
names as its token server gets the user's password, by the protocol's nature; so it must be no weaker than the registry
(https stays https) and no place that the registry could not be itself (see `address`).
"""

import json
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

import msgspec
from yarl import URL

from onggi.distribution.challenge import Challenge
from onggi.distribution.credentials import Credentials
from onggi.distribution.endpoint import Endpoint, origin_of
from onggi.distribution.failure import Misbehaved, answer, printable
from onggi.distribution.http import Http, check_web, read_document, read_error
from onggi.errors import Forbidden

_TOKEN_LIMIT_BYTES = 512 * 1024
_CLIENT = "docker"
"""Refresh tokens belong to the client that they were made for; those in people's config.json are of Docker's name."""
_EARLY_S = 10
_LEAST_HIDDEN = 4
"""Characters: what is shorter is in many words by chance."""


class RealmRefused(Forbidden):
    """The token server that a registry names must not be asked."""


class _Reply(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: Annotated[float, msgspec.Meta(ge=0)] | None = None


_reply = msgspec.json.Decoder(_Reply)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    expires_at: float


class Authorization:
    """One user at one endpoint."""

    def __init__(self, http: Http, endpoint: Endpoint, credentials: Credentials | None) -> None:
        self._http, self._endpoint, self._credentials = http, endpoint, credentials
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, str, tuple[str, ...]], _Token] = {}
        self.refresh_token = ""
        """What the token server handed out for the password, when it was asked to."""

    def learn(self, challenges: Sequence[Challenge]) -> bool:
        """Take up what a 401 asked for; False when there is nothing that we could answer."""
        usable = {challenge.scheme: challenge for challenge in challenges}
        challenge = usable.get("bearer") or usable.get("basic")
        if challenge is None or (challenge.scheme == "basic" and not self._credentials):
            return False
        self._challenge = challenge
        return True

    def lacks_basic(self, challenges: Sequence[Challenge]) -> bool:
        """The registry wants user and password, and there are none."""
        return bool(challenges) and not self._credentials and all(c.scheme == "basic" for c in challenges)

    def forget(self, scopes: Sequence[str]) -> None:
        """A token was not taken: fetch another one next time."""
        self._tokens = {key: token for key, token in self._tokens.items() if key[2] != tuple(scopes)}

    def hidden(self, content: bytes) -> bytes:
        """A registry's words without the proofs that it was shown: some give back what they were sent.

        Their words are shown to others than this user: in logs, and to whoever pulls through a cache.
        """
        credentials = self._credentials
        proofs = {token.text for token in self._tokens.values()}
        if credentials:
            proofs |= {credentials.password, credentials.identity_token, credentials.registry_token}
            proofs.add(_basic(credentials).partition(" ")[2])
        for proof in sorted(proofs, key=len, reverse=True):
            if len(proof) >= _LEAST_HIDDEN:
                for spelling in (proof, json.dumps(proof)[1:-1]):
                    content = content.replace(spelling.encode(errors="replace"), b"(hidden)")
        return content

    async def header(self, scopes: Sequence[str], *, offline: bool = False) -> str | None:
        """The `Authorization` header for a request to the endpoint, None for none. Raises Answer, RealmRefused."""
        challenge, credentials = self._challenge, self._credentials
        if credentials and credentials.registry_token:
            return f"Bearer {_clean(credentials.registry_token)}"
        if challenge is None:
            return None
        if challenge.scheme == "basic":
            return _basic(credentials) if credentials else None
        realm, service = challenge.parameters.get("realm", ""), challenge.parameters.get("service", "")
        key = realm, service, tuple(scopes)
        token = self._tokens.get(key)
        if token is None or token.expires_at < time.monotonic():
            token = self._tokens[key] = await self._fetch(realm, service, scopes, offline=offline)
        return f"Bearer {token.text}"

    def _check(self, realm: str) -> URL:
        try:
            url = URL(realm)
            check_web(url)
        except ValueError as error:
            raise RealmRefused(f"refused: the registry names {printable(realm)!r} as its token server") from error
        if url.scheme == "http" and self._endpoint.base.scheme == "https":
            raise RealmRefused(
                f"refused: the registry is spoken to by https, but its token server would be {printable(realm)!r}"
            )
        return url

    async def _fetch(self, realm: str, service: str, scopes: Sequence[str], *, offline: bool) -> _Token:
        url = self._check(realm)
        own = origin_of(url) == self._endpoint.origin
        there = url.host == self._endpoint.base.host
        credentials = self._credentials
        headers = {"Accept": "application/json"}
        body: bytes | None = None
        query: list[tuple[str, str]] = [("service", service)] if service else []
        method = "GET"
        if credentials and credentials.identity_token:
            method = "POST"
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            form = [
                ("grant_type", "refresh_token"), ("refresh_token", credentials.identity_token),
                ("client_id", _CLIENT), *query, *([("scope", " ".join(scopes))] if scopes else []),
            ]  # fmt: skip
            body = URL.build(query=form).raw_query_string.encode()
        else:
            query += [("scope", scope) for scope in scopes]
            if credentials:
                headers["Authorization"] = _basic(credentials)
                query.append(("account", credentials.username))
                if offline:
                    query += [("offline_token", "true"), ("client_id", _CLIENT)]
            url = url.update_query(query) if not url.query_string else url.with_query([*url.query.items(), *query])
        tls = self._endpoint.tls if own else self._http.verified
        if there and not own:
            tls = self._endpoint.tls  # another port of the same host is trusted alike
        async with self._http.within(method, url):
            async with self._http.request(
                method, url, tls=tls, allowed=self._endpoint.allowed(url), headers=headers, body=body
            ) as response:
                if response.status >= HTTPStatus.BAD_REQUEST:
                    content = self.hidden(await read_error(response))
                    raise answer(response.status, response.reason or "", content)
                if response.status != HTTPStatus.OK:
                    raise Misbehaved(f"the token server answers {response.status} {printable(response.reason)}")
                document = await read_document(response, _TOKEN_LIMIT_BYTES, "the token server's answer")
        try:
            reply = _reply.decode(document)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Misbehaved("the token server's answer is not a token") from error
        text = reply.token or reply.access_token
        if not text:
            raise Misbehaved("authorization server did not include a token in the response")
        self.refresh_token = reply.refresh_token or ""
        lifetime = max((reply.expires_in or 60) - _EARLY_S, _EARLY_S)
        return _Token(_clean(text), time.monotonic() + lifetime)


def _basic(credentials: Credentials) -> str:
    return "Basic " + b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()


def _clean(token: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise Misbehaved("the token has characters that no token may have")
    return token
