"""The volumes of one engine, and the mounts that containers make of them."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from msgspec import structs

from onggi.errors import InvalidParameter, OnggiError, System
from onggi.oci.root import OverlayRoot
from onggi.state.database import Database
from onggi.volumes import mount_spec, propagation, store
from onggi.volumes.local import LocalDriver
from onggi.volumes.mount_point import MountPoint, MountRequest
from onggi.volumes.volume import (
    ANONYMOUS_LABEL,
    CreateVolume,
    NoSuchVolume,
    Volume,
    VolumeInUse,
    check_driver,
    check_name,
    check_options,
)

log = logging.getLogger(__name__)
T = TypeVar("T")
_NO_IMAGES: Mapping[str, Sequence[str]] = {}
Publish = Callable[[str, str, str, Mapping[str, str]], None]
"""Type ("volume"), action ("create"), actor, attributes: `Events.publish`."""


class Volumes:
    """Named and anonymous volumes below `directory` (Docker's /var/lib/docker/volumes). Enter it to use it."""

    def __init__(self, directory: Path, database: Database, publish: Publish) -> None:
        self._driver = LocalDriver(directory)
        self._database = database
        self._publish = publish
        # Of its own: a device that does not answer (a dead NFS server) must not stop what else runs in threads.
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="volumes")
        self._locks: dict[str, asyncio.Lock] = {}
        self._mounted: dict[str, Sequence[MountPoint]] = {}
        """Container ID → what `mount` gave it."""
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        await self._in_thread(self._driver.open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._group.__aexit__(None, None, None)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _lock(self, name: str) -> asyncio.Lock:
        """Held while a volume is filled, mounted, unmounted or removed."""
        return self._locks.setdefault(name, asyncio.Lock())

    async def reconcile(self, running: Mapping[str, Sequence[MountPoint]]) -> None:
        """After a start of the engine: take up the mounts of the running containers, undo those of all others."""
        self._mounted = {container_id: tuple(points) for container_id, points in running.items()}
        for container_id in await self._in_thread(self._driver.containers_with_subpaths):
            if container_id not in running:
                await self._in_thread(self._driver.unmount_subpaths, container_id)
        for volume in self._database.read(store.doomed):
            try:
                await self.remove(volume.name, force=True)
            except (OnggiError, OSError) as error:  # one of them must not keep the engine from all others
                log.error("volume %s, which was to go with its container, can't be removed: %s", volume.name, error)
        for volume in self.list():
            if volume.has_device:
                await self._unmount_if_unused(volume)

    # Volumes

    def list(self) -> Sequence[Volume]:
        return self._database.read(store.every)

    def use_counts(self) -> Mapping[str, int]:
        """Volume → how many containers use it; those that none uses are missing."""
        return self._database.read(store.use_counts)

    def get(self, name: str) -> Volume:
        """Raises NoSuchVolume."""
        volume = self._database.read(lambda connection: store.get(connection, name))
        if volume is None:
            raise NoSuchVolume(name)
        return volume

    def summary(self, volume: Volume) -> dict[str, object]:
        """As GET /volumes/{name} answers."""
        return volume.summary(str(self._driver.mountpoint(volume.name)))

    async def size_bytes(self, name: str) -> int:
        """On disk; of a volume whose device is not mounted, of nothing."""
        return await self._in_thread(self._driver.size_bytes, name)

    async def create(self, request: CreateVolume) -> Volume:
        """Make a volume, or answer with the one of that name. Raises InvalidParameter, NotFound for other drivers."""
        name = request.name or _new_name()
        if request.cluster_volume_spec is not None:
            raise InvalidParameter("cluster volumes are not supported")
        check_driver(name, request.driver)
        check_name(name)
        check_options(name, request.driver_opts or {})
        labels = request.labels
        if not request.name:
            labels = {ANONYMOUS_LABEL: "", **(labels or {})}
        volume = Volume(name=name, created_at=_now(), labels=labels, options=request.driver_opts or None)
        if await self._database.write(lambda connection: store.add(connection, volume)):
            await self._make(name)
            self._publish("volume", "create", name, {"driver": "local"})
        return self.get(name)

    async def _make(self, name: str) -> None:
        async with self._lock(name):  # one of its name may be on its way out
            await self._in_thread(self._driver.make, name)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Raises NoSuchVolume (unless `force`), VolumeInUse."""
        volume = self._database.read(lambda connection: store.get(connection, name))
        if volume is None:
            if force:
                return
            raise NoSuchVolume(name)
        async with self._lock(name):
            await self._remove(volume)
        self._locks.pop(name, None)

    async def _remove(self, volume: Volume) -> None:
        def strike(connection: sqlite3.Connection) -> None:
            users = store.users(connection, volume.name)
            if users:
                raise VolumeInUse(volume.name, users)
            store.doom_one(connection, volume.name)

        if volume.has_device:
            await self._in_thread(self._driver.make, volume.name)
            await self._in_thread(self._driver.unmount, volume.name)
        await self._database.write(strike)
        aside = await self._in_thread(self._driver.set_aside, volume.name)
        # Last: an engine that is killed before finds it doomed, and no later volume of its name has its files.
        await self._database.write(lambda connection: store.remove_doomed(connection, volume.name))
        self._publish("volume", "destroy", volume.name, {"driver": "local"})
        if aside:
            self._group.create_task(self._erase(volume.name, aside), name=f"erase volume {volume.name}")

    async def _erase(self, name: str, aside: str) -> None:
        try:
            await self._in_thread(self._driver.erase, aside)
        except OSError as error:
            log.warning("volume %s is removed, but not all of it could be deleted from %s: %s", name, aside, error)

    async def prune(self, wanted: Callable[[Volume], bool]) -> tuple[Sequence[str], int]:
        """Remove the volumes that no container uses and `wanted` accepts; their names and the bytes they took."""
        used = self.use_counts()
        gone: list[str] = []
        freed_bytes = 0
        for volume in self.list():
            if volume.name in used or not wanted(volume):
                continue
            try:
                size = await self.size_bytes(volume.name)
                await self.remove(volume.name)
            except (VolumeInUse, NoSuchVolume, FileNotFoundError):
                continue  # a container was quicker, or another prune
            gone.append(volume.name)
            freed_bytes += size
        self._publish("volume", "prune", "", {"reclaimed": str(freed_bytes)})
        return gone, freed_bytes

    # Mounts of containers

    async def resolve(
        self,
        container_id: str,
        *,
        binds: Sequence[str] = (),
        mounts: Sequence[MountRequest] = (),
        tmpfs: Mapping[str, str] | None = None,
        declared: Sequence[str] = (),
        inherited: Sequence[tuple[Sequence[MountPoint], str]] = (),
        volume_driver: str = "",
    ) -> tuple[MountPoint, ...]:
        """Work out a new container's mounts, make the volumes they need and note that the container uses them.

        `declared` are the paths of Config.Volumes (image and user); `inherited` is, for each --volumes-from, the other
        container's mounts and the mode ("", "ro", "rw"). Undone by `forget`. Raises InvalidParameter, NotFound.
        """
        found: dict[str, MountPoint] = {}
        for points, mode in inherited:
            for point in points:
                if point.shown:
                    found[point.destination] = _inherit(point, mode)
        own = [mount_spec.parse_bind(text, volume_driver=volume_driver) for text in binds]
        own += [mount_spec.parse_request(request, volume_driver=volume_driver) for request in mounts]
        own += mount_spec.parse_tmpfs(tmpfs or {})
        mount_spec.refuse_duplicates(own)
        found |= {point.destination: point for point in own}
        for path in declared:
            target = mount_spec.clean_target("volume", path)
            if target not in found:
                found[target] = MountPoint(
                    type="volume", destination=target, driver=volume_driver or "local", copy_up=True, anonymous=True
                )
        await self._check_sources([point for point in own if point.type == "bind" and not point.create_source])
        return await self._settle(container_id, [found[target] for target in sorted(found)])

    async def _check_sources(self, points: Sequence[MountPoint]) -> None:
        for point in points:
            if not await self._in_thread(os.path.lexists, point.source):
                raise mount_spec.refuse("bind", f"bind source path does not exist: {point.source}")

    async def _settle(self, container_id: str, points: Sequence[MountPoint]) -> tuple[MountPoint, ...]:
        """Name the anonymous volumes, make all that are missing, note their use."""
        settled: list[MountPoint] = []
        wanted: dict[str, Volume] = {}
        for point in points:
            if point.type == "image":
                point = structs.replace(point, source=str(self._driver.part(container_id, len(settled))))
            if point.type != "volume":
                settled.append(point)
                continue
            name = point.name or _new_name()
            check_driver(name, point.driver)
            options = point.spec.volume_options if point.spec is not None else None
            driver_options = (options.driver_config.options if options and options.driver_config else None) or None
            check_options(name, driver_options or {})
            labels = options.labels if options is not None else None
            if not point.name:
                labels = {ANONYMOUS_LABEL: "", **(labels or {})}
            wanted[name] = Volume(
                name=name, created_at=_now(), labels=labels, options=driver_options, anonymous=not point.name
            )
            settled.append(structs.replace(point, name=name, source=str(self._driver.mountpoint(name))))
        if not wanted:
            return tuple(settled)

        def note(connection: sqlite3.Connection) -> Sequence[str]:
            new = [
                name
                for name, volume in wanted.items()
                if store.add(connection, volume) or store.is_doomed(connection, name)
            ]
            store.use(connection, container_id, wanted)
            return new

        made = await self._database.write(note)
        for name in made:
            await self._make(name)
            self._publish("volume", "create", name, {"driver": "local"})
        return tuple(settled)

    async def populate(self, container_id: str, points: Sequence[MountPoint], root: OverlayRoot) -> None:
        """Fill the still empty volumes among `points` from the image's directories beneath the container's root.

        After `resolve` and before the container's first start: its root must not be mounted meanwhile. Raises System.
        """
        for point in points:
            if point.type != "volume" or not point.copy_up:
                continue
            volume = self.get(point.name)
            async with self._lock(point.name):
                try:
                    if volume.has_device:
                        await self._in_thread(self._driver.mount, volume)
                    if await self._in_thread(self._driver.is_empty, point.name):
                        users = self._database.read(partial(store.users, name=point.name))
                        fill = partial(self._driver.fill, alone=users == [container_id] and not volume.has_device)
                        await self._in_thread(fill, point.name, root, point.destination)
                except OSError as error:
                    raise System(f"failed to populate volume {point.name}: {error}") from error
            await self._unmount_if_unused(volume)

    async def mount(
        self, container_id: str, points: Sequence[MountPoint], images: Mapping[str, Sequence[str]] = _NO_IMAGES
    ) -> Sequence[MountPoint]:
        """Before a start: mount volumes that have a device, make or check the sources of binds, mount subpaths and images.

        `images`: for each point that is an image, by its destination, the directories of its layers.
        Returns the points with the sources to bind. Undone by `unmount`, also when the start fails.
        Raises InvalidParameter, System.
        """
        if all(point.type == "tmpfs" for point in points):
            return points
        self._mounted[container_id] = points
        ready: list[MountPoint] = []
        for number, point in enumerate(points):
            if point.type == "bind":
                await self._in_thread(_make_source, point)
                if point.propagation not in ("", "rprivate", "private"):
                    await self._in_thread(propagation.check, point.source, point.propagation)
            elif point.type == "volume":
                point = await self._mount_volume(container_id, number, point)
            elif point.type == "image":
                lower = images[point.destination]
                source = await self._in_thread(self._driver.mount_image, container_id, number, lower, point.subpath)
                point = structs.replace(point, source=str(source))
            ready.append(point)
        for point in points:
            if point.type == "volume":
                attributes = {
                    "container": container_id,
                    "destination": point.destination,
                    "driver": point.driver,
                    "propagation": point.propagation,
                    "read/write": "true" if point.rw else "false",
                }
                self._publish("volume", "mount", point.name, attributes)
        return ready

    async def _mount_volume(self, container_id: str, number: int, point: MountPoint) -> MountPoint:
        volume = self.get(point.name)
        if volume.has_device:
            async with self._lock(volume.name):
                await self._in_thread(self._driver.mount, volume)
        if not point.subpath:
            return point
        source = await self._in_thread(self._driver.mount_subpath, container_id, number, point.name, point.subpath)
        return structs.replace(point, source=str(source))

    async def unmount(self, container_id: str) -> None:
        """After a stop: unmount subpaths, and volumes with a device that no running container uses. Idempotent."""
        points = self._mounted.pop(container_id, ())
        if any(point.subpath or point.type == "image" for point in points):
            await self._in_thread(self._driver.unmount_subpaths, container_id)
        for point in points:
            if point.type != "volume":
                continue
            try:
                await self._unmount_if_unused(self.get(point.name))
            except NoSuchVolume:
                continue
            self._publish("volume", "unmount", point.name, {"container": container_id, "driver": point.driver})

    async def _unmount_if_unused(self, volume: Volume) -> None:
        if not volume.has_device:
            return
        async with self._lock(volume.name):
            if any(point.name == volume.name for points in self._mounted.values() for point in points):
                return
            await self._in_thread(self._driver.make, volume.name)
            await self._in_thread(self._driver.unmount, volume.name)

    async def leave(self, container_id: str, points: Sequence[MountPoint]) -> None:
        """A container that does not run mounts these no more: their volumes are free of it. Idempotent."""
        names = [point.name for point in points if point.type == "volume"]
        if names:
            await self._database.write(lambda connection: store.leave(connection, container_id, names))

    def doom(self, connection: sqlite3.Connection, container_id: str) -> None:
        """Part of the transaction that says a container is being removed with its anonymous volumes."""
        store.doom(connection, container_id)

    async def forget(self, container_id: str, *, remove_anonymous: bool) -> None:
        """The container is gone: its volumes are free, its anonymous ones removed if asked. Idempotent."""
        used = self._database.read(lambda connection: store.used_by(connection, container_id))
        if not used:
            return

        def forget(connection: sqlite3.Connection) -> None:
            if remove_anonymous:
                store.doom(connection, container_id)
            store.forget(connection, container_id)

        await self._database.write(forget)
        names = {volume.name for volume in used}
        for volume in self._database.read(store.doomed):
            if volume.name in names:
                try:
                    await self.remove(volume.name, force=True)
                except VolumeInUse:
                    continue  # another container has just been given it: it stays


def _inherit(point: MountPoint, mode: str) -> MountPoint:
    """A mount as --volumes-from gives it on. Raises InvalidParameter for the mode."""
    words = set(mode.split(",")) - {""}
    if words - {"ro", "rw", "z", "Z"} or {"ro", "rw"} <= words:
        raise InvalidParameter(f"invalid mode: {mode}")
    return structs.replace(
        point, rw=point.rw and "ro" not in words, mode="", anonymous=False, copy_up=False, create_source=False
    )


def _make_source(point: MountPoint) -> None:
    """The source of a bind must be there. Raises InvalidParameter, System."""
    if os.path.lexists(point.source):
        return
    if not point.create_source:
        raise mount_spec.refuse("bind", f"bind source path does not exist: {point.source}")
    try:
        os.makedirs(point.source, 0o755, exist_ok=True)
    except OSError as error:
        raise System(
            f"error while creating mount source path '{point.source}': mkdir {error.filename}: "
            f"{(error.strerror or '').lower()}"
        ) from error


def _new_name() -> str:
    return os.urandom(32).hex()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
