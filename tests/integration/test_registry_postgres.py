"""The registry's metadata in a real PostgreSQL: alone in the world, again after a conflict, over the server's restart."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

from onggi.errors import InvalidParameter, System, Unavailable
from onggi.registry import jobs, postgres, projects, settings_store, users
from onggi.registry.database import Connection
from onggi.registry.jobs import Handler, Job, Runner
from onggi.registry.postgres import PostgresDatabase, PostgresDialect, placeholders
from tests.postgres import LACKING, Postgres

pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def walk(work: Callable[..., Awaitable[None]], *databases: PostgresDatabase) -> None:
    async def opened() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for database in databases:  # side by side: their migrations meet
                group.create_task(database.__aenter__())
        try:
            async with asyncio.timeout(60):
                await work(*databases)
        finally:
            for database in databases:
                await database.__aexit__(None, None, None)

    asyncio.run(opened())


def add_one(connection: Connection) -> int:
    """Reads, then writes what it read and one: loses counts unless it is alone."""
    value = int(settings_store.get(connection, "count") or b"0") + 1
    settings_store.put(connection, "count", str(value).encode())
    return value


def test_transactions_of_two_nodes_are_alone_in_the_world(server: Postgres) -> None:
    address = server.address("alone")

    async def work(one: PostgresDatabase, two: PostgresDatabase) -> None:
        values = await asyncio.gather(*(node.write(add_one) for _ in range(40) for node in (one, two)))
        assert sorted(values) == list(range(1, 81))

    walk(work, PostgresDatabase(address), PostgresDatabase(address))


def test_of_two_nodes_that_insert_the_same_one_sees_the_others(server: Postgres) -> None:
    address = server.address("same")

    async def work(one: PostgresDatabase, two: PostgresDatabase) -> None:
        for number in range(20):
            name = f"key-{number}"
            got = await asyncio.gather(
                *(node.write(partial(settings_store.get_or_make, name=name, make=partial(bytes, own)))
                  for node, own in ((one, b"one"), (two, b"two")))
            )  # fmt: skip
            assert got[0] == got[1]

    walk(work, PostgresDatabase(address), PostgresDatabase(address))


def test_what_fails_is_undone(server: Postgres) -> None:
    def fail(connection: Connection) -> None:
        add_one(connection)
        raise LookupError("no")

    async def work(database: PostgresDatabase) -> None:
        with pytest.raises(LookupError, match="no"):
            await database.write(fail)
        assert await database.write(add_one) == 1

    walk(work, PostgresDatabase(server.address("undone")))


def test_an_error_that_is_swallowed_commits_nothing(server: Postgres) -> None:
    def swallow(connection: Connection) -> None:
        add_one(connection)
        try:
            connection.execute("SELECT no_such_column FROM settings")
        except psycopg.errors.UndefinedColumn:
            pass  # what must not be done

    async def work(database: PostgresDatabase) -> None:
        with pytest.raises(System, match="ROLLBACK"):
            await database.write(swallow)
        assert await database.write(add_one) == 1

    walk(work, PostgresDatabase(server.address("swallowed")))


def test_a_read_can_not_write(server: Postgres) -> None:
    async def work(database: PostgresDatabase) -> None:
        for look in (database.read, database.scan):
            with pytest.raises(Exception, match="read-only"):
                await look(add_one)

    walk(work, PostgresDatabase(server.address("reading")))


def test_it_goes_on_after_the_servers_restart(server: Postgres) -> None:
    async def work(database: PostgresDatabase) -> None:
        assert await database.write(add_one) == 1
        assert await database.read(lambda connection: settings_store.get(connection, "count")) == b"1"
        await asyncio.to_thread(server.stop)
        waiting = asyncio.create_task(database.write(add_one))
        await asyncio.to_thread(server.start)
        assert await waiting == 2
        assert await database.read(lambda connection: settings_store.get(connection, "count")) == b"2"

    walk(work, PostgresDatabase(server.address("restarted")))


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    async def work() -> None:
        with pytest.raises(Unavailable, match="can't be reached") as caught:
            await PostgresDatabase("postgresql://u:hidden-word@127.0.0.1:1/x").__aenter__()
        error: BaseException | None = caught.value
        while error is not None:
            assert "hidden-word" not in str(error)
            error = error.__cause__

    asyncio.run(work())


def test_who_waits_for_a_server_that_is_away_is_told_soon(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first after some time; those behind it at once; and all is as before when it is back."""
    monkeypatch.setattr(postgres, "PATIENCE_S", 0.5)
    monkeypatch.setattr(postgres, "_AWAY_S", 3600.0)

    async def work(database: PostgresDatabase) -> None:
        assert await database.write(add_one) == 1
        await asyncio.to_thread(server.stop)
        try:
            outcomes = await asyncio.gather(*(database.write(add_one) for _ in range(100)), return_exceptions=True)
            assert {str(outcome) for outcome in outcomes} == {
                "the registry's database can't be reached: try again later"
            }
            assert {type(outcome) for outcome in outcomes} == {Unavailable}
            for look in (database.read, database.scan):
                with pytest.raises(Unavailable):
                    await look(lambda connection: settings_store.get(connection, "count"))
        finally:
            await asyncio.to_thread(server.start)
        given_up_at = database._away._given_up_at
        assert given_up_at is not None
        for number, back in enumerate((database.scan, database.read, database.write)):
            database._away._given_up_at = given_up_at - 3600.0  # long ago: whoever comes tries
            await back(lambda connection: settings_store.get(connection, "count"))
            assert database._away._given_up_at is None, number
        assert await database.write(add_one) == 2

    walk(work, PostgresDatabase(server.address("away")))


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and says nothing: libpq waits `connect_timeout` for each."""
    monkeypatch.setattr(postgres, "PATIENCE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:

        async def work() -> None:
            address = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=2"
            async with asyncio.timeout(20):  # not fourteen times two seconds
                with pytest.raises(Unavailable, match="can't be reached"):
                    await PostgresDatabase(address).__aenter__()

        asyncio.run(work())


def test_a_connection_that_can_not_be_set_up_is_closed(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[psycopg.Connection[Any]] = []

    class Refusing(psycopg.Connection[Any]):
        def execute(self, query: Any, *_: Any, **__: Any) -> Any:
            made.append(self)
            raise psycopg.errors.InsufficientPrivilege("you may not set that")

    database = PostgresDatabase(server.address("refusing"))
    monkeypatch.setattr(psycopg, "connect", Refusing.connect)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        asyncio.run(database.scan(lambda _: None))
    assert [connection.closed for connection in made] == [True]


@pytest.mark.parametrize("password", ["hidden%zz", "hidden%den", "hidden%00"])
def test_an_address_that_is_none_is_refused_without_the_password(password: str) -> None:
    with pytest.raises(InvalidParameter, match="%XX") as caught:
        PostgresDatabase(f"postgresql://u:{password}@127.0.0.1/x")
    assert "hidden" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_data_of_a_newer_release_are_refused(server: Postgres) -> None:
    address = server.address("newer")

    async def work(database: PostgresDatabase) -> None:
        await database.write(lambda connection: connection.execute("INSERT INTO migrations (name) VALUES ('future')"))
        with pytest.raises(System, match=r"newer Onggi .it knows future"):
            await PostgresDatabase(address).__aenter__()

    walk(work, PostgresDatabase(address))


def test_a_character_that_can_not_be_stored_is_refused(server: Postgres) -> None:
    async def work(database: PostgresDatabase) -> None:
        with pytest.raises(InvalidParameter, match=r"U\+0000"):
            await database.write(lambda connection: jobs.enqueue(connection, "k", {}, subject="a\0b"))
        for look in (database.read, database.scan):
            with pytest.raises(InvalidParameter, match=r"U\+0000"):
                await look(lambda connection: settings_store.get(connection, "a\0b"))

    walk(work, PostgresDatabase(server.address("nul")))


def test_a_job_is_done_by_one_of_two_nodes(server: Postgres) -> None:
    done: list[int] = []
    address = server.address("jobs")

    all_done = asyncio.Event()

    async def run(job: Job) -> None:
        done.append(job.id)
        if len(done) == 20:
            all_done.set()

    async def work(one: PostgresDatabase, two: PostgresDatabase) -> None:
        for number in range(20):
            await one.write(lambda connection, number=number: jobs.enqueue(connection, "k", {"n": number}))  # type: ignore[misc]
        handlers = {"k": Handler(run, lease=timedelta(minutes=1))}
        async with Runner(one, handlers), Runner(two, handlers):
            await all_done.wait()

    walk(work, PostgresDatabase(address), PostgresDatabase(address))
    assert len(done) == len(set(done)) == 20


def test_text_is_ordered_by_its_bytes_and_numbers_are_whole(server: Postgres) -> None:
    async def work(database: PostgresDatabase) -> None:
        def fill(connection: Connection) -> None:
            owner = users.create(connection, "admin", "x", admin=True, one_time=False)
            for name in ("b", "a-c", "a1", "a"):
                projects.create(connection, name, public=True, owner_id=owner)

        await database.write(fill)
        rows = await database.read(lambda c: c.execute("SELECT name, id FROM projects ORDER BY name").fetchall())
        assert [row["name"] for row in rows] == ["a", "a-c", "a1", "b"]
        total = await database.read(lambda c: c.execute("SELECT SUM(id) AS total FROM projects").fetchone())
        assert type(total["total"]) is int
        assert list(total.keys()) == ["total"]

    walk(work, PostgresDatabase(server.address("ordered")))


def test_statements_as_postgresql_takes_them() -> None:
    assert placeholders("a = ? AND b = '?' AND c LIKE 'x%'") == "a = %s AND b = '?' AND c LIKE 'x%%'"
    table = PostgresDialect().table("CREATE TABLE t (\n id INTEGER PRIMARY KEY AUTOINCREMENT,\n v BLOB\n) STRICT")
    assert table == "CREATE TABLE t (\n id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,\n v BYTEA\n)"
