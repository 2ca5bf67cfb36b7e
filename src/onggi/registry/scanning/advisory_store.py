"""Advisories that were imported, by source. Owns `advisory_sources`, `advisories` and `ratings`.

A source is replaced as a whole: its new rows come in pieces under a new generation, then one transaction makes that the
one that counts. An import that dies on the way changes nothing, and its rows go with the next one.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from onggi.errors import NotFound
from onggi.registry import clock
from onggi.registry.database import Connection, Database
from onggi.scan.advisories import Advisory, Rating

PIECE = 2000
_advisory = msgspec.json.Decoder(Advisory)
_rating = msgspec.json.Decoder(Rating)
_encode = msgspec.json.Encoder().encode


class SourceUnknown(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"no advisories were imported under the name {name[:100]!a}")


def lookup(connection: Connection, ecosystem: str, package: str) -> list[Advisory]:
    rows = connection.execute(
        "SELECT a.content FROM advisories a JOIN advisory_sources s ON s.name = a.source AND s.generation = a.generation"
        " WHERE a.ecosystem = ? AND a.package = ?",
        (ecosystem, package),
    ).fetchall()
    return [_advisory.decode(row["content"]) for row in rows]


def rating(connection: Connection, problem: str) -> Rating | None:
    """How bad a problem is, by the sources that say it apart from what it is in."""
    row = connection.execute(
        "SELECT r.content FROM ratings r JOIN advisory_sources s ON s.name = r.source AND s.generation = r.generation"
        " WHERE r.id = ? ORDER BY r.source LIMIT 1",
        (problem,),
    ).fetchone()
    return _rating.decode(row["content"]) if row is not None else None


def sources(connection: Connection) -> list[Any]:
    return connection.execute("SELECT * FROM advisory_sources WHERE generation > 0 ORDER BY name").fetchall()


def _begin(connection: Connection, name: str, form: str, location: str) -> int:
    row = connection.execute("SELECT generation FROM advisory_sources WHERE name = ?", (name,)).fetchone()
    current = row["generation"] if row is not None else 0
    if row is None:
        connection.execute(
            "INSERT INTO advisory_sources (name, form, location, generation, imported_at, advisories)"
            " VALUES (?, ?, ?, 0, '', 0)",
            (name, form, location),
        )
    for table in ("advisories", "ratings"):
        connection.execute(f"DELETE FROM {table} WHERE source = ? AND generation != ?", (name, current))  # noqa: S608
    return int(current) + 1


def _add(connection: Connection, name: str, generation: int, piece: list[Advisory | Rating]) -> None:
    for each in piece:
        if isinstance(each, Advisory):
            connection.execute(
                "INSERT INTO advisories (source, generation, ecosystem, package, content) VALUES (?, ?, ?, ?, ?)",
                (name, generation, each.ecosystem, each.package, _encode(each)),
            )
        else:
            connection.execute(
                "INSERT INTO ratings (source, generation, id, content) VALUES (?, ?, ?, ?)",
                (name, generation, each.id, _encode(each)),
            )


def _finish(connection: Connection, name: str, form: str, location: str, generation: int, count: int) -> None:
    connection.execute(
        "UPDATE advisory_sources SET form = ?, location = ?, generation = ?, imported_at = ?, advisories = ? WHERE name = ?",
        (form, location, generation, clock.stamp(), count, name),
    )
    for table in ("advisories", "ratings"):
        connection.execute(f"DELETE FROM {table} WHERE source = ? AND generation != ?", (name, generation))  # noqa: S608


async def replace(database: Database, name: str, form: str, location: str, entries: Iterable[Advisory | Rating]) -> int:
    """Make `entries` all that the source `name` says; gives their number. What `entries` raises changes nothing."""
    generation = await database.write(lambda connection: _begin(connection, name, form, location))
    count = 0
    piece: list[Advisory | Rating] = []
    for entry in entries:
        piece.append(entry)
        count += 1
        if len(piece) == PIECE:
            await database.write(lambda connection, piece=piece: _add(connection, name, generation, piece))  # type: ignore[misc]
            piece = []
    await database.write(lambda connection: _add(connection, name, generation, piece))
    await database.write(lambda connection: _finish(connection, name, form, location, generation, count))
    return count


def remove(connection: Connection, name: str) -> None:
    """Raises SourceUnknown."""
    for table in ("advisories", "ratings"):
        connection.execute(f"DELETE FROM {table} WHERE source = ?", (name,))  # noqa: S608
    if not connection.execute("DELETE FROM advisory_sources WHERE name = ?", (name,)).rowcount:
        raise SourceUnknown(name)
