"""Leases: what a running pull, load, import or commit keeps from being collected before an image holds it.

They live in the table `leases`, so that the transaction which collects sees them; none outlives its engine.
"""

import secrets
import sqlite3
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from onggi.images import layers
from onggi.oci.digest import Digest
from onggi.state.database import Database


class Collector(Protocol):
    """Deletes what no image needs."""

    async def collect_layers(self, keys: list[str]) -> None: ...
    async def wait_for_blob(self, digest: Digest) -> bool: ...


class Lease:
    """Held from `async with images.lease() as lease` to its end."""

    def __init__(self, database: Database, collector: Collector) -> None:
        self._database = database
        self._collector = collector
        self._id = secrets.token_hex(16)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        keys = await self._database.write(self._end)
        await self._collector.collect_layers(keys)

    def _end(self, connection: sqlite3.Connection) -> list[str]:
        rows = connection.execute("SELECT resource FROM leases WHERE id = ?", (self._id,)).fetchall()
        connection.execute("DELETE FROM leases WHERE id = ?", (self._id,))
        return [row["resource"][len("layer:") :] for row in rows if row["resource"].startswith("layer:")]

    def _hold(self, connection: sqlite3.Connection, resource: str) -> None:
        connection.execute(
            "INSERT OR IGNORE INTO leases (id, resource, created_at) VALUES (?, ?, ?)",
            (self._id, resource, datetime.now(UTC).isoformat()),
        )

    def record_layer(self, connection: sqlite3.Connection, diff_id: Digest) -> None:
        """As `hold_layer`, in a transaction of the caller's: the one that makes the layer."""
        self._hold(connection, f"layer:{diff_id}")

    async def hold_layer(self, diff_id: Digest) -> bool:
        """Keep the extracted layer, now or once it is there; True when it is there already."""

        def hold(connection: sqlite3.Connection) -> bool:
            self.record_layer(connection, diff_id)
            return layers.find(connection, diff_id) is not None

        return await self._database.write(hold)

    async def hold_blob(self, digest: Digest) -> bool:
        """Keep the blob, now or once it is there; True when it is there already. A removal that runs is waited for."""
        await self._database.write(lambda connection: self._hold(connection, f"blob:{digest}"))
        return await self._collector.wait_for_blob(digest)


def end_all(connection: sqlite3.Connection) -> None:
    """At the start of an engine: whoever held a lease is dead."""
    connection.execute("DELETE FROM leases")
