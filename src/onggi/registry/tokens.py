"""Bearer tokens: short-lived JSON Web Tokens (RFC 7519) that only this registry makes and reads.

One algorithm (HS256), one key (32 random bytes in `settings`), one header, compared byte by byte: what a token says of
its own algorithm or key is never looked at. (Docker's token specification, docs/spec/auth/jwt.md, for the claims.)
"""

import base64
import binascii
import hmac
import time
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from onggi.registry import clock, passwords
from onggi.registry.database import Connection
from onggi.registry.permissions import Action, AuthenticationNeeded, Scope, Subject, SubjectKind

_LIMIT_BYTES = 16 * 1024
REFRESH_LIFETIME = timedelta(days=90)


class _Access(msgspec.Struct, frozen=True):
    type: str
    name: str
    actions: list[str]


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str
    exp: int
    nbf: int
    iat: int
    jti: str
    kind: SubjectKind
    id: int
    access: list[_Access]


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


_HEADER = _encode(b'{"alg":"HS256","typ":"JWT"}')
_claims = msgspec.json.Decoder(_Claims)
CATALOG = Scope("registry:catalog", frozenset({Action.PULL}))
"""The right to list repositories. No repository can have such a name."""


class InvalidToken(AuthenticationNeeded):
    def __init__(self, why: str) -> None:
        super().__init__("", f"the token is not valid: {why}")


class Tokens:
    """Makes and reads the tokens of one registry. `service` is their audience and issuer."""

    def __init__(self, key: bytes, service: str, lifetime: timedelta) -> None:
        if len(key) < 32:
            raise ValueError("the key is too short")
        self._key, self._service = key, service
        self.lifetime_s = int(lifetime.total_seconds())

    def make(self, subject: Subject, granted: Sequence[Scope]) -> str:
        """A token for `subject` that may do just what `granted` says."""
        now = int(time.time())
        claims = _Claims(
            iss=self._service, sub=subject.name, aud=self._service, exp=now + self.lifetime_s, nbf=now - 5, iat=now,
            jti=passwords.new_secret()[:22], kind=subject.kind, id=subject.id,
            access=[_Access("repository", scope.pattern, sorted(scope.actions)) for scope in granted],
        )  # fmt: skip
        body = _HEADER + b"." + _encode(msgspec.json.encode(claims))
        return (body + b"." + _encode(hmac.digest(self._key, body, "sha256"))).decode()

    def read(self, text: str) -> Subject:
        """Whom a token stands for. Raises InvalidToken."""
        if len(text) > _LIMIT_BYTES or not text.isascii():
            raise InvalidToken("it is too long, or no token")
        body, _, signature = text.encode().rpartition(b".")
        header, _, payload = body.partition(b".")
        # The signature is compared as text: each token has one spelling only.
        if not hmac.compare_digest(_encode(hmac.digest(self._key, body, "sha256")), signature) or header != _HEADER:
            raise InvalidToken("its signature is not ours")
        try:
            claims = _claims.decode(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
            granted = tuple(
                Scope(access.name, frozenset(Action(action) for action in access.actions)) for access in claims.access
            )
        except (msgspec.DecodeError, binascii.Error, ValueError) as error:
            raise InvalidToken("it can't be read") from error
        now = time.time()
        if claims.iss != self._service or claims.aud != self._service:
            raise InvalidToken("it is for another service")
        if not claims.nbf <= now < claims.exp:
            raise InvalidToken("it has expired")
        return Subject(claims.kind, claims.sub, claims.id, granted=granted)


def new_refresh_token(connection: Connection, user_id: int, generation: int, service: str, client_id: str) -> str:
    """What `docker login` keeps in place of the password. It ends when the password changes."""
    token = passwords.new_secret()
    now = clock.now()
    connection.execute("DELETE FROM refresh_tokens WHERE expires_at < ?", (clock.stamp(now),))
    connection.execute(
        "INSERT INTO refresh_tokens (token_hash, user_id, generation, service, client_id, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (passwords.secret_hash(token), user_id, generation, service, client_id[:100], clock.stamp(now),
         clock.stamp(now + REFRESH_LIFETIME)),
    )  # fmt: skip
    return token


def refresh_user(connection: Connection, token: str, service: str) -> int | None:
    """The user's ID that a refresh token stands for, None where it is not valid (any more)."""
    row = connection.execute(
        "SELECT u.id FROM refresh_tokens t JOIN users u ON u.id = t.user_id AND u.generation = t.generation"
        " WHERE t.token_hash = ? AND t.service = ? AND t.expires_at > ? AND u.disabled = 0",
        (passwords.secret_hash(token), service, clock.stamp()),
    ).fetchone()
    return None if row is None else int(row["id"])
