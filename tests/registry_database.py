"""The registry's schema in memory, for tests of what owns a table: each `write` is one transaction, at once."""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from onggi.registry.database import Connection, migrate

T = TypeVar("T")


class Memory:
    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA foreign_keys = ON")
        migrate(self._connection)

    def write(self, work: Callable[[Connection], T]) -> T:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._connection)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return result
