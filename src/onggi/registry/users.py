"""People: a name, a password, and whether they administer the registry."""

import re
from typing import Any

from onggi.errors import Conflict, InvalidParameter, NotFound
from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.permissions import Subject, SubjectKind

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", re.ASCII)


class InvalidUserName(InvalidParameter):
    def __init__(self, name: str) -> None:
        super().__init__(f"invalid user name {name[:100]!a}: at most 64 small letters and digits, parted by . _ or -")


class UserUnknown(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"no user {name!a}")


class UserExists(Conflict):
    def __init__(self, name: str) -> None:
        super().__init__(f"the user {name!a} exists already")


class LastAdministrator(Conflict):
    def __init__(self) -> None:
        super().__init__("this is the last administrator: make another one first")


def user_name(text: str) -> str:
    """Raises InvalidUserName."""
    if len(text) > 64 or not _NAME.fullmatch(text):
        raise InvalidUserName(text)
    return text


def find(connection: Connection, name: str) -> Any:
    """The user's row. Raises UserUnknown."""
    row = connection.execute("SELECT * FROM users WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise UserUnknown(name)
    return row


def by_id(connection: Connection, user_id: int) -> Any | None:
    """The row of a user who may sign in, or None."""
    return connection.execute("SELECT * FROM users WHERE id = ? AND disabled = 0", (user_id,)).fetchone()


def by_name(connection: Connection, name: str) -> Any | None:
    """The row of a user who may sign in, or None."""
    return connection.execute("SELECT * FROM users WHERE name = ? AND disabled = 0", (name,)).fetchone()


def subject_of(row: Any) -> Subject:
    return Subject(
        SubjectKind.USER, row["name"], row["id"], admin=bool(row["admin"]), must_change_password=bool(row["one_time"])
    )


def create(connection: Connection, name: str, password_hash: str, *, admin: bool = False, one_time: bool = False,
           email: str = "") -> int:  # fmt: skip
    """Raises UserExists."""
    row = connection.execute(
        "INSERT INTO users (name, password_hash, email, admin, one_time, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO NOTHING RETURNING id",
        (user_name(name), password_hash, email, int(admin), int(one_time), stamp()),
    ).fetchone()
    if row is None:
        raise UserExists(name)
    return int(row["id"])


def set_password(connection: Connection, user_id: int, password_hash: str, *, one_time: bool = False) -> None:
    """Sessions and refresh tokens made with the old password end."""
    connection.execute(
        "UPDATE users SET password_hash = ?, one_time = ?, generation = generation + 1 WHERE id = ?",
        (password_hash, int(one_time), user_id),
    )
    connection.execute("DELETE FROM refresh_tokens WHERE user_id = ?", (user_id,))


def count(connection: Connection) -> int:
    return int(connection.execute("SELECT COUNT(*) AS count FROM users").fetchone()["count"])


def none_has_signed_in(connection: Connection) -> bool:
    """True for a registry that nobody has used yet."""
    return connection.execute("SELECT 1 FROM users WHERE signed_in_at != '' LIMIT 1").fetchone() is None


def has_password(connection: Connection, user_id: int) -> bool:
    """False for who signs in elsewhere only."""
    row = connection.execute("SELECT 1 FROM users WHERE id = ? AND password_hash != ''", (user_id,)).fetchone()
    return row is not None


def check_not_last_administrator(connection: Connection, user_id: int) -> None:
    """Raises LastAdministrator when nobody else who can sign in administers the registry."""
    row = connection.execute(
        "SELECT COUNT(*) AS count FROM users WHERE admin = 1 AND disabled = 0 AND id != ?", (user_id,)
    ).fetchone()
    if not row["count"]:
        raise LastAdministrator


def delete(connection: Connection, name: str) -> None:
    """Raises UserUnknown, LastAdministrator."""
    row = find(connection, name)
    if row["admin"]:
        check_not_last_administrator(connection, row["id"])
    connection.execute("DELETE FROM users WHERE id = ?", (row["id"],))


def change(
    connection: Connection, user_id: int, *, email: str | None = None, admin: bool | None = None,
    disabled: bool | None = None,
) -> None:  # fmt: skip
    """Change what is not None. Who is disabled loses sessions and refresh tokens at once."""
    if email is not None:
        connection.execute("UPDATE users SET email = ? WHERE id = ?", (email[:300], user_id))
    if admin is not None:
        connection.execute("UPDATE users SET admin = ? WHERE id = ?", (int(admin), user_id))
    if disabled is not None:
        connection.execute(
            "UPDATE users SET disabled = ?, generation = generation + ? WHERE id = ?",
            (int(disabled), int(disabled), user_id),
        )
