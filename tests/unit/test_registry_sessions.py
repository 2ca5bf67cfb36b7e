"""How long a session of the page lasts, and that the database alone opens none."""

from datetime import datetime, timedelta

import pytest

from onggi.registry import clock, users
from onggi.registry.database import Connection
from onggi.registry.page import sessions
from tests.registry_database import Memory

NOW = clock.now()


class Times:
    """What `clock.now` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now: datetime = NOW
        monkeypatch.setattr(clock, "now", lambda: self.now)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    return Times(monkeypatch)


@pytest.fixture
def database() -> Memory:
    return Memory()


def begin(database: Memory, name: str = "kim", *, disabled: bool = False) -> str:
    def enter(connection: Connection) -> str:
        user = users.create(connection, name, "hash")
        users.change(connection, user, disabled=disabled)
        return sessions.begin(connection, user, "192.0.2.1", "a browser")

    return database.write(enter)


def is_open(database: Memory, token: str) -> bool:
    """As a request asks: who is seen again is written down."""

    def look(connection: Connection) -> bool:
        row = sessions.user(connection, token)
        if row is not None and sessions.is_stale(row):
            sessions.seen(connection, token)
        return row is not None

    return database.write(look)


def test_a_session_that_is_not_used_ends(database: Memory, times: Times) -> None:
    token = begin(database)
    times.now = NOW + sessions.IDLE - timedelta(minutes=1)
    assert is_open(database, token)
    times.now += sessions.IDLE - timedelta(minutes=1)
    assert is_open(database, token)
    times.now += sessions.IDLE + timedelta(minutes=1)
    assert not is_open(database, token)


def test_what_has_ended_is_not_listed(database: Memory, times: Times) -> None:
    begin(database)
    user = database.write(lambda connection: connection.execute("SELECT id FROM users").fetchone()["id"])
    assert len(database.write(lambda connection: sessions.of_user(connection, user))) == 1
    times.now += sessions.IDLE + timedelta(minutes=1)
    assert database.write(lambda connection: sessions.of_user(connection, user)) == []


def test_a_session_that_is_always_used_ends_too(database: Memory, times: Times) -> None:
    token = begin(database)
    while times.now < NOW + sessions.LIFETIME - timedelta(minutes=1):
        assert is_open(database, token)
        times.now += timedelta(hours=1)
    times.now = NOW + sessions.LIFETIME + timedelta(minutes=1)
    assert not is_open(database, token)


def test_what_has_ended_is_forgotten_at_the_next_sign_in(database: Memory, times: Times) -> None:
    begin(database)
    times.now = NOW + sessions.LIFETIME + timedelta(minutes=1)
    begin(database, "lee")
    rows = database.write(lambda connection: connection.execute("SELECT * FROM sessions").fetchall())
    assert len(rows) == 1


def test_the_database_holds_no_token(database: Memory) -> None:
    token = begin(database)
    row = database.write(lambda connection: connection.execute("SELECT * FROM sessions").fetchone())
    assert token not in [str(value) for value in tuple(row)]
    assert not is_open(database, row["token_hash"])


def test_who_is_disabled_begins_none(database: Memory) -> None:
    """Between the look at the password and the session somebody may have done it."""
    assert not is_open(database, begin(database, disabled=True))


def test_each_session_has_a_token_for_its_forms(database: Memory) -> None:
    first, second = begin(database), begin(database, "lee")
    assert sessions.form_token(first) != sessions.form_token(second)
    assert sessions.form_token(first) not in first
