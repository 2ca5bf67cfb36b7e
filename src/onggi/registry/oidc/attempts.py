"""One log-in on its way to the provider and back. It lives in a cookie of the browser that began it.

    SEED.EXPIRES.THEN.MAC    EXPIRES in seconds since 1970, MAC under a key of this registry, THEN in base64url

State, nonce and PKCE verifier are derived from the seed under the same key: none of them is in the browser, any node
can take the log-in up, and beginning one writes nothing, so nobody can fill the database with them. Which came back is
noted, for as long as it could come back again.
"""

import base64
import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from onggi.errors import InvalidParameter
from onggi.registry import clock, passwords, settings_store
from onggi.registry.database import Connection

LIFETIME_S = 600
"""How long one may take to sign in at the provider."""
_KEY = "oidc-key"


class AttemptLost(InvalidParameter):
    """The answer belongs to no log-in that this browser began, or to one long ago."""

    def __init__(self) -> None:
        super().__init__(
            "this is not the answer to a log-in that this browser began within the last "
            f"{LIFETIME_S // 60} minutes: begin again at /oidc/login"
        )


class AttemptUsed(InvalidParameter):
    def __init__(self) -> None:
        super().__init__("this log-in is done already: begin another at /oidc/login")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What must come back, and what proves that we are who began."""

    state: str
    nonce: str
    verifier: str
    """43 characters. (RFC 7636, 4.1)"""
    expires: int
    """Seconds since 1970."""
    then: str = ""
    """Where the page wants to go on, if it was the page that began."""

    @property
    def challenge(self) -> str:
        """S256 of the verifier."""
        return _text(bytes.fromhex(passwords.secret_hash(self.verifier)))


def key(connection: Connection) -> bytes:
    """The key of this registry's attempts, the same on all nodes."""
    return settings_store.get_or_make(connection, _KEY, lambda: secrets.token_bytes(32))


def begin(key: bytes, then: str = "") -> tuple[Attempt, str]:
    """A new one, and the cookie that remembers it: 4 bytes for 3 of `then`, and 130 more."""
    seed, expires = passwords.new_secret(), int(time.time()) + LIFETIME_S
    head = f"{seed}.{expires}.{_text(then.encode(errors='replace'))}"
    return _derive(key, seed, expires, then), f"{head}.{_mac(key, 'attempt', head)}"


def resume(key: bytes, cookie: str, state: str) -> Attempt:
    """The one that `cookie` remembers, if the answer with `state` is its own. Raises AttemptLost."""
    head, _, mac = cookie.rpartition(".")
    if not hmac.compare_digest(_mac(key, "attempt", head).encode(), mac.encode(errors="replace")):
        raise AttemptLost
    seed, expires, then = head.split(".")  # ours, so they are three, and as `begin` wrote them
    attempt = _derive(key, seed, int(expires), _bytes(then).decode())
    if not hmac.compare_digest(attempt.state.encode(), state.encode(errors="replace")) or attempt.expires < time.time():
        raise AttemptLost
    return attempt


def use(connection: Connection, attempt: Attempt) -> None:
    """Note that it has come back. Raises AttemptUsed the second time."""
    connection.execute("DELETE FROM used_attempts WHERE expires_at < ?", (clock.stamp(),))
    row = connection.execute(
        "INSERT INTO used_attempts (state_hash, expires_at) VALUES (?, ?) ON CONFLICT (state_hash) DO NOTHING"
        " RETURNING state_hash",
        (passwords.secret_hash(attempt.state), clock.stamp(datetime.fromtimestamp(attempt.expires + 1, UTC))),
    ).fetchone()
    if row is None:
        raise AttemptUsed


def _derive(key: bytes, seed: str, expires: int, then: str) -> Attempt:
    return Attempt(_mac(key, "state", seed), _mac(key, "nonce", seed), _mac(key, "verifier", seed), expires, then)


def _mac(key: bytes, purpose: str, text: str) -> str:
    return _text(hmac.digest(key, f"{purpose}\0{text}".encode(errors="replace"), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
