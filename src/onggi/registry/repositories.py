"""Repositories: rows that a push makes, and whose number is what blobs, manifests and tags hang on."""

from typing import Any

from onggi.errors import NotFound
from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.names import project_of
from onggi.registry.refusals import RepositoryUnknown
from onggi.registry.tags import check_may_change


class ProjectMissing(NotFound):
    """A push to a project that nobody has made."""

    code = "NAME_UNKNOWN"

    def __init__(self, project: str) -> None:
        super().__init__(f"there is no project {project!a}: make it first (`onggi registry project create {project}`)")


def find(connection: Connection, name: str) -> Any:
    """The row of the repository of this full name. Raises RepositoryUnknown."""
    row = connection.execute("SELECT * FROM repositories WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise RepositoryUnknown(name)
    return row


def find_or_make(connection: Connection, name: str) -> int:
    """The repository's number; made where it is new. Raises ProjectMissing."""
    row = connection.execute("SELECT id FROM repositories WHERE name = ?", (name,)).fetchone()
    if row is not None:
        return int(row["id"])
    project = connection.execute("SELECT id FROM projects WHERE name = ?", (project_of(name),)).fetchone()
    if project is None:
        raise ProjectMissing(project_of(name))
    made = connection.execute(
        "INSERT INTO repositories (project_id, name, created_at, updated_at) VALUES (?, ?, ?, ?) RETURNING id",
        (project["id"], name, stamp(), stamp()),
    ).fetchone()
    return int(made["id"])


def delete(connection: Connection, name: str) -> None:
    """Delete a repository and all that is in it. Raises RepositoryUnknown, and TagImmutable for a tag that a rule keeps.

    Its blobs are left to the collector: other repositories may have them too.
    """
    row = find(connection, name)
    for tag in connection.execute("SELECT name FROM tags WHERE repository_id = ?", (row["id"],)).fetchall():
        check_may_change(connection, row["id"], tag["name"])
    connection.execute("DELETE FROM tags WHERE repository_id = ?", (row["id"],))
    for upload in connection.execute("SELECT key FROM uploads WHERE repository_id = ?", (row["id"],)).fetchall():
        connection.execute(
            "INSERT INTO garbage (key, since) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (upload["key"], stamp())
        )
    connection.execute("DELETE FROM repositories WHERE id = ?", (row["id"],))
