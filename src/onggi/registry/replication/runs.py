"""Runs: one carrying-out of a rule, and what came of each image. Owns `replication_runs` and `replication_items`."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from onggi.errors import NotFound
from onggi.registry import clock, jobs
from onggi.registry.database import Connection
from onggi.registry.replication.rules import Rule

KIND = "replication"
SCHEDULE = "replication-schedule"
KEPT_RUNS = 500
"""Of a rule."""


class Cause(StrEnum):
    EVENT = "event"
    SCHEDULE = "schedule"
    HAND = "hand"


class Act(StrEnum):
    ALL = "all"
    """All that the rule fits."""
    COPY = "copy"
    """One tag."""
    DELETE = "delete"
    """One tag, if it still names `digest` there."""


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Outcome(StrEnum):
    COPIED = "copied"
    PRESENT = "present"
    """It is there with the same digest: nothing was done."""
    DELETED = "deleted"
    KEPT = "kept"
    """It was to be deleted, and names something else by now."""
    GONE = "gone"
    """It was to be copied, and is not at the source any more."""
    FAILED = "failed"
    WOULD_COPY = "would copy"
    WOULD_DELETE = "would delete"


class RunUnknown(NotFound):
    def __init__(self, number: int) -> None:
        super().__init__(f"the rule has no run {number}")


@dataclass(frozen=True, slots=True)
class Run:
    id: int
    rule_id: int
    act: Act
    repository: str
    reference: str
    digest: str
    dry_run: bool


def begin(
    connection: Connection, rule: Rule, cause: Cause, act: Act = Act.ALL, *, repository: str = "", reference: str = "",
    digest: str = "", dry_run: bool = False,
) -> int:  # fmt: skip
    """Note a run and its job, in the caller's transaction; gives the run's number.

    One that is to do the same and has not begun is enough: it will see what is here then.
    """
    waiting = connection.execute(
        "SELECT id FROM replication_runs WHERE rule_id = ? AND action = ? AND repository = ? AND reference = ?"
        " AND digest = ? AND dry_run = ? AND state = 'waiting' AND attempts = 0",
        (rule.id, act, repository, reference, digest, int(dry_run)),
    ).fetchone()
    if waiting is not None:
        return int(waiting["id"])
    made = connection.execute(
        "INSERT INTO replication_runs (rule_id, cause, action, repository, reference, digest, dry_run, state, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', ?) RETURNING id",
        (rule.id, cause, act, repository, reference, digest, int(dry_run), clock.stamp()),
    ).fetchone()
    number = int(made["id"])
    jobs.enqueue(connection, KIND, {"run": number}, subject=f"run {number}")
    connection.execute(
        "DELETE FROM replication_runs WHERE rule_id = ? AND state IN ('done', 'failed') AND id <= ("
        "  SELECT COALESCE(MAX(id), 0) FROM (SELECT id FROM replication_runs WHERE rule_id = ? ORDER BY id DESC"
        "   LIMIT 1 OFFSET ?) AS old)",
        (rule.id, rule.id, KEPT_RUNS),
    )
    return number


def busy(connection: Connection, rule: Rule) -> bool:
    """True while a run of all that the rule fits waits or goes on."""
    row = connection.execute(
        "SELECT 1 FROM replication_runs WHERE rule_id = ? AND action = 'all' AND dry_run = 0"
        " AND state IN ('waiting', 'running') LIMIT 1",
        (rule.id,),
    ).fetchone()
    return row is not None


def start(connection: Connection, number: int) -> Run | None:
    """The run begins, perhaps once more; None for one that went with its rule."""
    row = connection.execute(
        "UPDATE replication_runs SET state = 'running', attempts = attempts + 1, error = '', started_at = ?"
        " WHERE id = ? RETURNING *",
        (clock.stamp(), number),
    ).fetchone()
    if row is None:
        return None
    return Run(row["id"], row["rule_id"], Act(row["action"]), row["repository"], row["reference"], row["digest"],
               bool(row["dry_run"]))  # fmt: skip


def finish(connection: Connection, run: Run, state: State, error: str = "") -> None:
    connection.execute(
        "UPDATE replication_runs SET state = ?, error = ?, finished_at = ? WHERE id = ?",
        (state, error[:2000], clock.stamp() if state in (State.DONE, State.FAILED) else "", run.id),
    )


def note(
    connection: Connection, run: Run, repository: str, reference: str, digest: str, outcome: Outcome, size_bytes: int = 0,
    error: str = "",
) -> bool:  # fmt: skip
    """What came of one image. False when the run went with its rule."""
    if connection.execute("SELECT 1 FROM replication_runs WHERE id = ?", (run.id,)).fetchone() is None:
        return False
    connection.execute(
        "INSERT INTO replication_items (run_id, at, repository, reference, digest, outcome, bytes, error)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (run.id, clock.stamp(), repository, reference, digest, outcome, size_bytes, error[:2000]),
    )
    return True


def listing(connection: Connection, rule: Rule, before: int, most: int) -> list[dict[str, Any]]:
    """The newest first, with the number of images by outcome."""
    rows = connection.execute(
        "SELECT * FROM replication_runs WHERE rule_id = ? AND (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?",
        (rule.id, before, before, most),
    ).fetchall()
    columns = ("id", "cause", "action", "repository", "reference", "state", "attempts", "error", "created_at",
               "started_at", "finished_at")  # fmt: skip
    return [
        {key: row[key] for key in columns}
        | {"dry_run": bool(row["dry_run"]), "outcomes": _outcomes(connection, row["id"])}
        for row in rows
    ]


def _outcomes(connection: Connection, number: int) -> dict[str, int]:
    rows = connection.execute(
        "SELECT outcome, COUNT(*) AS count FROM replication_items WHERE run_id = ? GROUP BY outcome ORDER BY outcome",
        (number,),
    ).fetchall()
    return {row["outcome"]: row["count"] for row in rows}


def items(connection: Connection, rule: Rule, number: int, after: int, most: int) -> list[dict[str, Any]]:
    """In their order. Raises RunUnknown."""
    if connection.execute(
        "SELECT 1 FROM replication_runs WHERE id = ? AND rule_id = ?", (number, rule.id)
    ).fetchone() is None:  # fmt: skip
        raise RunUnknown(number)
    rows = connection.execute(
        "SELECT sequence, at, repository, reference, digest, outcome, bytes, error FROM replication_items"
        " WHERE run_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        (number, after, most),
    ).fetchall()
    return [{key: row[key] for key in row.keys()} for row in rows]  # noqa: SIM118  # rows of two databases


def plan(connection: Connection, rule: Rule) -> None:
    """Note when the rule's time comes next, if it runs by the clock; what was noted before is forgotten."""
    jobs.cancel(connection, SCHEDULE, f"rule {rule.id}")
    if rule.enabled and rule.every_s:
        jobs.enqueue(connection, SCHEDULE, {"rule": rule.id}, subject=f"rule {rule.id}",
                     delay=timedelta(seconds=rule.every_s))  # fmt: skip
