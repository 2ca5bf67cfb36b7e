"""The metadata store: what the registry asks of a database, and the one place that knows which database it is.

Work is a plain function of a connection. It runs in one transaction, alone: what it read still holds when it commits
(SQLite: one writer; PostgreSQL: SERIALIZABLE). It **may run more than once** before it commits, so it changes nothing
but the database. SQL keeps to what SQLite and PostgreSQL share: `?` parameters, `ON CONFLICT`, `RETURNING`, texts,
64-bit integers and bytes; moments are `clock.stamp` texts, booleans 0 and 1. What they don't share goes through
`Dialect`.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from onggi.registry.schema import MIGRATIONS, tables
from onggi.state import database as sqlite

T = TypeVar("T")
Value = str | int | bytes | None


class Row(Protocol):
    def __getitem__(self, column: str, /) -> Any: ...
    def keys(self) -> Iterable[str]: ...


class Rows(Protocol):
    """The answer to one statement."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """One transaction."""

    def execute(self, statement: str, parameters: Sequence[Value] = (), /) -> Rows: ...


Work = Callable[[Connection], T]


class Dialect(Protocol):
    """What the databases say differently in the schema."""

    def table(self, statement: str) -> str:
        """A statement of `schema.py`, as this database takes it."""


class Database(AbstractAsyncContextManager["Database"], Protocol):
    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction of its own, durable when this returns; what it raises undoes it.

        A caller that is cancelled stops waiting; a transaction that has begun is still carried out.
        """

    async def read(self, work: Work[T]) -> T:
        """Run `work`, which only reads: look-ups by key and bounded lists."""

    async def scan(self, work: Work[T]) -> T:
        """Run `work`, which only reads, off the event loop: for what may look at much."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a SQLite file to this release's schema: the migrations of `schema.py` that it has not had, in order."""
    from onggi.errors import System

    connection.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY) STRICT")
    done = {row["name"] for row in connection.execute("SELECT name FROM migrations")}
    unknown = done - {name for name, _ in MIGRATIONS}
    if unknown:
        raise System(
            f"the registry's data were written by a newer Onggi (it knows {', '.join(sorted(unknown))}); use that version"
        )
    for name, text in MIGRATIONS:
        if name in done:
            continue
        connection.execute("BEGIN IMMEDIATE")
        for statement in tables(text):
            connection.execute(statement)
        connection.execute("INSERT INTO migrations (name) VALUES (?)", (name,))
        connection.execute("PRAGMA user_version = 1")  # not blank any more (state.schema.is_blank)
        connection.execute("COMMIT")


class SqliteDatabase:
    """`Database` in one file, for one machine. Reads look at it at once; writes queue to one thread."""

    def __init__(self, path: Path, *, owned: Iterable[Path] = ()) -> None:
        """`owned`: directories that are not taken for rubbish when the file is lost. Entering raises System then."""
        self._inner = sqlite.Database(path, migrate, durable=True, owned=owned)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def write(self, work: Work[T]) -> T:
        return await self._inner.write(work)

    async def read(self, work: Work[T]) -> T:
        return self._inner.read(work)

    async def scan(self, work: Work[T]) -> T:
        return await self._inner.read_long(work)
