"""`onggi registry backup` and `restore`: a directory with the database and the objects that it names.

    DIRECTORY/registry.db       a snapshot, whole
    DIRECTORY/blobs/            the objects that it names; one never changes, so a later backup copies only new ones

A backup is made while the registry serves. The snapshot comes first; while the lock is held the collector deletes no
bytes, so all that it names is still there to be copied.
"""

import argparse
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from onggi.content.object_directory import ObjectDirectory
from onggi.errors import Conflict, InvalidParameter, System, Unsupported
from onggi.registry import fsck, options, stores
from onggi.registry.database import Connection


@contextmanager
def _no_deletions(root: Path) -> Iterator[None]:
    """Two backups may run side by side."""
    with (root / "backup.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _open(path: Path) -> "closing[sqlite3.Connection]":
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    return closing(connection)


def _copy_objects(connection: Connection, source: ObjectDirectory, target: ObjectDirectory) -> int:
    """Copy the objects that the database names and `target` lacks; gives their number."""
    copied = 0
    for row in connection.execute("SELECT key FROM blobs").fetchall():
        to = target.object_path(row["key"])
        if to.exists():
            continue
        to.parent.mkdir(mode=0o700, exist_ok=True)
        part = to.with_name(f"{to.name}.part")
        with source.open(row["key"]) as reading, part.open("wb") as writing:
            shutil.copyfileobj(reading, writing, 1024 * 1024)
            os.fchmod(writing.fileno(), 0o400)
            os.fsync(writing.fileno())
        part.rename(to)
        copied += 1
    return copied


def backup(root: Path, directory: Path) -> tuple[int, int]:
    """Bring `directory` up to date; gives the numbers of objects that were copied, and deleted as no longer named."""
    stores.refuse_missing(root)
    objects = ObjectDirectory(root / "blobs")
    target = ObjectDirectory(directory / "blobs")
    os.chmod(directory, 0o700)
    with _no_deletions(root):
        new = directory / "registry.db.new"
        new.unlink(missing_ok=True)
        with _open(root / "registry.db") as live, _open(new) as snapshot:
            live.backup(snapshot)
            # Uploads and garbage are no part of a backup: their bytes are not copied.
            snapshot.execute("DELETE FROM uploads")
            snapshot.execute("DELETE FROM garbage")
            snapshot.commit()
            copied = _copy_objects(snapshot, objects, target)
            named = {row["key"] for row in snapshot.execute("SELECT key FROM blobs")}
        new.rename(directory / "registry.db")
    gone = [key for key in target.walk() if key not in named]
    for key in gone:
        target.delete(key)
    return copied, len(gone)


def restore(directory: Path, root: Path) -> int:
    """Make a registry in `root`, which is empty or not there, out of a backup; gives the number of its objects.

    Raises Conflict, InvalidParameter, and System where the backup is damaged: then `root` is left without a database.
    """
    if root.exists() and any(root.iterdir()):
        raise Conflict(f"{root} is not empty: a backup is restored into a new directory only")
    if not (directory / "registry.db").exists():
        raise InvalidParameter(f"there is no backup in {directory}")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chmod(root, 0o700)  # it may have been there, and what comes is made by this command's umask
    source, target = ObjectDirectory(directory / "blobs"), ObjectDirectory(root / "blobs")
    with _open(directory / "registry.db") as snapshot:
        count = _copy_objects(snapshot, source, target)
        faults = [*fsck.check_database(snapshot), *fsck.check_blobs(snapshot, target, fast=False)]
        if faults:
            raise System(
                f"the backup is damaged: {faults[0]}" + (f", and {len(faults) - 1} more" if faults[1:] else "")
            )
        with _open(root / "registry.db") as restored:
            snapshot.backup(restored)
    return count


def _refuse_postgres() -> None:
    if os.environ.get(stores.VARIABLE):
        raise Unsupported("a registry on PostgreSQL is backed up by pg_dump and a copy of its blobs, in this order")


def run_backup(given: argparse.Namespace) -> int:
    _refuse_postgres()
    copied, gone = backup(given.root, given.directory)
    print(f"{given.directory}: {copied} objects copied, {gone} deleted that are no longer named")
    return 0


def run_restore(given: argparse.Namespace) -> int:
    _refuse_postgres()
    print(f"{given.root}: {restore(given.directory, given.root)} objects restored and verified")
    return 0


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    for name, run, text in (
        ("backup", run_backup, "copy everything to a directory, also while it serves; again copies only what is new"),
        ("restore", run_restore, "make a registry in an empty --root out of a backup, verified"),
    ):
        parser = commands.add_parser(name, help=text)
        parser.add_argument("directory", type=Path)
        options.add_root(parser)
        parser.set_defaults(run=run)
