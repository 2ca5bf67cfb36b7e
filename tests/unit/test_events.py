"""Events: who hears what, and what is kept."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from onggi.engine.events import FILTERS, KEPT, Event, Events, matches
from onggi.engine.filters import Filters
from onggi.errors import InvalidParameter, Unavailable
from onggi.state.database import Database

START = Event("container", "start", "abc123", {"image": "quay.io/a/b:1", "name": "web", "tier": "front"}, 5)
HEALTH = Event("container", "health_status: healthy", "abc123", {"image": "busybox", "name": "web"}, 6)
CONNECT = Event("network", "connect", "net1", {"container": "abc123", "name": "bridge", "type": "bridge"}, 7)
TAG = Event("image", "tag", "sha256:1", {"name": "busybox:latest"}, 8)


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("", [START, HEALTH, CONNECT, TAG]),
        ('{"type": ["container"]}', [START, HEALTH]),
        ('{"type": {"container": true, "image": true}}', [START, HEALTH, TAG]),
        ('{"event": ["start"]}', [START]),
        ('{"event": ["health_status"]}', [HEALTH]),
        ('{"container": ["web"]}', [START, HEALTH]),
        ('{"container": ["abc123"]}', [START, HEALTH, CONNECT]),
        ('{"container": ["abc"], "type": ["container"]}', [START, HEALTH]),
        ('{"label": ["tier=front"]}', [START]),
        ('{"label": ["tier"]}', [START]),
        ('{"image": ["quay.io/a/b"]}', [START]),
        ('{"image": ["busybox"]}', [HEALTH, TAG]),
        ('{"network": ["bridge"]}', [CONNECT]),
        ('{"scope": ["swarm"]}', []),
    ],
)
def test_filters(text: str, heard: list[Event]) -> None:
    filters = Filters.parse(text, FILTERS)
    assert [event for event in (START, HEALTH, CONNECT, TAG) if matches(event, filters)] == heard


@pytest.mark.parametrize("text", ["[", "[]", '{"foo": ["x"]}', '{"type": 5}', '{"type": [5]}'])
def test_filters_that_are_none(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"^invalid filter"):
        Filters.parse(text, FILTERS)


def test_old_members_of_the_document() -> None:
    shown = START.document()
    assert (shown["status"], shown["id"], shown["from"]) == ("start", "abc123", "quay.io/a/b:1")
    assert (shown["Type"], shown["Action"], shown["Actor"]["ID"], shown["scope"]) == (
        "container", "start", "abc123", "local",
    )  # fmt: skip
    assert "status" not in CONNECT.document()


def test_a_follower_misses_nothing_and_the_past_can_be_asked_for(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        heard = []
        async with Database(tmp_path / "state.db") as database, Events(database) as events:
            events.publish("container", "one", "a", {})
            events.publish("container", "two", "a", {})
            async with events.subscribe(since_ns=0, until_ns=None, filters=Filters({})) as stream:
                events.publish("container", "three", "a", {})
                async for event in stream:
                    heard.append(event.action)
                    if event.action == "three":
                        return heard
        return heard

    assert asyncio.run(scenario()) == ["one", "two", "three"]


def test_until_in_the_past_ends_at_once(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        async with Database(tmp_path / "state.db") as database, Events(database) as events:
            events.publish("container", "one", "a", {})
            async with events.subscribe(since_ns=0, until_ns=2**62 // 4, filters=Filters({})) as stream:
                return [event.action async for event in stream]

    assert asyncio.run(scenario()) == []


def test_events_survive_the_engine_and_are_bounded(tmp_path: Path) -> None:
    async def publish() -> None:
        async with Database(tmp_path / "state.db") as database, Events(database) as events:
            for number in range(KEPT + 5):
                events.publish("container", str(number), "a", {"n": "1"})

    async def first() -> Event:
        async with Database(tmp_path / "state.db") as database, Events(database) as events:
            async with events.subscribe(since_ns=0, until_ns=None, filters=Filters({})) as stream:
                return await anext(stream)

    asyncio.run(publish())
    found = asyncio.run(first())
    assert (found.action, found.attributes) == ("5", {"n": "1"})


def test_a_full_disk_ends_neither_the_writing_nor_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def publish() -> None:
        async with Database(tmp_path / "state.db") as database, asyncio.timeout(30):
            write = database.write
            refused, saved = asyncio.Event(), asyncio.Event()

            async def full(work: object) -> None:
                refused.set()
                raise Unavailable("no space left on device")

            async def enough(work: Callable[[sqlite3.Connection], None]) -> None:
                await write(work)
                saved.set()

            async with Events(database) as events:
                monkeypatch.setattr(database, "write", full)
                events.publish("container", "start", "lost", {})
                await refused.wait()
                monkeypatch.setattr(database, "write", enough)
                events.publish("container", "start", "kept", {})
                await saved.wait()
            async with Events(database) as events:
                everything = Filters.parse("", FILTERS)
                async with events.subscribe(since_ns=0, until_ns=0x7FFF << 48, filters=everything) as heard:
                    assert (await anext(heard)).actor == "kept"

    asyncio.run(publish())
