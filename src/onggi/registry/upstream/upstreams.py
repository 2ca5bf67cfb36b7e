"""Which project is a cache, of which repositories of which remote. Owns `upstreams`."""

from dataclasses import dataclass

from onggi.errors import Conflict, NotFound
from onggi.registry import projects, remotes
from onggi.registry.database import Connection
from onggi.registry.names import LIBRARY, repository_name
from onggi.registry.remotes import Remote
from onggi.registry.upstream.forgetting import forget_parts

CHECK_S = 60
"""How long what a tag means is believed before the upstream is asked again."""


class NotACache(NotFound):
    def __init__(self, project: str) -> None:
        super().__init__(f"the project {project} is no cache of an upstream")


class HoldsImages(Conflict):
    def __init__(self, project: str) -> None:
        super().__init__(
            f"the project {project} holds images that were pushed: make a new project to be a cache of an upstream"
        )


@dataclass(frozen=True, slots=True)
class Upstream:
    project: str
    project_id: int
    remote: Remote
    prefix: str
    """Of the remote's repositories: `PROJECT/app` is `PREFIX/app` there; "" for `app`."""
    check_s: int
    """How long what a tag means is believed; 0: the upstream is asked at each pull."""
    limit_bytes: int
    """So much is kept; 0: no limit."""
    keep_days: int
    """What was not pulled for so long goes; 0: nothing goes by its age."""

    def canonical(self, repository: str) -> str:
        """The one name of a repository that has two: Docker Hub's `busybox` is `library/busybox`."""
        path = repository.partition("/")[2]
        if self.remote.is_docker_hub and not self.prefix and "/" not in path:
            return f"{self.project}/{LIBRARY}/{path}"
        return repository

    def name_there(self, repository: str) -> str:
        """Raises InvalidName for what can be no repository of the remote."""
        path = repository.partition("/")[2]
        there = f"{self.prefix}/{path}" if self.prefix else path
        repository_name(there)
        return there


def put(
    connection: Connection, project: str, remote: str, *, prefix: str, check_s: int, limit_bytes: int, keep_days: int
) -> None:
    """Make a project a cache, or change how. Raises ProjectUnknown, RemoteUnknown, HoldsImages."""
    row = projects.find(connection, project)
    found = remotes.find(connection, remote)
    if prefix:
        repository_name(prefix)
    known = connection.execute("SELECT remote_id, prefix FROM upstreams WHERE project_id = ?", (row["id"],)).fetchone()
    other = known is None or known["remote_id"] != found.id or known["prefix"] != prefix
    if other and connection.execute("SELECT 1 FROM repositories WHERE project_id = ? LIMIT 1", (row["id"],)).fetchone():
        raise HoldsImages(project)
    connection.execute(
        "INSERT INTO upstreams (project_id, remote_id, prefix, check_s, limit_bytes, keep_days) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (project_id) DO UPDATE SET remote_id = excluded.remote_id, prefix = excluded.prefix,"
        " check_s = excluded.check_s, limit_bytes = excluded.limit_bytes, keep_days = excluded.keep_days",
        (row["id"], found.id, prefix, check_s, limit_bytes, keep_days),
    )


def delete(connection: Connection, project: str) -> None:
    """Whole images stay, and the project takes pushes from now on. Raises NotACache."""
    row = projects.find(connection, project)
    forget_parts(connection, row["id"])
    if not connection.execute("DELETE FROM upstreams WHERE project_id = ?", (row["id"],)).rowcount:
        raise NotACache(project)


def all_of(connection: Connection) -> list[Upstream]:
    rows = connection.execute(
        "SELECT p.name AS project, u.* FROM upstreams u JOIN projects p ON p.id = u.project_id ORDER BY p.name"
    ).fetchall()
    return [
        Upstream(row["project"], row["project_id"], remotes.by_id(connection, row["remote_id"]), row["prefix"],
                 row["check_s"], row["limit_bytes"], row["keep_days"])
        for row in rows
    ]  # fmt: skip


def find(connection: Connection, project: str) -> Upstream:
    """Raises ProjectUnknown, NotACache."""
    projects.find(connection, project)
    for upstream in all_of(connection):
        if upstream.project == project:
            return upstream
    raise NotACache(project)
