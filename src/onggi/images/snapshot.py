"""Snapshots: what a container's root file system is stacked of, and where it writes.

    data_root/snapshots/CONTAINER ID/upper    what the container wrote; has the root directory's attributes
                                     work     the kernel's

The row in `snapshots` comes before the directory, and goes in the transaction that records it as rubbish.
"""

import asyncio
import os
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from onggi.errors import NotFound
from onggi.images import changes, layers, names, rubbish
from onggi.images.changes import Change
from onggi.images.image import Image, NoSuchImage
from onggi.images.layers import Attributes, Layer
from onggi.images.rubbish import Rubbish
from onggi.oci.digest import Digest
from onggi.oci.root import OverlayRoot
from onggi.state.database import Database

DIRECTORY = "snapshots"
_NOTHING: Mapping[str, Image] = {}
_PLAIN = Attributes(0o755, 0, 0, 0)


class Snapshots:
    """One writable directory for each container, above the layers of its image."""

    def __init__(self, data_root: Path, database: Database, rubbish: Rubbish) -> None:
        self._data_root = data_root
        self._database = database
        self._rubbish = rubbish
        self._roots: dict[str, Attributes] = {}

    async def __aenter__(self) -> Self:
        (self._data_root / DIRECTORY).mkdir(mode=0o700, exist_ok=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    async def prepare(
        self, container_id: str, image: Image | None, mounted: Mapping[str, Image] = _NOTHING
    ) -> OverlayRoot:
        """Make the container's own directories. None: a container without image (from scratch).

        `mounted`: images that are mounted in it, by the place that `view` takes; their layers stay as long as it does.
        Undone by `remove`; a container whose row never came is found by `reconcile`. Raises NoSuchImage.
        """
        user, image_id = _user(container_id), image.id if image else ""
        directory = f"{DIRECTORY}/{container_id}"

        def record(connection: sqlite3.Connection) -> list[Layer]:
            if image is not None and not names.exists(connection, image_id):
                raise NoSuchImage(image_id)  # removed since it was looked up
            connection.execute(
                "INSERT INTO snapshots (container_id, image_id, directory) VALUES (?, ?, ?)",
                (container_id, image_id, directory),
            )
            layers.use_as(connection, user, image_id)
            for place, other in mounted.items():
                if not names.exists(connection, other.id):
                    raise NoSuchImage(other.id)
                layers.use_as(connection, f"{_mounts(container_id)}{place}", other.id)
            names.note_use(connection, image_id, datetime.now(UTC).isoformat())
            return layers.stack(connection, user)

        stack = await self._database.write_short(record)
        root = self._roots.get(image_id)
        if root is None:
            root = layers.root_attributes(self._data_root, stack) or _PLAIN
            self._roots[image_id] = root
        path = self._data_root / directory
        path.mkdir(mode=0o700)
        (path / "work").mkdir(mode=0o700)
        upper = path / "upper"
        upper.mkdir(mode=root.mode)
        os.chown(upper, root.uid, root.gid)
        os.chmod(upper, root.mode)
        for name, value in root.xattrs:
            os.setxattr(upper, name, value)
        return self._overlay(directory, stack)

    def _overlay(self, directory: str, stack: list[Layer]) -> OverlayRoot:
        path = self._data_root / directory
        lower = [str(self._data_root / layer.directory) for layer in reversed(stack)]
        if not lower:
            lower = [str(self._empty())]
        return OverlayRoot(tuple(lower), str(path / "upper"), str(path / "work"))

    def _empty(self) -> Path:
        """overlayfs wants one lower directory at least."""
        path = self._data_root / DIRECTORY / "empty"
        path.mkdir(mode=0o755, exist_ok=True)
        return path

    def root(self, container_id: str) -> OverlayRoot:
        """What `prepare` gave. Raises NotFound."""
        directory = self._directory(container_id)
        stack = self._database.read(lambda connection: layers.stack(connection, _user(container_id)))
        return self._overlay(directory, stack)

    def view(self, container_id: str, place: str) -> tuple[str, ...]:
        """The layers of an image that `prepare` was told of, topmost first."""
        user = f"{_mounts(container_id)}{place}"
        stack = self._database.read(lambda connection: layers.stack(connection, user))
        return tuple(str(self._data_root / layer.directory) for layer in reversed(stack))

    def lower(self, image: Image) -> tuple[str, ...]:
        """The image's layers alone, topmost first: for a read-only view of it."""
        stack = self._database.read(lambda connection: layers.stack(connection, image.id))
        return tuple(str(self._data_root / layer.directory) for layer in reversed(stack)) or (str(self._empty()),)

    def _directory(self, container_id: str) -> str:
        row = self._database.read(
            lambda connection: connection.execute(
                "SELECT directory FROM snapshots WHERE container_id = ?", (container_id,)
            ).fetchone()
        )
        if row is None:
            raise NotFound(f"container {container_id} has no file system")
        found: str = row["directory"]
        return found

    def standing_on(self, layer: Digest) -> Sequence[tuple[str, Digest]]:
        """The containers whose root file system has this layer, each with its image."""
        rows = self._database.read(
            lambda connection: connection.execute(
                "SELECT DISTINCT container_id, image_id FROM snapshots "
                "JOIN layer_uses ON user_id = 'container:' || container_id WHERE layer_key = ?",
                (layer,),
            ).fetchall()
        )
        return [(row["container_id"], Digest(row["image_id"])) for row in rows]

    async def remove(self, container_id: str) -> None:
        """Forget the container's directories; they are deleted in the background. Idempotent."""
        await self._remove([container_id])

    async def _remove(self, container_ids: Collection[str]) -> None:
        def forget(connection: sqlite3.Connection) -> list[str]:
            return [path for container_id in container_ids for path in self.forget(connection, container_id)]

        self.collect(await self._database.write(forget))

    @staticmethod
    def forget(connection: sqlite3.Connection, container_id: str, beside: Collection[str] = ()) -> list[str]:
        """`remove` as part of the caller's transaction. The directories `beside`, relative to the data root, go as well.

        What it returns is for `collect`, once the transaction stands.
        """
        directories = [*beside]
        row = connection.execute(
            "DELETE FROM snapshots WHERE container_id = ? RETURNING directory, image_id", (container_id,)
        ).fetchone()
        if row is not None:
            directories.append(row["directory"])
            names.note_use(connection, row["image_id"], datetime.now(UTC).isoformat())
        directories += layers.release(connection, _user(container_id))
        mounted = connection.execute(
            "SELECT DISTINCT user_id FROM layer_uses WHERE user_id GLOB ?", (f"{_mounts(container_id)}*",)
        )
        for user in mounted.fetchall():
            directories += layers.release(connection, user["user_id"])
        rubbish.record(connection, directories)
        return directories

    def collect(self, directories: Collection[str]) -> None:
        """Delete what `forget` took out of use, in the background."""
        self._rubbish.collect(directories)

    async def reconcile(self, containers: Collection[str]) -> None:
        """At the start: remove what belongs to no container, as of one whose creation was cut short."""
        rows = self._database.read(lambda db: db.execute("SELECT container_id FROM snapshots").fetchall())
        known = set(containers)
        await self._remove([row["container_id"] for row in rows if row["container_id"] not in known])

    async def written_bytes(self, container_id: str) -> int:
        """What the files that the container wrote take (`SizeRw`). Raises NotFound."""
        path = self._data_root / self._directory(container_id) / "upper"
        return await asyncio.to_thread(changes.written_bytes, str(path))

    async def changes(self, container_id: str) -> list[Change]:
        """What the container added, modified and deleted, in order of the paths. Raises NotFound, TooLarge."""
        root = self.root(container_id)
        return await asyncio.to_thread(changes.changes, root.upper, root.lower)


def _user(container_id: str) -> str:
    return f"container:{container_id}"


def _mounts(container_id: str) -> str:
    """The beginning of whom `layer_uses` names for the images that are mounted in a container."""
    return f"mount:{container_id}:"
