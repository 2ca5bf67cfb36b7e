"""What happened, told to whoever wants to act on it: webhooks, scans, replication, the page.

`publish` is called inside the transaction that makes it happen, so an event is there exactly when its cause is. Each
subscriber is called in the same transaction and may write too: usually it enqueues a job (`jobs.enqueue`).

    subscribe(on_push)                  # at import of the feature's module, see service.py
    def on_push(connection: Connection, event: Event) -> None:
        if event.kind is EventKind.PUSH: jobs.enqueue(connection, "scan", …)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.jsonform import encode
from onggi.registry.names import project_of


class EventKind(StrEnum):
    PUSH = "push"
    """A manifest was stored, or a tag moved."""
    DELETE = "delete"
    """A manifest or a tag was deleted."""
    ROLLBACK = "rollback"
    QUOTA = "quota"
    """A push was refused, for the project's quota."""
    SCAN = "scan"
    SIGNATURE = "signature"
    REPLICATION = "replication"


@dataclass(frozen=True, slots=True)
class Event:
    kind: EventKind
    repository: str
    actor: str
    reference: str = ""
    """The tag, where one is concerned."""
    digest: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON."""


Subscriber = Callable[[Connection, Event], None]


class Events:
    """One registry's subscribers. Tests make their own; `service.Service` has the one that runs."""

    def __init__(self, subscribers: Sequence[Subscriber] = ()) -> None:
        self._subscribers = [*subscribers]

    def subscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.append(subscriber)

    def publish(self, connection: Connection, event: Event) -> None:
        """Record `event` and let the subscribers act on it, all in the caller's transaction."""
        connection.execute(
            "INSERT INTO events (at, kind, project, repository, reference, digest, actor, details)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (stamp(), event.kind, project_of(event.repository), event.repository, event.reference, event.digest,
             event.actor, encode(event.details).decode()),
        )  # fmt: skip
        for subscriber in self._subscribers:
            subscriber(connection, event)
