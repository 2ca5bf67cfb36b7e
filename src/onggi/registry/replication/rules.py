"""Rules: what of a project is copied to a remote, or from one. Owns `replication_rules`."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from onggi.errors import Conflict, InvalidParameter, NotFound
from onggi.registry import projects, remotes
from onggi.registry.audit import Actor
from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.glob import fits
from onggi.registry.names import project_name, repository_name
from onggi.registry.remotes import Remote

MOST_RULES = 50
LEAST_EVERY_S = 60


class Direction(StrEnum):
    PUSH = "push"
    """From here to the remote."""
    PULL = "pull"


class RuleUnknown(NotFound):
    def __init__(self, project: str, name: str) -> None:
        super().__init__(f"the project {project} has no replication rule {name[:100]!a}")


class RuleExists(Conflict):
    def __init__(self, project: str, name: str) -> None:
        super().__init__(f"the project {project} has a replication rule {name!a} already")


class TooManyRules(Conflict):
    def __init__(self) -> None:
        super().__init__(f"a project has at most {MOST_RULES} replication rules: delete one that is not needed")


@dataclass(frozen=True, slots=True)
class Rule:
    id: int
    project: str
    name: str
    direction: Direction
    remote: Remote
    prefix: str
    """Of the remote's repositories: `PROJECT/app` here is `PREFIX/app` there; "" for `app`."""
    repositories: str
    """A pattern, without project and prefix."""
    tags: str
    on_event: bool
    """A push rule acts on each push and deletion."""
    every_s: int
    """0: not by the clock."""
    deletes: bool
    """What is deleted at the source is deleted at the target."""
    enabled: bool

    @property
    def actor(self) -> Actor:
        """Who does what the rule does, in histories and logs. No account can have this name."""
        return Actor(f"replication:{self.project}/{self.name}")

    def there(self, repository: str) -> str:
        path = repository.partition("/")[2]
        return f"{self.prefix}/{path}" if self.prefix else path

    def path_of(self, there: str) -> str | None:
        """The part of a remote repository's name that patterns are held against; None for one outside the prefix."""
        if not self.prefix:
            return there
        head, path = there[: len(self.prefix) + 1], there[len(self.prefix) + 1 :]
        return path if head == f"{self.prefix}/" and path else None

    def wants(self, repository: str, tag: str) -> bool:
        """`repository` by its full name here."""
        return fits(self.repositories, repository.partition("/")[2]) and fits(self.tags, tag)


def _rule(connection: Connection, row: Any) -> Rule:
    return Rule(
        row["id"], row["project"], row["name"], Direction(row["direction"]),
        remotes.by_id(connection, row["remote_id"]), row["prefix"], row["repositories"], row["tags"],
        bool(row["on_event"]), row["every_s"], bool(row["deletes"]), bool(row["enabled"]),
    )  # fmt: skip


_SELECT = "SELECT r.*, p.name AS project FROM replication_rules r JOIN projects p ON p.id = r.project_id"


def of_project(connection: Connection, project: str) -> list[Rule]:
    """Raises ProjectUnknown."""
    row = projects.find(connection, project)
    rows = connection.execute(f"{_SELECT} WHERE r.project_id = ? ORDER BY r.name", (row["id"],)).fetchall()
    return [_rule(connection, row) for row in rows]


def acting_on(connection: Connection, project: str) -> list[Rule]:
    """Those that copy from the project when something happens there."""
    rows = connection.execute(
        f"{_SELECT} WHERE p.name = ? AND r.enabled = 1 AND r.on_event = 1 AND r.direction = 'push'", (project,)
    ).fetchall()
    return [_rule(connection, row) for row in rows]


def find(connection: Connection, project: str, name: str) -> Rule:
    """Raises ProjectUnknown, RuleUnknown."""
    for rule in of_project(connection, project):
        if rule.name == name:
            return rule
    raise RuleUnknown(project, name)


def by_id(connection: Connection, rule_id: int) -> Rule | None:
    row = connection.execute(f"{_SELECT} WHERE r.id = ?", (rule_id,)).fetchone()
    return _rule(connection, row) if row is not None else None


def check_every(every_s: int) -> None:
    if every_s and every_s < LEAST_EVERY_S:
        raise InvalidParameter(f"a rule runs every {LEAST_EVERY_S} seconds at the most, or 0 for not by the clock")


def create(
    connection: Connection, project: str, name: str, direction: Direction, remote: str, *, prefix: str, repositories: str,
    tags: str, on_event: bool, every_s: int, deletes: bool, by: str,
) -> Rule:  # fmt: skip
    """Raises InvalidParameter, ProjectUnknown, RemoteUnknown, RuleExists, TooManyRules."""
    row = projects.find(connection, project)
    if prefix:
        repository_name(prefix)
    check_every(every_s)
    if direction is Direction.PULL and on_event:
        raise InvalidParameter("a pull rule can't know what happens at the remote: let it run by the clock (every_s)")
    if connection.execute("SELECT 1 FROM upstreams WHERE project_id = ?", (row["id"],)).fetchone() is not None:
        raise Conflict(f"the project {project} is a cache: it holds what was pulled, no whole images to replicate")
    if len(of_project(connection, project)) >= MOST_RULES:
        raise TooManyRules
    made = connection.execute(
        "INSERT INTO replication_rules (project_id, name, direction, remote_id, prefix, repositories, tags, on_event,"
        " every_s, deletes, enabled, created_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)"
        " ON CONFLICT (project_id, name) DO NOTHING RETURNING id",
        (row["id"], project_name(name), direction, remotes.find(connection, remote).id, prefix, repositories, tags,
         int(on_event), every_s, int(deletes), by, stamp()),
    ).fetchone()  # fmt: skip
    if made is None:
        raise RuleExists(project, name)
    return find(connection, project, name)


def change(connection: Connection, rule: Rule, *, enabled: bool | None, every_s: int | None) -> None:
    """Change what is not None. Raises InvalidParameter."""
    if every_s is not None:
        check_every(every_s)
        connection.execute("UPDATE replication_rules SET every_s = ? WHERE id = ?", (every_s, rule.id))
    if enabled is not None:
        connection.execute("UPDATE replication_rules SET enabled = ? WHERE id = ?", (int(enabled), rule.id))


def delete(connection: Connection, rule: Rule) -> None:
    """With the log of its runs. What it has copied stays."""
    connection.execute("DELETE FROM replication_rules WHERE id = ?", (rule.id,))
