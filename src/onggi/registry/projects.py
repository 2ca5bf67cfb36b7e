"""Projects: who shares what. The first part of a repository's name; public or private; members with roles."""

from collections.abc import Sequence
from typing import Any

from onggi.errors import Conflict, NotFound
from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.permissions import Role, Standing, Subject, SubjectKind


class ProjectUnknown(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"no project {name!a}")


class ProjectExists(Conflict):
    def __init__(self, name: str) -> None:
        super().__init__(f"the project {name!a} exists already")


class ProjectNotEmpty(Conflict):
    def __init__(self, name: str, repositories: int) -> None:
        super().__init__(f"the project {name!a} has {repositories} repositories: delete them first")


def standing(connection: Connection, project: str, subject: Subject) -> Standing:
    """What `subject` is in the project. One that is unknown answers as a private one without members does."""
    row = connection.execute(
        "SELECT p.public, m.role FROM projects p LEFT JOIN members m ON m.project_id = p.id AND m.user_id = ?"
        " WHERE p.name = ?",
        (subject.id if subject.kind is SubjectKind.USER else -1, project),
    ).fetchone()
    if row is None:
        return Standing(project)
    return Standing(project, public=bool(row["public"]), role=Role(row["role"]) if row["role"] else None)


def visible(subject: Subject) -> tuple[str, Sequence[str | int]]:
    """An SQL condition on `projects p`: those in which `subject` may pull something; and its parameters.

    Robots' scopes are by repository: what this lets through is asked of `permissions.may` again.
    """
    if subject.must_change_password:
        return "FALSE", ()
    if subject.admin:
        return "TRUE", ()
    if subject.kind is SubjectKind.USER:
        return "(p.public = 1 OR p.id IN (SELECT project_id FROM members WHERE user_id = ?))", (subject.id,)
    if subject.kind is SubjectKind.ROBOT:
        return "(p.public = 1 OR p.id IN (SELECT project_id FROM robots WHERE id = ?))", (subject.id,)
    return "p.public = 1", ()


def find(connection: Connection, name: str) -> Any:
    """The project's row. Raises ProjectUnknown."""
    row = connection.execute("SELECT * FROM projects WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise ProjectUnknown(name)
    return row


def create(connection: Connection, name: str, *, public: bool, owner_id: int | None = None) -> int:
    """Make a project, with `owner_id` as its owner. Raises ProjectExists."""
    made = connection.execute(
        "INSERT INTO projects (name, public, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING RETURNING id",
        (name, int(public), stamp()),
    ).fetchone()
    if made is None:
        raise ProjectExists(name)
    if owner_id is not None:
        set_member(connection, made["id"], owner_id, Role.OWNER)
    return int(made["id"])


def set_member(connection: Connection, project_id: int, user_id: int, role: Role) -> None:
    connection.execute(
        "INSERT INTO members (project_id, user_id, role) VALUES (?, ?, ?)"
        " ON CONFLICT (project_id, user_id) DO UPDATE SET role = excluded.role",
        (project_id, user_id, role),
    )


def delete(connection: Connection, name: str) -> None:
    """Raises ProjectUnknown, and ProjectNotEmpty while it has repositories."""
    project = find(connection, name)
    count = connection.execute(
        "SELECT COUNT(*) AS count FROM repositories WHERE project_id = ?", (project["id"],)
    ).fetchone()["count"]
    if count:
        raise ProjectNotEmpty(name, count)
    connection.execute("DELETE FROM projects WHERE id = ?", (project["id"],))


def members(connection: Connection, project_id: int) -> list[Any]:
    return connection.execute(
        "SELECT u.name, m.role FROM members m JOIN users u ON u.id = m.user_id WHERE m.project_id = ? ORDER BY u.name",
        (project_id,),
    ).fetchall()


def remove_member(connection: Connection, project_id: int, user_id: int) -> bool:
    """False when the user was none."""
    done = connection.execute("DELETE FROM members WHERE project_id = ? AND user_id = ?", (project_id, user_id))
    return done.rowcount > 0


def change(
    connection: Connection, project_id: int, *, public: bool | None = None, description: str | None = None,
    quota_bytes: int | None = None, immutable: str | None = None, retention: str | None = None,
) -> None:  # fmt: skip
    """Change what is not None. Rules are JSON."""
    given = {
        "public": None if public is None else int(public), "description": description, "quota_bytes": quota_bytes,
        "immutable": immutable, "retention": retention,
    }  # fmt: skip
    for column, value in given.items():
        if value is not None:
            connection.execute(f"UPDATE projects SET {column} = ? WHERE id = ?", (value, project_id))  # noqa: S608
