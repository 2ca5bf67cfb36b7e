"""Pulls that could not be counted are counted later."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from onggi.registry import projects, repositories
from onggi.registry.database import Connection, SqliteDatabase
from onggi.registry.pulls import Pulls


def test_a_database_that_fails_for_a_while_loses_no_count(tmp_path: Path) -> None:
    def make(connection: Connection) -> None:
        projects.create(connection, "team", public=False)
        repositories.find_or_make(connection, "team/app")

    def rename(connection: Connection, old: str, new: str) -> None:
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")

    async def walk() -> None:
        async with SqliteDatabase(tmp_path / "registry.db") as database, asyncio.timeout(60):
            await database.write(make)
            pulls = Pulls(database)
            pulls.note("team/app", "sha256:" + "a" * 64)
            await database.write(lambda connection: rename(connection, "repositories", "away"))
            with pytest.raises(sqlite3.Error):
                await pulls.write()
            await database.write(lambda connection: rename(connection, "away", "repositories"))
            pulls.note("team/app", "sha256:" + "a" * 64)
            await pulls.write()
            await pulls.write()
            row = await database.read(lambda connection: repositories.find(connection, "team/app"))
            assert row["pulls"] == 2

    asyncio.run(walk())
