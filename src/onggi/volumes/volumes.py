"""The volumes of one engine, and the mounts that containers make of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from onggi.errors import Unsupported
from onggi.oci.root import OverlayRoot
from onggi.state.database import Database
from onggi.volumes.mount_point import MountPoint, MountRequest

Publish = Callable[[str, str, str, Mapping[str, str]], None]


class Volumes:
    """Named and anonymous volumes below `directory` (Docker's /var/lib/docker/volumes)."""

    def __init__(self, directory: Path, database: Database, publish: Publish) -> None:
        self._directory = directory
        self._database = database
        self._publish = publish

    async def __aenter__(self) -> Self:
        raise Unsupported("volumes are being written")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise Unsupported("volumes are being written")

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
        container's mounts and the mode ("", "ro", "rw"). Undone by `forget`.
        """
        raise Unsupported("volumes are being written")

    async def populate(self, points: Sequence[MountPoint], root: OverlayRoot) -> None:
        """Fill the still empty volumes among `points` from the image's directories beneath the container's root."""
        raise Unsupported("volumes are being written")

    async def mount(self, container_id: str, points: Sequence[MountPoint]) -> Sequence[MountPoint]:
        """Before a start: mount volumes that have a device, check that bind sources exist, resolve subpaths.

        Returns the points with the sources to bind. Undone by `unmount`.
        """
        raise Unsupported("volumes are being written")

    async def unmount(self, container_id: str) -> None:
        """After a stop: unmount volumes with a device that no running container uses. Idempotent."""
        raise Unsupported("volumes are being written")

    async def forget(self, container_id: str, *, remove_anonymous: bool) -> None:
        """The container is gone: its volumes are free, its anonymous ones removed if asked. Idempotent."""
        raise Unsupported("volumes are being written")
