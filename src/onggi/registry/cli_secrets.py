"""CLI secrets: what a person's programs sign in with, in place of the password.

Who signs in at an OpenID Connect provider has no other; who has a password need not leave it in every `docker login`.
A secret has all rights of its person, as they are now. It is shown once, ends on its day, and makes no other secret.
"""

from datetime import timedelta
from typing import Any

from onggi.errors import Conflict, InvalidParameter, NotFound
from onggi.registry import clock, passwords
from onggi.registry.database import Connection

PREFIX = "onggi_"
"""How a secret begins, so that scanners of source code know one."""
MOST = 50
MOST_NAME = 100
USUAL_LIFETIME = timedelta(days=90)


class SecretUnknown(NotFound):
    def __init__(self, number: int) -> None:
        super().__init__(f"you have no CLI secret {number}")


class TooManySecrets(Conflict):
    def __init__(self) -> None:
        super().__init__(f"there are {MOST} CLI secrets already: delete one by DELETE /api/v1/user/cli-secrets/ID")


def create(connection: Connection, user_id: int, name: str, lifetime: timedelta = USUAL_LIFETIME) -> tuple[Any, str]:
    """Make one called `name`; gives its row and the secret itself. Raises InvalidParameter, TooManySecrets."""
    if not 0 < len(name) <= MOST_NAME or not name.isprintable():
        raise InvalidParameter(f"a CLI secret needs a name of 1 to {MOST_NAME} printable characters")
    now, secret = clock.now(), PREFIX + passwords.new_secret()
    connection.execute("DELETE FROM cli_secrets WHERE user_id = ? AND expires_at <= ?", (user_id, clock.stamp(now)))
    if len(of_user(connection, user_id)) >= MOST:
        raise TooManySecrets
    row = connection.execute(
        "INSERT INTO cli_secrets (user_id, name, secret_hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?) RETURNING *",
        (user_id, name, passwords.secret_hash(secret), clock.stamp(now), clock.stamp(now + lifetime)),
    ).fetchone()
    return row, secret


def of_user(connection: Connection, user_id: int) -> list[Any]:
    """Those that still are good, the newest first."""
    return connection.execute(
        "SELECT * FROM cli_secrets WHERE user_id = ? AND expires_at > ? ORDER BY id DESC", (user_id, clock.stamp())
    ).fetchall()


def by_secret(connection: Connection, user_id: int, secret: str) -> Any | None:
    """The row of a secret of this user that is good now, or None."""
    if not secret.startswith(PREFIX):
        return None
    return connection.execute(
        "SELECT * FROM cli_secrets WHERE secret_hash = ? AND user_id = ? AND expires_at > ?",
        (passwords.secret_hash(secret), user_id, clock.stamp()),
    ).fetchone()


def used(connection: Connection, secret_id: int) -> None:
    connection.execute("UPDATE cli_secrets SET used_at = ? WHERE id = ?", (clock.stamp(), secret_id))


def delete(connection: Connection, user_id: int, secret_id: int) -> None:
    """It is good for nothing any more, nor are the person's refresh tokens: one may have been made with it.

    Raises SecretUnknown.
    """
    if not connection.execute("DELETE FROM cli_secrets WHERE id = ? AND user_id = ?", (secret_id, user_id)).rowcount:
        raise SecretUnknown(secret_id)
    connection.execute("DELETE FROM refresh_tokens WHERE user_id = ?", (user_id,))
