"""Lists of repositories as one subject may see them: the catalogue, search, and the page build on this."""

from collections.abc import Iterator
from typing import Any

from onggi.registry import projects
from onggi.registry.database import Connection
from onggi.registry.permissions import Action, Standing, Subject, SubjectKind, holds

_STEP = 500


def _rows(connection: Connection, subject: Subject, last: str) -> Iterator[Any]:
    """Repositories after `last`, by name, of projects where the subject sees something."""
    condition, parameters = projects.visible(subject)
    while True:
        # The condition is text of ours; its values are parameters.
        rows = connection.execute(
            "SELECT r.id, r.name, r.description, r.updated_at, r.created_at, r.pulls, p.name AS project, p.public"  # noqa: S608
            f" FROM repositories r JOIN projects p ON p.id = r.project_id WHERE r.name > ? AND {condition}"
            " ORDER BY r.name LIMIT ?",
            (last, *parameters, _STEP),
        ).fetchall()
        yield from rows
        if len(rows) < _STEP:
            return
        last = rows[-1]["name"]


def visible(connection: Connection, subject: Subject, last: str = "") -> Iterator[Any]:
    """Rows of the repositories that `subject` may pull from, by name, after `last`."""
    for row in _rows(connection, subject, last):
        if subject.kind is SubjectKind.ROBOT:
            standing = Standing(row["project"], public=bool(row["public"]))
            if not holds(subject, Action.PULL, standing, row["name"]):
                continue
        yield row


def visible_names(connection: Connection, subject: Subject, last: str, most: int) -> tuple[list[str], bool]:
    """At most `most` names after `last`, and whether there are more."""
    names: list[str] = []
    for row in visible(connection, subject, last):
        if len(names) == most:
            return names, True
        names.append(row["name"])
    return names, False
