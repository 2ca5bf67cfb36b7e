"""Hooks and the log of their deliveries. Owns `webhooks` and `deliveries`."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from onggi.errors import Conflict, NotFound
from onggi.registry import clock
from onggi.registry.database import Connection
from onggi.registry.events import Event, EventKind
from onggi.registry.glob import fits

MOST_HOOKS = 50
KEPT = timedelta(days=14)
KEPT_DELIVERIES = 1000
_kinds = msgspec.json.Decoder(list[EventKind])


class HookUnknown(NotFound):
    def __init__(self, number: int) -> None:
        super().__init__(f"the project has no webhook {number}")


class DeliveryUnknown(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"the webhook has no delivery {name[:60]!a}")


class TooMany(Conflict):
    def __init__(self) -> None:
        super().__init__(f"a project has at most {MOST_HOOKS} webhooks: delete one that is not needed")


class SwitchedOff(Conflict):
    def __init__(self) -> None:
        super().__init__("the webhook is switched off: switch it on first")


@dataclass(frozen=True, slots=True)
class Hook:
    id: int
    project_id: int
    url: str
    secret: str
    events: tuple[EventKind, ...]
    """Empty: all."""
    repositories: str
    """A pattern, without the project's name."""
    enabled: bool

    def wants(self, event: Event) -> bool:
        name = event.repository.partition("/")[2]
        return self.enabled and (not self.events or event.kind in self.events) and fits(self.repositories, name)


def _hook(row: Any) -> Hook:
    return Hook(row["id"], row["project_id"], row["url"], row["secret"], tuple(_kinds.decode(row["events"])),
                row["repositories"], bool(row["enabled"]))  # fmt: skip


def of_project(connection: Connection, project_id: int) -> list[Hook]:
    rows = connection.execute("SELECT * FROM webhooks WHERE project_id = ? ORDER BY id", (project_id,)).fetchall()
    return [_hook(row) for row in rows]


def wanting(connection: Connection, project: str, event: Event) -> list[Hook]:
    """The hooks of the event's project that want it."""
    rows = connection.execute(
        "SELECT w.* FROM webhooks w JOIN projects p ON p.id = w.project_id WHERE p.name = ?", (project,)
    ).fetchall()
    return [hook for hook in map(_hook, rows) if hook.wants(event)]


def find(connection: Connection, project_id: int, number: int) -> Hook:
    """Raises HookUnknown."""
    row = connection.execute("SELECT * FROM webhooks WHERE id = ? AND project_id = ?", (number, project_id)).fetchone()
    if row is None:
        raise HookUnknown(number)
    return _hook(row)


def by_id(connection: Connection, number: int) -> Hook | None:
    row = connection.execute("SELECT * FROM webhooks WHERE id = ?", (number,)).fetchone()
    return _hook(row) if row is not None else None


def create(
    connection: Connection, project_id: int, url: str, events: list[EventKind], repositories: str, by: str
) -> Hook:
    """A new hook, with a secret of its own. Raises TooMany."""
    if len(of_project(connection, project_id)) >= MOST_HOOKS:
        raise TooMany
    row = connection.execute(
        "INSERT INTO webhooks (project_id, url, secret, events, repositories, enabled, created_by, created_at)"
        " VALUES (?, ?, ?, ?, ?, 1, ?, ?) RETURNING *",
        (
            project_id,
            url,
            secrets.token_urlsafe(32),
            msgspec.json.encode(events).decode(),
            repositories,
            by,
            clock.stamp(),
        ),
    ).fetchone()
    return _hook(row)


def enable(connection: Connection, hook: Hook, *, enabled: bool) -> None:
    connection.execute("UPDATE webhooks SET enabled = ? WHERE id = ?", (int(enabled), hook.id))


def delete(connection: Connection, hook: Hook) -> None:
    connection.execute("DELETE FROM webhooks WHERE id = ?", (hook.id,))


# Deliveries


def begin(connection: Connection, hook_id: int, delivery: str, event: str, body: bytes) -> None:
    """Note what is to be delivered; once, however often it is tried."""
    connection.execute(
        "INSERT INTO deliveries (webhook_id, name, event, body, state, created_at) VALUES (?, ?, ?, ?, 'waiting', ?)",
        (hook_id, delivery, event, body, clock.stamp()),
    )
    connection.execute(
        "DELETE FROM deliveries WHERE webhook_id = ? AND state != 'waiting' AND (created_at < ? OR sequence <= ("
        "  SELECT COALESCE(MAX(sequence), 0) - ? FROM deliveries WHERE webhook_id = ?))",
        (hook_id, clock.ago(KEPT), KEPT_DELIVERIES, hook_id),
    )


def finish(
    connection: Connection, delivery: str, state: str, *, status: int, error: str, attempt: int, took_ms: int
) -> None:
    connection.execute(
        "UPDATE deliveries SET state = ?, status = ?, error = ?, attempts = ?, took_ms = ?, tried_at = ? WHERE name = ?",
        (state, status, error[:500], attempt, took_ms, clock.stamp(), delivery),
    )


def deliveries(connection: Connection, hook_id: int, before: int, most: int) -> list[Any]:
    return connection.execute(
        "SELECT * FROM deliveries WHERE webhook_id = ? AND (? = 0 OR sequence < ?) ORDER BY sequence DESC LIMIT ?",
        (hook_id, before, before, most),
    ).fetchall()


def delivery(connection: Connection, hook_id: int, name: str) -> Any:
    """Raises DeliveryUnknown."""
    row = connection.execute("SELECT * FROM deliveries WHERE webhook_id = ? AND name = ?", (hook_id, name)).fetchone()
    if row is None:
        raise DeliveryUnknown(name)
    return row
