"""Where a registry's data are: SQLite in its root, or PostgreSQL and a directory of blobs that several nodes share."""

import argparse
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from onggi.content.object_directory import ObjectDirectory, sync_directory
from onggi.errors import InvalidParameter, System, Unsupported
from onggi.registry import secret_file, settings_store
from onggi.registry.database import Connection, Database, SqliteDatabase

VARIABLE = "ONGGI_REGISTRY_DATABASE"
_IDENTITY = "blobs-identity"


def address(file: Path | None, blobs: Path | None) -> str:
    """Where PostgreSQL is: what `file` says, or else the environment; "" for SQLite.

    It is no option by itself: other users see a command line, and with it the password. Raises InvalidParameter.
    """
    if file is None:
        found = os.environ.get(VARIABLE, "").strip()
    else:
        found = secret_file.read(file, content="postgresql://USER:PASSWORD@HOST/NAME")
    if found and not found.startswith(("postgresql://", "postgres://")):
        raise InvalidParameter("the database's address is not postgresql://USER:PASSWORD@HOST/NAME")
    if blobs is not None and not found:
        raise InvalidParameter("--blobs is for nodes that share a PostgreSQL database: give --database-file too")
    return found


def database(root: Path, found: str) -> Database:
    """The metadata store at the address `found`, to be entered; "" is SQLite. Raises Unsupported without psycopg."""
    if not found:
        return SqliteDatabase(root / "registry.db", owned=(root / "blobs" / "objects",))
    if (root / "registry.db").exists():
        raise InvalidParameter(f"{root} holds a registry on SQLite: give this node another --root")
    try:
        from onggi.registry.postgres import PostgresDatabase
    except ImportError as error:
        raise Unsupported(f"PostgreSQL needs psycopg ({error}): pip install 'onggi[nodes]'") from error
    return PostgresDatabase(found)


def refuse_missing(root: Path) -> None:
    """Raises InvalidParameter where no registry on SQLite has been started."""
    if not (root / "registry.db").exists():
        raise InvalidParameter(f"there is no registry in {root}: start it once, or name another --root")


def existing_database(given: argparse.Namespace) -> Database:
    """The metadata store of a registry that has been started once, by a command's options, to be entered."""
    found = address(given.database_file, given.blobs)
    if not found:
        refuse_missing(given.root)
    return database(given.root, found)


@asynccontextmanager
async def existing(given: argparse.Namespace) -> AsyncIterator[tuple[Database, ObjectDirectory]]:
    """Both stores, open, and sure to belong together."""
    async with existing_database(given) as found:
        objects = ObjectDirectory(given.blobs or given.root / "blobs")
        if not isinstance(found, SqliteDatabase):
            await hold_together(found, objects)
        yield found, objects


async def hold_together(database: Database, objects: ObjectDirectory) -> None:
    """Raises System where the blobs are not those of the database: a node that was given another directory.

    To such a node the blobs of the others would be missing, and its own be unknown to them.
    """
    path = objects.root / "identity"
    if not path.exists():
        new = objects.root / f"identity.{secrets.token_hex(8)}"
        with new.open("xb") as file:
            file.write(secrets.token_hex(16).encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(new, path)  # whole, and once: another node may be as far
            sync_directory(objects.root)
        except FileExistsError:
            pass
        finally:
            new.unlink()
    here, empty = path.read_bytes(), objects.is_empty()

    def kept(connection: Connection) -> bytes | None:
        known = settings_store.get(connection, _IDENTITY)
        return settings_store.get_or_make(connection, _IDENTITY, lambda: here) if known or empty else None

    if await database.write(kept) != here:
        raise System(
            f"{objects.root} does not hold the blobs of this database: all nodes share one directory (--blobs), and a"
            " new database begins with an empty one"
        )
