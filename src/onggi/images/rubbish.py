"""Directories on their way out, or not yet in: each is in the table `rubbish` from before it exists until it is a
layer or a snapshot, and again from when it is none until it is gone.

So kill -9 leaks nothing, and nothing is deleted but what was recorded as ours. Deletion goes by descriptor, and never
follows a link nor enters a mount.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from onggi.errors import OnggiError
from onggi.linux import tree
from onggi.linux.fd import Fd
from onggi.linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2
from onggi.state.database import Database

log = logging.getLogger("onggi.images")
_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV


def record(connection: sqlite3.Connection, directories: Iterable[str]) -> None:
    """In the transaction that takes `directories` (relative to the data root) out of use, or before they are made."""
    connection.executemany("INSERT OR IGNORE INTO rubbish (directory) VALUES (?)", ((path,) for path in directories))


def spare(connection: sqlite3.Connection, directory: str) -> None:
    """In the transaction that gives a new directory its use."""
    connection.execute("DELETE FROM rubbish WHERE directory = ?", (directory,))


class Rubbish:
    """Deletes in the background. Entering takes up what an earlier engine left."""

    def __init__(self, data_root: Path, database: Database) -> None:
        self._data_root = data_root
        self._database = database
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._leaving = False
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        self._root = Fd(os.open(self._data_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        await self._group.__aenter__()
        self._group.create_task(self._work(), name="rubbish")
        for row in self._database.read(lambda db: db.execute("SELECT directory FROM rubbish").fetchall()):
            self._queue.put_nowait(row["directory"])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving = True  # what is still waiting stays recorded: the next start goes on with it
        self._queue.put_nowait(None)
        await self._group.__aexit__(kind, error, trace)
        self._root.close()

    def collect(self, directories: Iterable[str]) -> None:
        """These are recorded, and nobody uses them any more: delete them soon."""
        for directory in directories:
            self._queue.put_nowait(directory)

    async def empty(self) -> None:
        """Wait until all that was collected so far is gone."""
        await self._queue.join()

    async def _work(self) -> None:
        while (directory := await self._queue.get()) is not None and not self._leaving:
            try:
                await asyncio.to_thread(remove_beneath, self._root, directory)
                await self._database.write_short(lambda db, gone=directory: spare(db, gone))  # type: ignore[misc]
            except (OSError, OnggiError) as error:
                # It stays recorded, and the next start tries again: a mount of somebody else's may be in the way, or
                # the disk is full.
                log.warning("cannot delete %s: %s", self._data_root / directory, error)
            self._queue.task_done()
        self._queue.task_done()


def remove_beneath(root: Fd, path: str) -> None:
    """Delete the directory `path` below `root` with all in it. One that is not there is well.

    Raises OSError: EXDEV or EBUSY when something is mounted in it, which is left alone.
    """
    parent, _, name = path.rpartition("/")
    try:
        with openat2(root, parent or ".", os.O_PATH | os.O_DIRECTORY, resolve=_BENEATH) as directory:
            tree.remove(directory, name)
    except FileNotFoundError:
        return
