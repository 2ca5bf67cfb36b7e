"""Intents: what has been begun and not yet settled. After kill -9 they say what to ask the kernel about.

intent = await journal.record("container start", id)     recorded: on disk before the kernel acts
…                                                         acted
database.write(lambda c: (settle(c, intent), …))          settled, in the transaction that writes the result
"""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime

from onggi.state.database import Database


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing begun. `kind` is two words, the noun and the verb; `subject` the noun's ID."""

    sequence: int
    kind: str
    subject: str


class Journal:
    """The open intents of one engine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, kind: str, subject: str) -> Intent:
        """Note that `kind` of `subject` begins. Settle it, whatever comes of it."""
        now = datetime.now(UTC).isoformat()

        def insert(connection: sqlite3.Connection) -> int:
            cursor = connection.execute(
                "INSERT INTO intents (kind, subject, begun_at) VALUES (?, ?, ?)", (kind, subject, now)
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

        return Intent(await self._database.write_short(insert), kind, subject)

    def open(self) -> list[Intent]:
        """What an engine that died had begun, oldest first."""

        def select(connection: sqlite3.Connection) -> list[Intent]:
            rows = connection.execute("SELECT sequence, kind, subject FROM intents ORDER BY sequence")
            return [Intent(row["sequence"], row["kind"], row["subject"]) for row in rows]

        return self._database.read(select)


def settle(connection: sqlite3.Connection, intent: Intent) -> None:
    """Call in the transaction that writes what came of it. Twice is fine."""
    connection.execute("DELETE FROM intents WHERE sequence = ?", (intent.sequence,))
