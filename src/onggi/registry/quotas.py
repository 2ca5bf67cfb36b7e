"""How many bytes a project holds, and whether there is room for more."""

from typing import Any

from onggi.oci.digest import Digest
from onggi.registry.database import Connection
from onggi.registry.refusals import QuotaExceeded


def used_bytes(connection: Connection, project_id: int) -> int:
    """Each blob once, however many of the project's repositories have it; manifests; unfinished uploads."""
    row = connection.execute(
        "SELECT (SELECT COALESCE(SUM(size_bytes), 0) FROM blobs WHERE digest IN (SELECT l.digest FROM repository_blobs l"
        "   JOIN repositories r ON r.id = l.repository_id WHERE r.project_id = ?))"
        " + (SELECT COALESCE(SUM(m.size_bytes), 0) FROM manifests m JOIN repositories r ON r.id = m.repository_id"
        "   WHERE r.project_id = ?)"
        " + (SELECT COALESCE(SUM(u.size_bytes), 0) FROM uploads u JOIN repositories r ON r.id = u.repository_id"
        "   WHERE r.project_id = ?) AS used",
        (project_id, project_id, project_id),
    ).fetchone()
    return int(row["used"])


def room(connection: Connection, repository_id: int) -> tuple[str, int, int] | None:
    """Project, quota and use of a repository's project, in bytes; None where there is no quota."""
    row: Any = connection.execute(
        "SELECT p.id, p.name, p.quota_bytes FROM repositories r JOIN projects p ON p.id = r.project_id WHERE r.id = ?",
        (repository_id,),
    ).fetchone()
    if row is None or not row["quota_bytes"]:
        return None
    return row["name"], row["quota_bytes"], used_bytes(connection, row["id"])


def room_of(connection: Connection, repository: str) -> tuple[str, int, int] | None:
    """As `room`, by the repository's name."""
    row = connection.execute("SELECT id FROM repositories WHERE name = ?", (repository,)).fetchone()
    return room(connection, row["id"]) if row is not None else None


def check(connection: Connection, repository_id: int, size_bytes: int) -> None:
    """Raises QuotaExceeded when the project has no room for so much more."""
    found = room(connection, repository_id)
    if found is not None and found[2] + size_bytes > found[1]:
        raise QuotaExceeded(*found)


def check_blob(connection: Connection, repository_id: int, digest: Digest, size_bytes: int) -> None:
    """Raises QuotaExceeded when the project has no room for a blob that it does not hold yet."""
    held = connection.execute(
        "SELECT 1 FROM repository_blobs l JOIN repositories r ON r.id = l.repository_id WHERE l.digest = ?"
        " AND r.project_id = (SELECT project_id FROM repositories WHERE id = ?) LIMIT 1",
        (digest, repository_id),
    ).fetchone()
    if held is None:
        check(connection, repository_id, size_bytes)
