"""The state's database: one transaction a function, nothing half written, versions."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from onggi.errors import System
from onggi.state.database import Database
from onggi.state.schema import MIGRATIONS


def insert(connection: sqlite3.Connection, name: str) -> None:
    connection.execute(
        "INSERT INTO volumes (name, driver, created_at, anonymous, labels, options) VALUES (?, 'local', '', 0, x'', x'')",
        (name,),
    )


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM volumes").fetchone()[0])


def test_a_failed_function_leaves_nothing(tmp_path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        insert(connection, "a")
        raise ValueError("no")

    async def walk() -> None:
        async with Database(tmp_path / "state.db") as database:
            with pytest.raises(ValueError, match="no"):
                await database.write(fail)
            assert database.read(count) == 0
            await database.write(lambda connection: insert(connection, "b"))
            assert database.read(count) == 1
            assert await database.read_long(count) == 1
        async with Database(tmp_path / "state.db") as database:
            assert database.read(count) == 1

    asyncio.run(walk())


def test_writers_from_many_tasks_are_served_one_by_one(tmp_path: Path) -> None:
    async def walk() -> None:
        async with Database(tmp_path / "state.db") as database:
            writes = [database.write(lambda connection, n=n: insert(connection, str(n))) for n in range(200)]  # type: ignore[misc]
            await asyncio.gather(*writes)
            assert database.read(count) == 200

    asyncio.run(walk())


def test_short_writes_take_their_place_behind_those_that_wait(tmp_path: Path) -> None:
    order: list[str] = []

    def note(connection: sqlite3.Connection, name: str) -> None:
        insert(connection, name)
        order.append(f"{name} {'loop' if threading.current_thread() is threading.main_thread() else 'thread'}")

    async def walk() -> None:
        async with Database(tmp_path / "state.db") as database:
            await database.write_short(lambda connection: note(connection, "a"))
            await asyncio.gather(
                database.write(lambda connection: note(connection, "b")),
                database.write_short(lambda connection: note(connection, "c")),
            )
            await database.write_short(lambda connection: note(connection, "d"))
            assert order == ["a loop", "b thread", "c thread", "d loop"]
            assert database.read(count) == 4

    asyncio.run(walk())


def test_a_short_write_that_fails_leaves_nothing_and_lets_others_go_on(tmp_path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        insert(connection, "a")
        raise ValueError("no")

    async def walk() -> None:
        async with Database(tmp_path / "state.db") as database:
            with pytest.raises(ValueError, match="no"):
                await database.write_short(fail)
            await asyncio.wait_for(database.write_short(lambda connection: insert(connection, "b")), 10)
            assert database.read(count) == 1

    asyncio.run(walk())


def test_the_log_is_written_back_beside_the_writers(tmp_path: Path) -> None:
    wal = tmp_path / "state.db-wal"

    def much(connection: sqlite3.Connection, n: int) -> None:
        connection.execute(
            "INSERT INTO volumes (name, driver, created_at, anonymous, labels, options) "
            "VALUES (?, 'local', '', 0, zeroblob(100000), x'')",
            (str(n),),
        )

    async def walk() -> None:
        async with Database(tmp_path / "state.db") as database:
            for turn in range(3):
                for n in range(50):  # 5 MB
                    await database.write_short(lambda connection, n=50 * turn + n: much(connection, n))  # type: ignore[misc]
                # The writer's thread has it from the writing back only when that is done.
                await database.write(lambda connection: None)
                assert wal.stat().st_size < 1_500_000
            assert database.read(count) == 150
        async with Database(tmp_path / "state.db") as database:
            assert database.read(count) == 150

    asyncio.run(walk())


def test_reading_can_not_write(tmp_path: Path) -> None:
    async def walk() -> None:
        async with Database(tmp_path / "state.db") as database:
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                database.read(lambda connection: insert(connection, "a"))

    asyncio.run(walk())


@pytest.mark.parametrize("left", [None, b""])
def test_a_state_that_was_lost_is_not_begun_anew(tmp_path: Path, left: bytes | None) -> None:
    layers = tmp_path / "layers"

    async def walk() -> None:
        async with Database(tmp_path / "state.db", owned=[tmp_path / "containers", layers]):
            pass

    layers.mkdir()
    asyncio.run(walk())
    (layers / "one").mkdir()
    asyncio.run(walk())
    (tmp_path / "state.db").unlink()
    if left is not None:
        (tmp_path / "state.db").write_bytes(left)
    for _ in range(2):
        with pytest.raises(System) as refused:
            asyncio.run(walk())
        assert str(refused.value) == (
            f"{tmp_path}/state.db is missing or empty, but {layers} is not: put the database back, or move that "
            "directory away to begin anew"
        )
    (layers / "one").rmdir()
    asyncio.run(walk())


def test_a_newer_schema_is_refused_untouched(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

    async def walk() -> None:
        async with Database(tmp_path / "state.db"):
            raise AssertionError("a newer schema was opened")

    with pytest.raises(System, match="written by a newer Onggi"):
        asyncio.run(walk())
