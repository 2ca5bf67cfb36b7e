"""Garbage: what nobody names any more is deleted while pushes go on.

Each step is one short transaction, so between any two of them pushes, mounts and deletions may happen:

    1  uploads that nobody went on with               → their keys are garbage
    2  manifests deleted before the window began      → gone, with what they named
    3  links that no manifest of the repository names, and that no client has relied on lately → gone
    4  blobs that no repository links                 → gone; their keys are garbage
    5  keys that have been garbage for a while        → the bytes are deleted, then the row

Nothing referenced is lost: 3 looks for references in the transaction that unlinks, and a manifest is stored in one that
looks for the links (`manifests.store`); 4 likewise against `blobs.adopt` and `mount`. A key is never used again, so 5
needs no lock: whatever a push stores now, it has another key.
"""

import asyncio
import fcntl
import logging
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from onggi.content.objects import Objects
from onggi.registry import blobs, clock, jobs
from onggi.registry.database import Connection, Database
from onggi.registry.jobs import Handler, Job
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.settings import Settings

log = logging.getLogger("onggi.registry.garbage")
KIND = "collect"
STEP = 500
"""Rows of one transaction: writers wait for no more than that."""
READERS_AGE = timedelta(minutes=5)
"""How long the bytes of a blob outlive its row, for who has just been told where they are."""
EVENTS_AGE = timedelta(days=90)


@dataclass(slots=True)
class Collected:
    """What one run did."""

    uploads: int = 0
    manifests: int = 0
    links: int = 0
    blobs: int = 0
    objects: int = 0


def expire_uploads(connection: Connection, age: timedelta) -> int:
    rows = connection.execute("SELECT id FROM uploads WHERE updated_at < ? LIMIT ?", (clock.ago(age), STEP)).fetchall()
    for row in rows:
        blobs.give_up(connection, row["id"])
    return len(rows)


def purge_manifests(connection: Connection, age: timedelta) -> int:
    return connection.execute(
        "DELETE FROM manifests WHERE (repository_id, digest) IN (SELECT repository_id, digest FROM manifests"
        " WHERE deleted_at != '' AND deleted_at < ? LIMIT ?)",
        (clock.ago(age), STEP),
    ).rowcount


def unlink(connection: Connection, age: timedelta) -> int:
    return connection.execute(
        "DELETE FROM repository_blobs WHERE (repository_id, digest) IN (SELECT l.repository_id, l.digest"
        " FROM repository_blobs l WHERE l.linked_at < ? AND NOT EXISTS (SELECT 1 FROM manifest_references f"
        " WHERE f.repository_id = l.repository_id AND f.digest = l.digest) LIMIT ?)",
        (clock.ago(age), STEP),
    ).rowcount


def forget_blobs(connection: Connection) -> int:
    rows = connection.execute(
        "DELETE FROM blobs WHERE digest IN (SELECT b.digest FROM blobs b WHERE NOT EXISTS"
        " (SELECT 1 FROM repository_blobs l WHERE l.digest = b.digest) LIMIT ?) RETURNING key",
        (STEP,),
    ).fetchall()
    for row in rows:
        blobs.discard(connection, row["key"])
    return len(rows)


def old_garbage(connection: Connection, age: timedelta) -> list[str]:
    rows = connection.execute("SELECT key FROM garbage WHERE since < ? LIMIT ?", (clock.ago(age), STEP)).fetchall()
    return [row["key"] for row in rows]


def forget_keys(connection: Connection, keys: list[str]) -> None:
    for key in keys:
        connection.execute("DELETE FROM garbage WHERE key = ?", (key,))


async def collect(
    database: Database, objects: Objects, settings: Settings, readers_age: timedelta = READERS_AGE
) -> Collected:
    """All steps, each until there is nothing left to do. While a backup runs, bytes wait for the next time."""
    done = Collected()
    while count := await database.write(lambda connection: expire_uploads(connection, settings.upload_age)):
        done.uploads += count
    while count := await database.write(lambda connection: purge_manifests(connection, settings.keep_deleted)):
        done.manifests += count
    while count := await database.write(lambda connection: unlink(connection, settings.unreferenced_age)):
        done.links += count
    while count := await database.write(forget_blobs):
        done.blobs += count
    while keys := await database.read(lambda connection: old_garbage(connection, readers_age)):
        if not await asyncio.get_running_loop().run_in_executor(None, _delete, objects, settings.root, keys):
            log.info("a backup runs: %d or more objects are deleted later", len(keys))
            break
        await database.write(lambda connection, keys=keys: forget_keys(connection, keys))  # type: ignore[misc]
        done.objects += len(keys)
    if done != Collected():
        log.info("collected: %s", done)
    return done


def _delete(objects: Objects, root: Path, keys: list[str]) -> bool:
    """False while a backup runs: it copies what was there when it began."""
    with (root / "backup.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        for key in keys:
            objects.delete(key)
    return True


def install(service: Service) -> list[Route]:
    """Collect every `collect_every`, as a job: one node does it."""

    async def run(_: Job) -> None:
        await collect(service.database, service.objects, service.settings)

        def afterwards(connection: Connection) -> None:
            jobs.forget_finished(connection)
            connection.execute("DELETE FROM events WHERE at < ?", (clock.ago(EVENTS_AGE),))
            jobs.enqueue(connection, KIND, {}, subject="all", delay=service.settings.collect_every)

        await service.write(afterwards)

    service.job_handlers[KIND] = Handler(run, attempts=1_000_000, lease=timedelta(hours=6))
    service.at_start.append(lambda connection: jobs.enqueue(connection, KIND, {}, subject="all"))
    return []
