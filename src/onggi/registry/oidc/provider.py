"""One provider: its metadata and keys, fetched when needed and kept for an hour, and a code exchanged for claims."""

import asyncio
import base64
import time
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote_plus

import jwt
import msgspec

from onggi.registry.oidc import id_token
from onggi.registry.oidc.attempts import Attempt
from onggi.registry.oidc.fetching import Fetcher, ProviderFailed
from onggi.registry.oidc.id_token import Key, TokenRefused
from onggi.registry.settings import Oidc

T = TypeVar("T")
KEPT_S = 3600.0
KEYS_AGAIN_S = 60.0
"""A token with an unknown key has the keys fetched again, so often at most: providers change them without a word."""
MOST_KEYS = 100


class Metadata(msgspec.Struct, frozen=True):
    """What of it is used. (OpenID Connect Discovery 1.0, section 3)"""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: list[str] | None = None
    authorization_response_iss_parameter_supported: bool | None = None


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    error: str


_metadata = msgspec.json.Decoder(Metadata)
_key_set = msgspec.json.Decoder(_KeySet)
_tokens = msgspec.json.Decoder(_Tokens)
_refusal = msgspec.json.Decoder(_Refusal)
_claims = msgspec.json.Decoder(dict[str, Any])


class CodeRefused(TokenRefused):
    """The provider does not know the code, or does not know us."""


class Provider:
    """Asked by the handlers. Concurrent askers wait for one fetch."""

    def __init__(self, settings: Oidc) -> None:
        """Raises InvalidParameter for settings that can't work."""
        self._settings = settings
        self._fetcher = Fetcher(settings)
        self._lock = asyncio.Lock()
        self._metadata: tuple[Metadata, float] | None = None
        self._keys: tuple[dict[str, list[Key]], float] | None = None

    async def metadata(self) -> Metadata:
        """Raises ProviderFailed."""
        async with self._lock:
            if self._metadata is None or self._metadata[1] < time.monotonic():
                url = self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
                found = await self._document(url, "metadata", _metadata)
                if found.issuer != self._settings.issuer:
                    raise ProviderFailed(
                        f"it calls itself {found.issuer[:200]!a}, not {self._settings.issuer!a}: --oidc-issuer must be the same,"
                        " character by character"
                    )
                self._fetcher.check(found.authorization_endpoint, "authorization endpoint")
                self._metadata = found, time.monotonic() + KEPT_S
            return self._metadata[0]

    async def claims(self, code: str, attempt: Attempt, redirect_uri: str) -> Mapping[str, Any]:
        """Who signed in: the claims of the token that `code` stands for, and what userinfo adds.

        Raises TokenRefused, ProviderFailed.
        """
        metadata = await self.metadata()
        tokens = await self._exchange(metadata, code, attempt.verifier, redirect_uri)
        algorithm, name = id_token.key_name(tokens.id_token)
        key = await self._key(metadata, algorithm, name)
        claims = id_token.verify(
            tokens.id_token, key, issuer=metadata.issuer, client_id=self._settings.client_id, nonce=attempt.nonce
        )
        if not self._lacking(claims) or not metadata.userinfo_endpoint or not tokens.access_token:
            return claims
        more = await self._document(metadata.userinfo_endpoint, "userinfo endpoint", _claims,
                                    {"Authorization": f"Bearer {_header_text(tokens.access_token)}"})  # fmt: skip
        if more.get("sub") != claims["sub"]:
            raise TokenRefused("its userinfo is of somebody else")
        return {**more, **claims}  # what is signed wins

    def _lacking(self, claims: Mapping[str, Any]) -> bool:
        """True where the token does not say what we want to know: many providers say it by userinfo only."""
        settings = self._settings
        groups = settings.groups_claim if settings.required_groups or settings.admin_group else settings.name_claim
        return settings.name_claim not in claims or groups not in claims

    async def _exchange(self, metadata: Metadata, code: str, verifier: str, redirect_uri: str) -> _Tokens:
        """(RFC 6749, 4.1.3 and 2.3.1; RFC 7636, 4.5)"""
        settings, headers = self._settings, {}
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri,
                "code_verifier": verifier}  # fmt: skip
        methods = metadata.token_endpoint_auth_methods_supported or ["client_secret_basic"]
        if not settings.client_secret:
            form["client_id"] = settings.client_id
        elif "client_secret_basic" in methods or "client_secret_post" not in methods:
            pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form |= {"client_id": settings.client_id, "client_secret": settings.client_secret}
        status, data = await self._fetcher.ask(metadata.token_endpoint, "token endpoint", form=form, headers=headers)
        if status in (400, 401):
            raise CodeRefused(f"it says {_decoded(_refusal, data, 'token endpoint').error[:100]!a}")
        if status != 200:
            raise ProviderFailed(f"its token endpoint answers {status}")
        return _decoded(_tokens, data, "token endpoint")

    async def _key(self, metadata: Metadata, algorithm: str, name: str) -> Key:
        """The key called `name`; the only one that fits, where the token names none. Raises TokenRefused, ProviderFailed."""
        async with self._lock:
            now = time.monotonic()
            fetched = self._keys[1] if self._keys is not None else 0.0
            if self._keys is None or now - fetched > KEPT_S:
                await self._fetch_keys(metadata)
            found = self._fitting(algorithm, name)
            if not found and self._keys is not None and now - self._keys[1] > KEYS_AGAIN_S:
                await self._fetch_keys(metadata)
                found = self._fitting(algorithm, name)
        if len(found) != 1:
            raise TokenRefused("the provider has no such key" if not found else "it does not say which key signed it")
        return found[0]

    def _fitting(self, algorithm: str, name: str) -> list[Key]:
        keys = self._keys[0] if self._keys is not None else {}
        named = keys.get(name, []) if name else [key for group in keys.values() for key in group]
        return [key for key in named if id_token.algorithm_of(key) == algorithm]

    async def _fetch_keys(self, metadata: Metadata) -> None:
        found = await self._document(metadata.jwks_uri, "keys", _key_set)
        keys: dict[str, list[Key]] = {}
        for entry in found.keys[:MOST_KEYS]:
            key = _public_key(entry)
            if key is not None:
                keys.setdefault(str(entry.get("kid", "")), []).append(key)
        self._keys = keys, time.monotonic()

    async def _document(
        self, url: str, what: str, decoder: msgspec.json.Decoder[T], headers: dict[str, str] | None = None
    ) -> T:
        status, data = await self._fetcher.ask(url, what, headers=headers)
        if status != 200:
            raise ProviderFailed(f"its {what} answers {status}")
        return _decoded(decoder, data, what)


def _public_key(entry: dict[str, Any]) -> Key | None:
    """A key that may verify ID tokens; None for others, which a set may hold as well. (RFC 7517, section 5)"""
    if entry.get("use", "sig") != "sig":
        return None
    kind = {"RSA": "RS256", "EC": "ES256"}.get(str(entry.get("kty")))
    if kind is None or entry.get("alg", kind) != kind:
        return None
    try:
        key = jwt.PyJWK(entry, algorithm=kind).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return key if id_token.algorithm_of(key) == kind else None


def _decoded(decoder: msgspec.json.Decoder[T], data: bytes, what: str) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderFailed(f"its {what} answers what OpenID Connect does not know") from error


def _header_text(text: str) -> str:
    """A token that goes into a header. Raises ProviderFailed."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ProviderFailed("its access token is malformed")
    return text
