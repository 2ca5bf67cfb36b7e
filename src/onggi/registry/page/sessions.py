"""Browsers that are signed in. Owns `sessions`. The database holds hashes: who reads it signs in nowhere."""

import hmac
from datetime import timedelta
from typing import Any

from onggi.errors import InvalidParameter
from onggi.registry import clock, passwords
from onggi.registry.database import Connection

LIFETIME = timedelta(days=7)
IDLE = timedelta(hours=12)
_EXACT = timedelta(minutes=5)
"""How exactly it is known when a session was seen last: not every look at a page is a write."""


class NotTheSame(InvalidParameter):
    def __init__(self) -> None:
        super().__init__("the two new passwords are not the same")


def hash_of(token: str) -> str:
    """What the database knows a session by."""
    return passwords.secret_hash(token)


def begin(connection: Connection, user_id: int, address: str, agent: str) -> str:
    """A new session of a user who may sign in; gives its token, for the cookie."""
    token, now = passwords.new_secret(), clock.now()
    connection.execute("DELETE FROM sessions WHERE expires_at < ?", (clock.stamp(now),))
    connection.execute(
        "INSERT INTO sessions (token_hash, user_id, generation, address, agent, created_at, seen_at, expires_at)"
        " SELECT ?, id, generation, ?, ?, ?, ?, ? FROM users WHERE id = ? AND disabled = 0",
        (hash_of(token), address, agent[:300], clock.stamp(now), clock.stamp(now),
         clock.stamp(now + LIFETIME), user_id),
    )  # fmt: skip
    connection.execute("UPDATE users SET signed_in_at = ? WHERE id = ?", (clock.stamp(now), user_id))
    return token


def user(connection: Connection, token: str) -> Any | None:
    """The row of the user whose session it is, with `seen_at`; None when it has ended, for whatever reason."""
    now = clock.now()
    return connection.execute(
        "SELECT u.*, s.seen_at FROM sessions s JOIN users u ON u.id = s.user_id AND u.generation = s.generation"
        " WHERE s.token_hash = ? AND u.disabled = 0 AND s.expires_at > ? AND s.seen_at > ?",
        (hash_of(token), clock.stamp(now), clock.stamp(now - IDLE)),
    ).fetchone()


def is_stale(row: Any) -> bool:
    """True when `seen` is to be called for what `user` gave."""
    return bool(row["seen_at"] < clock.ago(_EXACT))


def seen(connection: Connection, token: str) -> None:
    connection.execute("UPDATE sessions SET seen_at = ? WHERE token_hash = ?", (clock.stamp(), hash_of(token)))


def end(connection: Connection, token: str) -> None:
    connection.execute("DELETE FROM sessions WHERE token_hash = ?", (hash_of(token),))


def end_others(connection: Connection, user_id: int, token: str) -> int:
    """All of the user's but that of `token`; gives how many."""
    done = connection.execute("DELETE FROM sessions WHERE user_id = ? AND token_hash != ?", (user_id, hash_of(token)))
    return done.rowcount


def of_user(connection: Connection, user_id: int) -> list[Any]:
    """Those that have not ended, the last seen first."""
    now = clock.now()
    return connection.execute(
        "SELECT address, agent, created_at, seen_at, token_hash FROM sessions"
        " WHERE user_id = ? AND expires_at > ? AND seen_at > ? ORDER BY seen_at DESC",
        (user_id, clock.stamp(now), clock.stamp(now - IDLE)),
    ).fetchall()


def form_token(token: str) -> str:
    """What each form of a session carries, so that no other site can send one. (OWASP, "Signed Double-Submit Cookie")"""
    return hmac.digest(token.encode(), b"form", "sha256").hex()
