"""Tags: names that move, and the history of where each pointed."""

import json
from enum import StrEnum
from typing import Any

from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.glob import fits
from onggi.registry.refusals import ManifestUnknown, TagImmutable


class TagAction(StrEnum):
    PUSH = "push"
    ROLLBACK = "rollback"
    DELETE = "delete"
    RETENTION = "retention"


def digest_of(connection: Connection, repository_id: int, tag: str) -> str:
    """Raises ManifestUnknown."""
    row = connection.execute(
        "SELECT digest FROM tags WHERE repository_id = ? AND name = ?", (repository_id, tag)
    ).fetchone()
    if row is None:
        raise ManifestUnknown(tag)
    return str(row["digest"])


def _immutable_rule(connection: Connection, repository_id: int, tag: str) -> str:
    row: Any = connection.execute(
        "SELECT r.name, p.immutable FROM repositories r JOIN projects p ON p.id = r.project_id WHERE r.id = ?",
        (repository_id,),
    ).fetchone()
    path = row["name"].partition("/")[2]
    for rule in json.loads(row["immutable"]):
        if fits(rule["repositories"], path) and fits(rule["tags"], tag):
            return f"{rule['repositories']}:{rule['tags']}"
    return ""


def is_immutable(connection: Connection, repository_id: int, tag: str) -> bool:
    """True when a rule of the project forbids to move or delete this tag, now that it is there."""
    return bool(_immutable_rule(connection, repository_id, tag))


def check_may_change(connection: Connection, repository_id: int, tag: str) -> None:
    """Raises TagImmutable when a rule of the project forbids to move or delete a tag that exists."""
    rule = _immutable_rule(connection, repository_id, tag)
    if rule:
        raise TagImmutable(tag, rule)


def point(
    connection: Connection, repository_id: int, tag: str, digest: str, by: str, action: TagAction = TagAction.PUSH
) -> str:
    """Make `tag` name the manifest; gives what it named before, "" for a new one. Raises TagImmutable.

    The manifest is in the repository: the caller has stored or looked it up in the same transaction.
    """
    row = connection.execute(
        "SELECT digest FROM tags WHERE repository_id = ? AND name = ?", (repository_id, tag)
    ).fetchone()
    previous = "" if row is None else str(row["digest"])
    if previous == digest:
        return previous
    if previous:
        check_may_change(connection, repository_id, tag)
    connection.execute(
        "INSERT INTO tags (repository_id, name, digest, updated_at, updated_by) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (repository_id, name) DO UPDATE SET digest = excluded.digest,"
        " updated_at = excluded.updated_at, updated_by = excluded.updated_by",
        (repository_id, tag, digest, stamp(), by),
    )
    _note(connection, repository_id, tag, digest, action, by)
    return previous


def delete(connection: Connection, repository_id: int, tag: str, by: str, action: TagAction = TagAction.DELETE) -> str:
    """Forget a tag; gives the digest it named. Raises ManifestUnknown, TagImmutable."""
    digest = digest_of(connection, repository_id, tag)
    check_may_change(connection, repository_id, tag)
    connection.execute("DELETE FROM tags WHERE repository_id = ? AND name = ?", (repository_id, tag))
    _note(connection, repository_id, tag, digest, action, by)
    return digest


def of_manifest(connection: Connection, repository_id: int, digest: str) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM tags WHERE repository_id = ? AND digest = ? ORDER BY name", (repository_id, digest)
    ).fetchall()
    return [row["name"] for row in rows]


def names(connection: Connection, repository_id: int, last: str, most: int) -> list[str]:
    """Tags after `last` in the order of their bytes, at most `most`."""
    rows = connection.execute(
        "SELECT name FROM tags WHERE repository_id = ? AND name > ? ORDER BY name LIMIT ?", (repository_id, last, most)
    ).fetchall()
    return [row["name"] for row in rows]


_NAMED = (
    "SELECT t.name, t.digest, t.updated_at, t.updated_by, m.media_type, m.artifact_type, m.pulled_at, m.content"
    " FROM tags t JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest WHERE t.repository_id = ?"
)
"""Tags, each with the manifest it names."""


def find(connection: Connection, repository_id: int, tag: str) -> Any:
    """One tag with the manifest it names. Raises ManifestUnknown."""
    row = connection.execute(f"{_NAMED} AND t.name = ?", (repository_id, tag)).fetchone()
    if row is None:
        raise ManifestUnknown(tag)
    return row


def listing(
    connection: Connection, repository_id: int, last: str, most: int, *, newest: bool = False, text: str = ""
) -> list[Any]:
    """Tags whose names hold `text`, each with the manifest it names, after `last`: by name, or those that moved last first."""
    after, order = "t.name > ?", "t.name"
    parameters: list[str | int] = [last]
    if newest:
        order = "t.updated_at DESC, t.name DESC"
        row = connection.execute(
            "SELECT updated_at FROM tags WHERE repository_id = ? AND name = ?", (repository_id, last)
        ).fetchone()
        moved = row["updated_at"] if row is not None else "9"  # later than all
        after, parameters = "(t.updated_at < ? OR (t.updated_at = ? AND t.name < ?))", [moved, moved, last]
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return connection.execute(
        f"{_NAMED} AND {after} AND t.name LIKE ? ESCAPE '\\' ORDER BY {order} LIMIT ?",
        (repository_id, *parameters, f"%{escaped}%", most),
    ).fetchall()


def history(connection: Connection, repository_id: int, tag: str, before: int, most: int) -> list[Any]:
    """The moves of a tag, the latest first; those with a smaller number than `before`, where that is not 0."""
    return connection.execute(
        "SELECT sequence, digest, action, at, by FROM tag_history WHERE repository_id = ? AND tag = ?"
        " AND (? = 0 OR sequence < ?) ORDER BY sequence DESC LIMIT ?",
        (repository_id, tag, before, before, most),
    ).fetchall()


def _note(connection: Connection, repository_id: int, tag: str, digest: str, action: TagAction, by: str) -> None:
    connection.execute(
        "INSERT INTO tag_history (repository_id, tag, digest, action, at, by) VALUES (?, ?, ?, ?, ?, ?)",
        (repository_id, tag, digest, action, stamp(), by),
    )
