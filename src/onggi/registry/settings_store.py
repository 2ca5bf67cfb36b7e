"""Secrets and single values of the registry, by name."""

from collections.abc import Callable

from onggi.registry.database import Connection


def get(connection: Connection, name: str) -> bytes | None:
    row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return None if row is None else bytes(row["value"])


def put(connection: Connection, name: str, value: bytes) -> None:
    connection.execute(
        "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def get_or_make(connection: Connection, name: str, make: Callable[[], bytes]) -> bytes:
    """The value; made and kept where there was none."""
    found = get(connection, name)
    if found is None:
        found = make()
        put(connection, name, found)
    return found
