"""The images of an engine without the engine: a store in a directory, and what overlayfs shows of it."""

import asyncio
import os
import secrets
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from onggi.content.directory import DirectoryStore
from onggi.images.image import Image
from onggi.images.images import Images
from onggi.images.load import load
from onggi.images.removal import ContainerUse
from onggi.linux import mount
from onggi.linux.fd import Fd
from onggi.oci.digest import Digest
from onggi.oci.root import OverlayRoot
from onggi.state.database import Database

T = TypeVar("T")


class Store:
    """An open store. `uses` says which containers have an image; `events` are what was published."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uses: dict[Digest, list[ContainerUse]] = {}
        self.events: list[tuple[str, str]] = []
        self.images: Images
        self.database: Database

    def publish(self, kind: str, action: str, actor: str, attributes: object) -> None:
        self.events.append((action, actor))

    async def load(self, archive: Path | bytes) -> list[dict[str, Any]]:
        """What `docker load` says."""
        said: list[dict[str, Any]] = []
        data = archive if isinstance(archive, bytes) else archive.read_bytes()
        await load(self.images, stream(data), said.append, quiet=True)
        return said

    def layers(self) -> set[str]:
        """Names of all directories of layers on disk."""
        return set(os.listdir(self.root / "layers"))

    def blobs(self) -> set[Digest]:
        return {info.digest for info in self.images.blobs.walk()}

    async def settled(self) -> set[str]:
        """The same, when what was to be deleted is."""
        await self.images.quiet()
        return self.layers()


async def stream(data: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@asynccontextmanager
async def opened(root: Path) -> AsyncIterator[Store]:
    root.mkdir(exist_ok=True)
    store = Store(root)
    owned = [root / "layers", root / "snapshots", root / "content/blobs/sha256"]
    async with Database(root / "state.db", owned=owned) as database:
        store.database = database
        blobs = DirectoryStore(root / "content")
        async with Images(root, database, blobs, store.publish, lambda image: store.uses.get(image, [])) as images:
            store.images = images
            yield store


def with_store(root: Path, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` on a store in `root`, which may hold one already."""

    async def run() -> T:
        async with opened(root) as store:
            return await work(store)

    return asyncio.run(run())


@contextmanager
def shown(root: OverlayRoot) -> Iterator[Path]:
    """The file system as its container would see it; mounted nowhere."""
    with mount.overlay(root.lower, root.upper, root.work) as overlay:
        with Fd(os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=overlay.fileno())) as top:
            yield Path(f"/proc/self/fd/{top.fileno()}")


async def tree_of(store: Store, image: Image) -> dict[str, Any]:
    """Everything in an image, as a fresh container sees it."""
    number = secrets.token_hex(32)
    root = await store.images.snapshots.prepare(number, image)
    try:
        with shown(root) as top:
            return tree(top)
    finally:
        await store.images.snapshots.remove(number)


def tree(top: Path) -> dict[str, Any]:
    """Path → mode, owner, time, content or target or device, number of names, attributes."""
    found: dict[str, Any] = {}
    todo = ["."]
    while todo:
        path = todo.pop()
        full = f"{top}/{path}"  # not a Path, which would drop the "." that goes through the link in /proc
        status = os.lstat(full)
        content: Any = status.st_rdev
        if stat.S_ISREG(status.st_mode):
            content = Path(full).read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(full)
        attributes = {}
        if not stat.S_ISLNK(status.st_mode):
            attributes = {name: os.getxattr(full, name) for name in os.listxattr(full)}
        found[path] = (
            stat.filemode(status.st_mode), status.st_uid, status.st_gid,
            0 if path == "." else status.st_mtime_ns, content,
            1 if stat.S_ISDIR(status.st_mode) else status.st_nlink, attributes,
        )  # fmt: skip
        if stat.S_ISDIR(status.st_mode):
            todo += [name if path == "." else f"{path}/{name}" for name in os.listdir(full)]
    return found
