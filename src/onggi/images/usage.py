"""What images take of the disk: whole blocks of their unpacked layers and of their blobs, each counted once.

A layer never changes, so it is measured once, when somebody first asks, and the number kept in `layers.disk_bytes`.
"""

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onggi.content.store import Store
from onggi.linux import tree
from onggi.linux.fd import Fd
from onggi.oci.digest import Digest
from onggi.state.database import Database

_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class ImageUsage:
    """One image. `shared_bytes` are those that another image has, too: the rest goes with the image."""

    bytes: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """All images. `total_bytes` also has what pulls that broke off have left, to be taken up again."""

    total_bytes: int
    images: Mapping[str, ImageUsage]


async def measure(data_root: Path, database: Database, blobs: Store) -> Usage:
    """Instant but for layers that nobody has measured yet."""
    missing = database.read(_unmeasured)
    if missing:
        found = await asyncio.to_thread(_measured, data_root, missing)
        await database.write(
            lambda connection: connection.executemany("UPDATE layers SET disk_bytes = ? WHERE key = ?", found)
        )
    content = await asyncio.to_thread(blobs.disk_bytes)
    return database.read(lambda connection: _sum(connection, content))


def _unmeasured(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    rows = connection.execute("SELECT key, directory FROM layers WHERE disk_bytes IS NULL")
    return [(row["key"], row["directory"]) for row in rows]


def _measured(data_root: Path, layers: list[tuple[str, str]]) -> list[tuple[int, str]]:
    found = []
    for key, directory in layers:
        try:
            root = Fd(os.open(data_root / directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except FileNotFoundError:
            continue  # removed since
        with root:
            own = os.fstat(root.fileno()).st_blocks * _BLOCK_BYTES
            found.append((own + tree.size(root), key))
    return found


def _sum(connection: sqlite3.Connection, content: Mapping[Digest | None, int]) -> Usage:
    layers = {row["key"]: row["disk_bytes"] or 0 for row in connection.execute("SELECT key, disk_bytes FROM layers")}
    parts: dict[str, dict[tuple[str, str], int]] = {
        row["id"]: {} for row in connection.execute("SELECT id FROM images")
    }
    for row in connection.execute("SELECT user_id, layer_key FROM layer_uses"):
        if row["user_id"] in parts:  # others are containers
            parts[row["user_id"]]["layer", row["layer_key"]] = layers.get(row["layer_key"], 0)
    for row in connection.execute("SELECT image_id, digest FROM image_blobs"):
        parts[row["image_id"]]["blob", row["digest"]] = content.get(Digest(row["digest"]), 0)
    users = Counter(part for own in parts.values() for part in own)
    images = {
        image_id: ImageUsage(sum(own.values()), sum(size for part, size in own.items() if users[part] > 1))
        for image_id, own in parts.items()
    }
    return Usage(sum(layers.values()) + sum(content.values()), images)
