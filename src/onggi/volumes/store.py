"""The tables `volumes` and `volume_uses`."""

import sqlite3
from collections.abc import Collection, Iterable

import msgspec

from onggi.volumes.volume import Volume

_encode = msgspec.json.Encoder().encode
_texts = msgspec.json.Decoder(dict[str, str] | None)


def add(connection: sqlite3.Connection, volume: Volume) -> bool:
    """False when the name is taken."""
    cursor = connection.execute(
        "INSERT OR IGNORE INTO volumes (name, driver, created_at, anonymous, labels, options) "
        "VALUES (?, 'local', ?, ?, ?, ?)",
        (volume.name, volume.created_at, volume.anonymous, _encode(volume.labels), _encode(volume.options)),
    )
    return cursor.rowcount > 0


def doom_one(connection: sqlite3.Connection, name: str) -> None:
    """It is being removed: after a crash, too, unless somebody uses it first."""
    connection.execute("UPDATE volumes SET doomed = 1 WHERE name = ?", (name,))


def is_doomed(connection: sqlite3.Connection, name: str) -> bool:
    return connection.execute("SELECT 1 FROM volumes WHERE name = ? AND doomed", (name,)).fetchone() is not None


def remove_doomed(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM volumes WHERE name = ? AND doomed", (name,))


def get(connection: sqlite3.Connection, name: str) -> Volume | None:
    row = connection.execute("SELECT * FROM volumes WHERE name = ?", (name,)).fetchone()
    return _volume(row) if row is not None else None


def every(connection: sqlite3.Connection) -> list[Volume]:
    return [_volume(row) for row in connection.execute("SELECT * FROM volumes ORDER BY name")]


def _volume(row: sqlite3.Row) -> Volume:
    return Volume(
        name=row["name"],
        created_at=row["created_at"],
        labels=_texts.decode(row["labels"]),
        options=_texts.decode(row["options"]),
        anonymous=bool(row["anonymous"]),
    )


def use(connection: sqlite3.Connection, container_id: str, names: Collection[str]) -> None:
    """A volume that is used stays, whatever was to become of it."""
    connection.executemany(
        "INSERT OR IGNORE INTO volume_uses (container_id, volume_name) VALUES (?, ?)",
        [(container_id, name) for name in names],
    )
    connection.executemany("UPDATE volumes SET doomed = 0 WHERE name = ? AND doomed", [(name,) for name in names])


def users(connection: sqlite3.Connection, name: str) -> list[str]:
    """IDs of the containers that use a volume."""
    rows = connection.execute(
        "SELECT container_id FROM volume_uses WHERE volume_name = ? ORDER BY container_id", (name,)
    )
    return [row["container_id"] for row in rows]


def use_counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many containers use each volume that is used."""
    rows = connection.execute("SELECT volume_name, count(*) AS uses FROM volume_uses GROUP BY volume_name")
    return {row["volume_name"]: row["uses"] for row in rows}


def used_by(connection: sqlite3.Connection, container_id: str) -> list[Volume]:
    rows = connection.execute(
        "SELECT volumes.* FROM volumes JOIN volume_uses ON volume_name = name WHERE container_id = ? ORDER BY name",
        (container_id,),
    )
    return [_volume(row) for row in rows]


def doom(connection: sqlite3.Connection, container_id: str) -> None:
    """The container's anonymous volumes go with it, those that nobody else uses: after a crash, too."""
    connection.execute(
        "UPDATE volumes SET doomed = 1 WHERE anonymous AND name IN (SELECT volume_name FROM volume_uses AS ours"
        " WHERE container_id = ? AND NOT EXISTS (SELECT 1 FROM volume_uses AS other"
        " WHERE other.volume_name = ours.volume_name AND other.container_id != ours.container_id))",
        (container_id,),
    )


def doomed(connection: sqlite3.Connection) -> list[Volume]:
    """Those whose container has gone before they have."""
    return [
        _volume(row)
        for row in connection.execute(
            "SELECT * FROM volumes WHERE doomed AND NOT EXISTS (SELECT 1 FROM volume_uses WHERE volume_name = name)"
        )
    ]


def leave(connection: sqlite3.Connection, container_id: str, names: Iterable[str]) -> None:
    """The container does not use these any more."""
    connection.executemany(
        "DELETE FROM volume_uses WHERE container_id = ? AND volume_name = ?", [(container_id, name) for name in names]
    )


def forget(connection: sqlite3.Connection, container_id: str) -> None:
    connection.execute("DELETE FROM volume_uses WHERE container_id = ?", (container_id,))
