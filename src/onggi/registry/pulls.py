"""How often repositories are pulled from, and when which manifest last was: counted in memory, written now and then.

A pull must not wait for the disk. kill -9 loses the counts of the last moments, no more.
"""

import asyncio
import logging
from collections import Counter
from types import TracebackType
from typing import Self

from onggi.registry.clock import stamp
from onggi.registry.database import Connection, Database

log = logging.getLogger("onggi.registry.pulls")
EVERY_S = 10.0
MOST_WAITING = 10_000
"""Manifests between two writings; more are not counted."""


class Pulls:
    """Enter it to start writing; leave it to write the rest."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: Counter[tuple[str, str]] = Counter()
        self._task: asyncio.Task[None] | None = None

    def note(self, repository: str, digest: str) -> None:
        """A manifest was given out by GET."""
        if len(self._waiting) < MOST_WAITING or (repository, digest) in self._waiting:
            self._waiting[repository, digest] += 1

    async def write(self) -> None:
        waiting, self._waiting = self._waiting, Counter()
        if waiting:
            try:
                await self._database.write(lambda connection: _add(connection, waiting))
            except Exception:
                self._waiting.update(waiting)  # the next time, then
                raise

    async def _serve(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.write()
            except Exception:  # the edge: a full disk, say, must not end the counting for good
                log.exception("pulls could not be counted")

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._serve(), name="pulls")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.write()


def _add(connection: Connection, waiting: Counter[tuple[str, str]]) -> None:
    now = stamp()
    for (repository, digest), count in waiting.items():
        connection.execute("UPDATE repositories SET pulls = pulls + ? WHERE name = ?", (count, repository))
        connection.execute(
            "UPDATE manifests SET pulled_at = ? WHERE digest = ?"
            " AND repository_id = (SELECT id FROM repositories WHERE name = ?)",
            (now, digest, repository),
        )
