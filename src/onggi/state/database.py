"""SQLite with one writer.

Writers hand functions to one connection, which runs each in one `BEGIN IMMEDIATE` transaction, by turns: in a thread
(`write`), or on the event loop itself where that takes less time than the way to a thread and back (`write_short`).
Readers have connections of their own and never wait for it (WAL). A function gets the connection and returns a value;
it must not await, and must not keep the connection. After kill -9 the file holds each transaction whole or not at all.

No transaction writes the log back into the database, nor waits for the disk: the thread does that, when the log is long.
"""

import asyncio
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from onggi.errors import System, Unavailable
from onggi.state.schema import is_blank, migrate

log = logging.getLogger(__name__)
_LONG_LOG_BYTES = 4 << 20
_BUSY_MS = 10_000

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class Database:
    """One file. Enter it to open; leave it to settle what is queued and close.

    The schema is the engine's unless another `migrate` is given. `durable`: a power cut takes nothing back either.
    `owned`: directories whose content only the state explains. Where one of them is not empty, a state that is missing
    or blank has been lost: it is refused, for to a new one all that is in them would be rubbish. Raises System.
    """

    def __init__(
        self, path: Path, migrate: Callable[[sqlite3.Connection], None] = migrate, *, durable: bool = False,
        owned: Iterable[Path] = (),
    ) -> None:  # fmt: skip
        self._path = path
        self._migrate = migrate
        self._durable = durable
        self._owned = tuple(owned)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="state-writer")
        self._turn = threading.Lock()
        """Held by the transaction that is being carried out."""
        self._queued = 0
        """Transactions that wait for the thread, or are in it."""
        self._write_back: asyncio.Future[None] | None = None
        self._long_bytes = _LONG_LOG_BYTES
        self._connection: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL: kill -9 loses nothing; only a power cut may take back the last transactions, whole.
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        return connection

    async def __aenter__(self) -> Self:
        def open_file() -> sqlite3.Connection:
            connection = self._connect()
            if is_blank(connection):
                self._refuse_if_lost()
            self._migrate(connection)
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            return connection

        self._connection = await asyncio.get_running_loop().run_in_executor(self._writer, open_file)
        self._reader = self._connect()
        self._reader.execute("PRAGMA query_only = ON")
        return self

    def _refuse_if_lost(self) -> None:
        for directory in self._owned:
            if directory.is_dir() and any(directory.iterdir()):
                raise System(
                    f"{self._path} is missing or empty, but {directory} is not: put the database back, "
                    "or move that directory away to begin anew"
                )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.shutdown(wait=True)
        if self._reader is not None:
            self._reader.close()
        if self._connection is not None:
            self._connection.close()

    async def sync(self) -> None:
        """Wait until what was written so far outlasts a power cut: before anything is deleted that it was right about."""

        def sync() -> None:
            with open(f"{self._path}-wal", "rb") as written:
                os.fdatasync(written.fileno())

        await asyncio.to_thread(sync)

    def _transact(self, work: Work[T]) -> T:
        """Raises what `work` raises. The caller has the turn."""
        connection = self._connection
        assert connection is not None, "the database is not open"
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
                raise Unavailable(f"write {self._path}: no space left on device") from error
            raise
        return result

    def _transact_in_turn(self, work: Work[T]) -> T:
        with self._turn:
            return self._transact(work)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction of its own and return its value; what it raises undoes the transaction.

        A caller that is cancelled stops waiting, but a transaction that has begun is still carried out.
        """
        self._queued += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, self._transact_in_turn, work)
        finally:
            self._queued -= 1
            self._shorten_log()

    async def write_short(self, work: Work[T]) -> T:
        """As `write`, for what touches a few rows by their keys: 0.1 ms on the loop, and no other task runs meanwhile.

        While others wait for the thread it takes its place behind them; a durable one waits for the disk there.
        """
        if self._durable or self._queued or not self._turn.acquire(blocking=False):
            return await self.write(work)
        try:
            return self._transact(work)
        finally:
            self._turn.release()
            self._shorten_log()

    def _shorten_log(self) -> None:
        """Have the log written back into the database, beside all that goes on, should it have become long."""
        if self._write_back is not None and not self._write_back.done():
            return
        try:
            long = os.stat(f"{self._path}-wal").st_size > self._long_bytes
        except FileNotFoundError:
            return  # closed meanwhile
        if long:
            self._write_back = asyncio.get_running_loop().run_in_executor(self._writer, self._write_log_back)

    def _write_log_back(self) -> None:
        """Most of it beside the writers. The rest, and the first transaction of the next log, which waits for the disk
        (walRestartHdr in SQLite's wal.c), in a turn of its own."""
        try:
            with closing(self._connect()) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            with self._turn:
                assert self._connection is not None, "the database is not open"
                self._connection.execute("PRAGMA busy_timeout = 0")  # no writer waits for a long reader
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
                version = self._connection.execute("PRAGMA user_version").fetchone()[0]
                self._connection.execute(f"PRAGMA user_version = {version}")
        except sqlite3.OperationalError as error:
            # The log holds everything; a full disk is told to whoever writes next.
            log.error("the log of %s could not be written back: %s", self._path, error)
        # It stays long while a reader needs it: try again when it has grown.
        self._long_bytes = os.stat(f"{self._path}-wal").st_size + _LONG_LOG_BYTES

    def read(self, work: Work[T]) -> T:
        """Run `work` on the loop's own read connection. For look-ups by key and short lists: it blocks the loop."""
        assert self._reader is not None, "the database is not open"
        return work(self._reader)

    async def read_long(self, work: Work[T]) -> T:
        """Run `work` on a connection and thread of its own, for what may scan much."""

        def scan() -> T:
            with closing(self._connect()) as connection:
                connection.execute("PRAGMA query_only = ON")
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(None, scan)
