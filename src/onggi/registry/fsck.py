"""`onggi registry fsck`: does what is stored agree with what is recorded? Reads only, also while the registry serves.

database        SQLite's own check (PostgreSQL has pg_amcheck)
blobs           each has its object, with its size and (unless --fast) its digest
objects         each is named by a blob, an upload or the garbage list; --repair deletes those that are not
manifests       bytes and digest agree; what they name is linked; tags and history lead somewhere
"""

import argparse
import asyncio
import os
import sqlite3
from collections.abc import Iterator

from onggi.content.object_directory import ObjectDirectory
from onggi.content.objects import ObjectUnknown
from onggi.oci.digest import Digest
from onggi.registry import options, stores
from onggi.registry.database import Connection

_PIECE_BYTES = 1024 * 1024


def check_database(connection: Connection) -> Iterator[str]:
    for row in connection.execute("PRAGMA integrity_check").fetchall():
        if row[0] != "ok":
            yield f"database: {row[0]}"
    for row in connection.execute("PRAGMA foreign_key_check").fetchall():
        yield f"database: a row of {row[0]} names one of {row[2]} that is not there"


def _holders(connection: Connection, digest: str) -> str:
    rows = connection.execute(
        "SELECT r.name FROM repository_blobs l JOIN repositories r ON r.id = l.repository_id WHERE l.digest = ?"
        " ORDER BY r.name LIMIT 5",
        (digest,),
    ).fetchall()
    return ", ".join(row["name"] for row in rows) or "no repository"


def check_blobs(connection: Connection, objects: ObjectDirectory, *, fast: bool) -> Iterator[str]:
    last = ""
    while True:
        rows = connection.execute(
            "SELECT digest, key, size_bytes FROM blobs WHERE digest > ? ORDER BY digest LIMIT 500", (last,)
        ).fetchall()
        for row in rows:
            fault = _fault(objects, Digest(row["digest"]), row["key"], row["size_bytes"], fast=fast)
            if fault and connection.execute("SELECT 1 FROM blobs WHERE key = ?", (row["key"],)).fetchone():
                yield f"blob {row['digest']} (in {_holders(connection, row['digest'])}): {fault}"
        if not rows:
            return
        last = rows[-1]["digest"]


def _fault(objects: ObjectDirectory, digest: Digest, key: str, size_bytes: int, *, fast: bool) -> str:
    try:
        with objects.open(key) as file:
            size = os.fstat(file.fileno()).st_size
            if size != size_bytes:
                return f"the object {key} has {size} bytes, not {size_bytes}"
            if fast:
                return ""
            hasher = digest.hasher()
            while piece := file.read(_PIECE_BYTES):
                hasher.update(piece)
            return "" if hasher.hexdigest() == digest.hex else f"the bytes of the object {key} have another digest"
    except ObjectUnknown:
        return f"the object {key} is missing"


def check_objects(connection: Connection, objects: ObjectDirectory, *, repair: bool) -> Iterator[str]:
    """Rows come before bytes and go after them, so what is listed first and not named afterwards is nobody's."""
    for key in objects.walk():
        named = connection.execute(
            "SELECT 1 FROM blobs WHERE key = ? UNION ALL SELECT 1 FROM uploads WHERE key = ?"
            " UNION ALL SELECT 1 FROM garbage WHERE key = ?",
            (key, key, key),
        ).fetchone()
        if named is None and objects.exists(key):
            if repair:
                objects.delete(key)
            yield f"object {key}: nobody names it{'; deleted' if repair else ' (--repair deletes it)'}"


def check_manifests(connection: Connection) -> Iterator[str]:
    rows = connection.execute("SELECT repository_id, digest FROM manifests").fetchall()
    for row in rows:
        found = connection.execute(
            "SELECT r.name, m.content FROM manifests m JOIN repositories r ON r.id = m.repository_id"
            " WHERE m.repository_id = ? AND m.digest = ?",
            (row["repository_id"], row["digest"]),
        ).fetchone()
        if found is not None and not Digest(row["digest"]).verifies(found["content"]):
            yield f"manifest {found['name']}@{row['digest']}: its bytes have another digest"
    for row in connection.execute(
        "SELECT r.name, f.manifest, f.digest FROM manifest_references f JOIN repositories r ON r.id = f.repository_id"
        " JOIN manifests m ON m.repository_id = f.repository_id AND m.digest = f.manifest"
        " WHERE m.deleted_at = '' AND r.project_id NOT IN (SELECT project_id FROM upstreams)"  # a cache fetches them
        " AND ((f.kind = 'blob' AND NOT EXISTS (SELECT 1 FROM repository_blobs l"
        "   WHERE l.repository_id = f.repository_id AND l.digest = f.digest))"
        " OR (f.kind = 'manifest' AND NOT EXISTS (SELECT 1 FROM manifests c WHERE c.repository_id = f.repository_id"
        "   AND c.digest = f.digest AND c.deleted_at = '')))"
    ).fetchall():
        yield f"manifest {row['name']}@{row['manifest']}: names {row['digest']}, which the repository does not have"
    for row in connection.execute(
        "SELECT r.name, t.name AS tag FROM tags t JOIN repositories r ON r.id = t.repository_id JOIN manifests m"
        " ON m.repository_id = t.repository_id AND m.digest = t.digest WHERE m.deleted_at != ''"
    ).fetchall():
        yield f"tag {row['name']}:{row['tag']}: its manifest is deleted"


def findings(connection: Connection, objects: ObjectDirectory, *, fast: bool, repair: bool) -> Iterator[str]:
    # PostgreSQL watches over its rows itself, and pg_amcheck looks at its files.
    if isinstance(connection, sqlite3.Connection):
        yield from check_database(connection)
    yield from check_manifests(connection)
    yield from check_objects(connection, objects, repair=repair)
    yield from check_blobs(connection, objects, fast=fast)


def run(given: argparse.Namespace) -> int:
    async def carry_out() -> int:
        async with stores.existing(given) as (database, objects):
            return await database.scan(lambda connection: _print(connection, objects))

    def _print(connection: Connection, objects: ObjectDirectory) -> int:
        count = 0
        for text in findings(connection, objects, fast=given.fast, repair=given.repair):
            print(text)
            count += 1
        print(f"{count} finding{'' if count == 1 else 's'}" if count else "all is well")
        return 1 if count else 0

    return asyncio.run(carry_out())


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("fsck", help="check what is stored against what is recorded")
    options.add_root(parser)
    options.add_database(parser)
    parser.add_argument("--fast", action="store_true", help="look at sizes only, do not read all bytes")
    parser.add_argument("--repair", action="store_true", help="delete objects that nobody names")
    parser.set_defaults(run=run)
