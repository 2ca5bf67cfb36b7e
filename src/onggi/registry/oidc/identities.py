"""Who is who: issuer and subject at the provider → a user here.

Nothing else links them. A name or an e-mail address can be had by somebody else tomorrow, or be typed in by anybody: a
person whose wanted name is taken gets another one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onggi.errors import Conflict, Forbidden, NotFound
from onggi.registry import audit, clock, users
from onggi.registry.audit import Actor
from onggi.registry.database import Connection
from onggi.registry.settings import Oidc

_STRANGE = re.compile(r"[^a-z0-9]+", re.ASCII)
_MOST_NAMESAKES = 100
_MOST_GROUPS = 10_000


class NotLinked(Forbidden):
    def __init__(self, issuer: str, subject: str) -> None:
        super().__init__(
            f"no account here is linked to {subject!a} at {issuer}: an administrator may do so by"
            " PUT /api/v1/users/NAME/identities"
        )


class NotInGroup(Forbidden):
    def __init__(self) -> None:
        super().__init__("your account at the provider is in none of the groups that may sign in here")


class AccountDisabled(Forbidden):
    def __init__(self, name: str) -> None:
        super().__init__(f"the account {name} is disabled: ask an administrator")


class IdentityTaken(Conflict):
    def __init__(self, name: str) -> None:
        super().__init__(f"this identity is linked to the user {name!a} already")


class IdentityUnknown(NotFound):
    def __init__(self) -> None:
        super().__init__("the user is linked to no such identity")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, as the provider tells."""

    issuer: str
    subject: str
    name: str
    """What they want to be called; no user's name yet."""
    email: str
    """Shown, never looked up."""
    groups: frozenset[str]


def person(settings: Oidc, claims: Mapping[str, Any]) -> Person:
    """Whom verified `claims` tell of. Raises NotInGroup."""
    groups = claims.get(settings.groups_claim)
    listed = groups[:_MOST_GROUPS] if isinstance(groups, list) else [groups]
    found = frozenset(group for group in listed if isinstance(group, str))
    if settings.required_groups and found.isdisjoint(settings.required_groups):
        raise NotInGroup
    name, email = claims.get(settings.name_claim), claims.get("email")
    address = email if isinstance(email, str) and email.isprintable() and len(email) <= 300 else ""
    return Person(settings.issuer, claims["sub"], name if isinstance(name, str) else "", address, found)


def sign_in(connection: Connection, settings: Oidc, person: Person, address: str) -> Any:
    """The row of the user who `person` is; the first time one is made. Raises NotLinked, AccountDisabled."""
    row = find(connection, person.issuer, person.subject)
    if row is None:
        if not settings.create_users:
            raise NotLinked(person.issuer, person.subject)
        name = _free_name(connection, person)
        user_id = users.create(connection, name, "", email=person.email)
        link(connection, user_id, person.issuer, person.subject)
        audit.record(connection, Actor(name, address), "create user", subject=name,
                     details={"issuer": person.issuer, "identity": person.subject})  # fmt: skip
        row = users.find(connection, name)
    if row["disabled"]:
        raise AccountDisabled(row["name"])
    if settings.admin_group:
        _follow_group(connection, row, person.groups, settings.admin_group, address)
    connection.execute("UPDATE users SET signed_in_at = ? WHERE id = ?", (clock.stamp(), row["id"]))
    return users.find(connection, row["name"])


def _follow_group(connection: Connection, row: Any, groups: frozenset[str], group: str, address: str) -> None:
    """An administrator is who is in `group`; but the last one stays, or nobody could mend a mistake."""
    admin = group in groups
    if admin == bool(row["admin"]):
        return
    if not admin:
        try:
            users.check_not_last_administrator(connection, row["id"])
        except users.LastAdministrator:
            return
    users.change(connection, row["id"], admin=admin)
    audit.record(connection, Actor(row["name"], address), "change user", subject=row["name"],
                 details={"admin": admin, "group": group})  # fmt: skip


def find(connection: Connection, issuer: str, subject: str) -> Any | None:
    """The row of the user who is linked to it, disabled or not."""
    return connection.execute(
        "SELECT u.* FROM identities i JOIN users u ON u.id = i.user_id WHERE i.issuer = ? AND i.subject = ?",
        (issuer, subject),
    ).fetchone()


def link(connection: Connection, user_id: int, issuer: str, subject: str) -> None:
    """Raises IdentityTaken. To link it again to the same user changes nothing."""
    row = find(connection, issuer, subject)
    if row is not None and row["id"] != user_id:
        raise IdentityTaken(row["name"])
    connection.execute(
        "INSERT INTO identities (issuer, subject, user_id, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (issuer, subject) DO NOTHING",
        (issuer, subject, user_id, clock.stamp()),
    )


def unlink(connection: Connection, user_id: int, issuer: str, subject: str) -> None:
    """Raises IdentityUnknown."""
    if not connection.execute(
        "DELETE FROM identities WHERE user_id = ? AND issuer = ? AND subject = ?", (user_id, issuer, subject)
    ).rowcount:
        raise IdentityUnknown


def of_user(connection: Connection, user_id: int) -> list[Any]:
    return connection.execute(
        "SELECT issuer, subject, created_at FROM identities WHERE user_id = ? ORDER BY issuer, subject", (user_id,)
    ).fetchall()


def user_name(wanted: str) -> str:
    """`wanted` as a user's name may be written; "" where nothing of it can stay."""
    # An e-mail address by its first part: the rest is the same for everybody.
    return _STRANGE.sub("-", wanted.partition("@")[0].lower()).strip("-")[:56].strip("-")


def _free_name(connection: Connection, person: Person) -> str:
    """The wanted name, or with a number where another has it. Raises UserExists after a hundred."""
    name = user_name(person.name) or user_name(person.email) or user_name(person.subject) or "user"
    for number in range(1, _MOST_NAMESAKES):
        tried = name if number == 1 else f"{name}-{number}"
        if connection.execute("SELECT id FROM users WHERE name = ?", (tried,)).fetchone() is None:
            return tried
    raise users.UserExists(name)
