"""What happened: published by everyone, kept for a while, followed by `events`.

A publication never waits: it is handed to those who follow and noted in memory; a task writes to the database what has
gathered, many in one transaction. kill -9 may lose the events of the last moments, never reorder them.
"""

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import msgspec

from onggi.engine.filters import Filters
from onggi.errors import Unavailable
from onggi.oci.reference import InvalidReference, Reference
from onggi.state.database import Database

log = logging.getLogger("onggi.events")
KEPT = 1024
"""Events that `--since` can still reach; dockerd keeps 256."""
SLOW = 10_000
"""A follower that is this many events behind is dropped."""
_encode_attributes = msgspec.json.Encoder().encode
_decode_attributes = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one object, in Docker's words."""

    type: str
    """container, image, network, volume, daemon, builder."""
    action: str
    actor: str
    """The object's ID, or its name where that is its ID."""
    attributes: Mapping[str, str]
    time_ns: int
    """Nanoseconds since 1970."""

    def document(self) -> dict[str, Any]:
        """As GET /events sends it, with the members of old for containers and images."""
        shown: dict[str, Any] = {}
        if self.type == "container":
            shown = {"status": self.action, "id": self.actor}
            if "image" in self.attributes:
                shown["from"] = self.attributes["image"]
        elif self.type == "image":
            shown = {"status": self.action, "id": self.actor}
        return shown | {
            "Type": self.type,
            "Action": self.action,
            "Actor": {"ID": self.actor, "Attributes": dict(self.attributes)},
            "scope": "local",
            "time": self.time_ns // 1_000_000_000,
            "timeNano": self.time_ns,
        }


FILTERS = frozenset(
    {"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope", "secret"}
    | {"service", "type", "volume"}
)


def matches(event: Event, filters: Filters) -> bool:
    """Whether an event passes Docker's filters: all keys must match, one value of each suffices."""
    return (
        (filters.exact("event", event.action) or filters.exact("event", event.action.partition(":")[0]))
        and filters.exact("type", event.type)
        and filters.exact("scope", "local")
        and filters.labels("label", event.attributes)
        and _names(filters, "container", event)
        and _names(filters, "network", event)
        and _names(filters, "volume", event)
        and _names(filters, "daemon", event)
        and _image(filters, event)
        and not any(filters.has(kind) for kind in ("plugin", "service", "node", "secret", "config"))
    )


def _names(filters: Filters, kind: str, event: Event) -> bool:
    if not filters.has(kind):
        return True
    if event.type == kind:
        name = event.attributes.get("name", "")
        return any(event.actor.startswith(value) or name == value for value in filters[kind])
    # A network's connect and disconnect belong to the container too.
    return kind == "container" and any(event.attributes.get("container", "-") == value for value in filters[kind])


def _image(filters: Filters, event: Event) -> bool:
    if not filters.has("image"):
        return True
    if event.type == "image":
        names = [event.actor, event.attributes.get("name", "")]
    elif event.type == "container":
        names = [event.attributes.get("image", "")]
    else:
        return False
    return any(value in (name, _without_tag(name)) for value in filters["image"] for name in names if name)


def _without_tag(name: str) -> str:
    try:
        reference = Reference.parse(name)
    except InvalidReference:
        return name
    return reference.familiar.rpartition(":")[0] if reference.tag else reference.familiar


class Events:
    """The engine's log of events. Entered, it writes what is published to the database; left, it writes the rest."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recent: deque[Event] = deque(maxlen=KEPT)
        self._unsaved: list[Event] = []
        self._followers: set[asyncio.Queue[Event | None]] = set()
        self._news = asyncio.Event()
        self._last_ns = 0
        self._saver: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        def load(connection: sqlite3.Connection) -> list[sqlite3.Row]:
            return connection.execute(
                "SELECT type, action, actor, attributes, time_ns FROM events ORDER BY sequence DESC LIMIT ?", (KEPT,)
            ).fetchall()

        for row in reversed(self._database.read(load)):
            attributes = _decode_attributes(row["attributes"])
            self._recent.append(Event(row["type"], row["action"], row["actor"], attributes, row["time_ns"]))
        self._saver = asyncio.create_task(self._save_always(), name="events: save")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._saver is not None:
            self._saver.cancel()
            await asyncio.gather(self._saver, return_exceptions=True)
        await self._save()
        for follower in self._followers:
            follower.put_nowait(None)

    @property
    def followers(self) -> int:
        """How many follow the events now."""
        return len(self._followers)

    def publish(self, type: str, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        """Tell that something happened, now."""
        # Two events never share a time, so that `--since` the last one seen repeats none and loses none.
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        # Plain texts: digests and the like have types of their own, which no decoder gives back.
        plain = {str(name): str(value) for name, value in attributes.items()}
        event = Event(type, action, str(actor), plain, self._last_ns)
        self._recent.append(event)
        self._unsaved.append(event)
        self._news.set()
        for follower in self._followers:
            if follower.qsize() < SLOW:
                follower.put_nowait(event)
            elif follower.qsize() == SLOW:
                log.warning("a client that follows the events is %d behind and is dropped", SLOW)
                follower.put_nowait(None)

    async def _save_always(self) -> None:
        while True:
            await self._news.wait()
            # Gather what a burst brings: the database's one writer has transitions to carry, too.
            await asyncio.sleep(0.05)
            self._news.clear()
            await self._save()

    async def _save(self) -> None:
        events, self._unsaved = self._unsaved, []
        if not events:
            return

        def save(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO events (time_ns, type, action, actor, attributes) VALUES (?, ?, ?, ?, ?)",
                [(e.time_ns, e.type, e.action, e.actor, _encode_attributes(e.attributes)) for e in events],
            )
            connection.execute("DELETE FROM events WHERE sequence <= (SELECT max(sequence) FROM events) - ?", (KEPT,))

        try:
            await self._database.write(save)
        except (sqlite3.OperationalError, Unavailable) as error:
            # A full disk must not stop the engine; what is in memory still answers `--since`.
            log.error("%d events could not be saved: %s", len(events), error)

    @asynccontextmanager
    async def subscribe(
        self, *, since_ns: int | None, until_ns: int | None, filters: Filters
    ) -> "AsyncIterator[AsyncIterator[Event]]":
        """Follow the events: those kept from `since_ns` on (None: none), then what comes until `until_ns` (None: ever).

        From the moment it is entered no event is missed.
        """
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        past: Sequence[Event] = [
            event
            for event in (self._recent if since_ns is not None else ())
            if since_ns is not None and event.time_ns >= since_ns and (until_ns is None or event.time_ns <= until_ns)
        ]
        self._followers.add(queue)
        try:
            yield self._follow(past, queue, until_ns, filters)
        finally:
            self._followers.discard(queue)

    async def _follow(
        self, past: Sequence[Event], queue: "asyncio.Queue[Event | None]", until_ns: int | None, filters: Filters
    ) -> AsyncIterator[Event]:
        for event in past:
            if matches(event, filters):
                yield event
        while True:
            left = None if until_ns is None else max(0.0, (until_ns - time.time_ns()) / 1e9)
            try:
                # Not one timeout around the loop: it would also fire in the consumer's code, between two events.
                async with asyncio.timeout(left):
                    news = await queue.get()
            except TimeoutError:
                return
            if news is None or (until_ns is not None and news.time_ns > until_ns):
                return
            if matches(news, filters):
                yield news
