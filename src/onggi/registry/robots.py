"""Robots: accounts of programs, in one project. `team+ci`, a secret shown once, scopes, an end.

scopes      [{"repository": "team/app" or "team/*", "actions": ["pull", "push"]}]
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from onggi.errors import Conflict, InvalidParameter, NotFound
from onggi.registry import passwords
from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.jsonform import encode
from onggi.registry.names import project_of, repository_name
from onggi.registry.permissions import ROBOT_ACTIONS, Action, Scope, Subject, SubjectKind

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", re.ASCII)
MOST_SCOPES = 100


class RobotScope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As the API and the table hold it."""

    repository: str
    actions: list[Action]


_scopes = msgspec.json.Decoder(list[RobotScope])


class RobotUnknown(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"no robot {name!a}")


class RobotExists(Conflict):
    def __init__(self, name: str) -> None:
        super().__init__(f"the robot {name!a} exists already")


class InvalidScope(InvalidParameter):
    pass


def check_scopes(project: str, scopes: Sequence[RobotScope]) -> None:
    """Raises InvalidScope unless each is for repositories of `project` and for what robots may do."""
    if not scopes or len(scopes) > MOST_SCOPES:
        raise InvalidScope(f"a robot needs 1 to {MOST_SCOPES} scopes")
    for scope in scopes:
        pattern = scope.repository
        repository_name(pattern.removesuffix("/*") if pattern.endswith("/*") else pattern)
        if project_of(pattern) != project or "/" not in pattern:
            raise InvalidScope(
                f"the scope {pattern!a} is not of the project {project}: use {project}/* or {project}/NAME"
            )
        if not scope.actions or not ROBOT_ACTIONS.issuperset(scope.actions):
            allowed = ", ".join(sorted(ROBOT_ACTIONS))
            raise InvalidScope(f"the scope {pattern!a} needs actions out of {allowed}")


def create(
    connection: Connection, project: Any, name: str, scopes: Sequence[RobotScope], expires_at: datetime, by: str
) -> tuple[str, str]:
    """Make a robot in the project of row `project`; gives its full name and its secret.

    Raises InvalidParameter and RobotExists.
    """
    if len(name) > 64 or not _NAME.fullmatch(name):
        raise InvalidParameter(f"invalid robot name {name[:100]!a}: small letters and digits, parted by . _ or -")
    check_scopes(project["name"], scopes)
    full, secret = f"{project['name']}+{name}", passwords.new_secret()
    row = connection.execute(
        "INSERT INTO robots (name, project_id, secret_hash, scopes, created_by, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING RETURNING id",
        (full, project["id"], passwords.secret_hash(secret), encode(list(scopes)).decode(), by, stamp(),
         stamp(expires_at)),
    ).fetchone()  # fmt: skip
    if row is None:
        raise RobotExists(full)
    return full, secret


def scopes_of(row: Any) -> list[RobotScope]:
    return _scopes.decode(row["scopes"])


def subject_of(row: Any) -> Subject:
    scopes = tuple(Scope(scope.repository, frozenset(scope.actions)) for scope in scopes_of(row))
    return Subject(SubjectKind.ROBOT, row["name"], row["id"], scopes=scopes)


def by_name(connection: Connection, name: str) -> Any | None:
    """The row of a robot that may sign in now, or None."""
    return connection.execute(
        "SELECT * FROM robots WHERE name = ? AND disabled = 0 AND expires_at > ?", (name, stamp())
    ).fetchone()


def find(connection: Connection, project_id: int, name: str) -> Any:
    """Raises RobotUnknown."""
    row = connection.execute("SELECT * FROM robots WHERE name = ? AND project_id = ?", (name, project_id)).fetchone()
    if row is None:
        raise RobotUnknown(name)
    return row


def of_project(connection: Connection, project_id: int) -> list[Any]:
    return connection.execute("SELECT * FROM robots WHERE project_id = ? ORDER BY name", (project_id,)).fetchall()
