"""What a cache lets go. Nothing is lost: the next pull fetches it again, also a part of an image that is being pulled."""

from datetime import timedelta
from typing import Any

from onggi.registry import clock, quotas
from onggi.registry.database import Connection

STEP = 20
"""Manifests of one transaction."""
LONE_AGE = timedelta(minutes=10)
"""How long a blob that no manifest here names stays."""
_USED = "(CASE WHEN m.pulled_at > m.pushed_at THEN m.pulled_at ELSE m.pushed_at END)"


def forget(connection: Connection, repository_id: int, digest: str) -> int:
    """A manifest with its tags, and the blobs that none but it names; gives how many bytes those have."""
    named = connection.execute(
        "SELECT digest FROM manifest_references WHERE repository_id = ? AND manifest = ? AND kind = 'blob'",
        (repository_id, digest),
    ).fetchall()
    connection.execute("DELETE FROM tags WHERE repository_id = ? AND digest = ?", (repository_id, digest))
    connection.execute("DELETE FROM manifests WHERE repository_id = ? AND digest = ?", (repository_id, digest))
    freed = 0
    for row in named:
        gone = connection.execute(
            "DELETE FROM repository_blobs WHERE repository_id = ? AND digest = ? AND NOT EXISTS"
            " (SELECT 1 FROM manifest_references WHERE repository_id = ? AND digest = ?)",
            (repository_id, row["digest"], repository_id, row["digest"]),
        )
        if gone.rowcount:
            blob = connection.execute("SELECT size_bytes FROM blobs WHERE digest = ?", (row["digest"],)).fetchone()
            freed += blob["size_bytes"]
    return freed


def _oldest(connection: Connection, project_id: int, before: str) -> list[Any]:
    return connection.execute(
        "SELECT m.repository_id, m.digest FROM manifests m JOIN repositories r ON r.id = m.repository_id"  # noqa: S608
        f" WHERE r.project_id = ? AND {_USED} < ? ORDER BY {_USED}, m.digest LIMIT ?",
        (project_id, before, STEP),
    ).fetchall()


def forget_unused(connection: Connection, project_id: int, before: str) -> bool:
    """One step of letting go what was not used since `before`; True when there may be more."""
    rows = _oldest(connection, project_id, before)
    for row in rows:
        forget(connection, row["repository_id"], row["digest"])
    return bool(rows)


def shrink(connection: Connection, project_id: int, goal_bytes: int) -> bool:
    """One step of letting go what was used longest ago, until `goal_bytes` are left; True when there may be more."""
    excess = quotas.used_bytes(connection, project_id) - goal_bytes
    rows = _oldest(connection, project_id, clock.stamp())
    for row in rows:
        if excess <= 0:
            return False
        excess -= forget(connection, row["repository_id"], row["digest"])
    return bool(rows)


def forget_lone(connection: Connection, project_id: int) -> None:
    """Blobs that came without a manifest that names them."""
    connection.execute(
        "DELETE FROM repository_blobs WHERE linked_at < ? AND repository_id IN (SELECT id FROM repositories"
        " WHERE project_id = ?) AND NOT EXISTS (SELECT 1 FROM manifest_references f"
        " WHERE f.repository_id = repository_blobs.repository_id AND f.digest = repository_blobs.digest)",
        (clock.ago(LONE_AGE), project_id),
    )


def forget_parts(connection: Connection, project_id: int) -> None:
    """All images that are not whole: the project is to be a cache no more, and nobody will fetch the rest."""
    while rows := connection.execute(
        "SELECT DISTINCT f.repository_id, f.manifest FROM manifest_references f JOIN repositories r"
        " ON r.id = f.repository_id WHERE r.project_id = ? AND ((f.kind = 'blob' AND NOT EXISTS (SELECT 1"
        "   FROM repository_blobs l WHERE l.repository_id = f.repository_id AND l.digest = f.digest))"
        " OR (f.kind = 'manifest' AND NOT EXISTS (SELECT 1 FROM manifests c WHERE c.repository_id = f.repository_id"
        "   AND c.digest = f.digest AND c.deleted_at = '')))",
        (project_id,),
    ).fetchall():
        for row in rows:
            forget(connection, row["repository_id"], row["manifest"])
