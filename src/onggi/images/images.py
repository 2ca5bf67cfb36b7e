"""The images on this host: look up, name, remove, inspect; and the ways in and out but for the registry's."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from onggi.content.store import Store
from onggi.images.image import Image
from onggi.images.lease import Lease
from onggi.images.unpack import Unpacking
from onggi.linux.fd import Fd
from onggi.oci.digest import Digest
from onggi.oci.image import ImageConfig
from onggi.oci.reference import Reference
from onggi.state.database import Database

Progress = Callable[[dict[str, Any]], None]
"""Takes one line of Docker's progress stream, such as {"stream": "Loaded image: x\\n"}."""


class Publish(Protocol):
    """`Events.publish`: type "image", action "tag", actor, attributes."""

    def __call__(self, kind: str, action: str, actor: str, attributes: Mapping[str, str], /) -> object: ...


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """A container that was made from an image."""

    id: str
    running: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """One line of the answer to `docker rmi`."""

    untagged: str = ""
    deleted: str = ""


class Images:
    """Enter it to open; `containers_of` tells which containers an image has (it must not await)."""

    def __init__(
        self,
        data_root: Path,
        database: Database,
        blobs: Store,
        publish: Publish,
        containers_of: Callable[[Digest], Sequence[ContainerUse]],
    ) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    # Looking up

    def get(self, name_or_id: str) -> Image:
        """By name, ID, `name@digest` or the start of an ID. Raises NoSuchImage, InvalidReference, Conflict."""
        raise NotImplementedError

    def all(self) -> Sequence[Image]:
        """Every image, newest first."""
        raise NotImplementedError

    # Names

    async def tag(self, name_or_id: str, reference: Reference) -> None:
        raise NotImplementedError

    async def remove(self, name_or_id: str, *, force: bool = False, prune: bool = True) -> Sequence[Removed]:
        raise NotImplementedError

    async def prune(self, filters: Mapping[str, Sequence[str]]) -> tuple[Sequence[Removed], int]:
        """Remove unused images; gives what was removed and the bytes that were freed."""
        raise NotImplementedError

    # Ways in: pull (used by images.transfer)

    def lease(self) -> AbstractAsyncContextManager[Lease]:
        raise NotImplementedError

    def has_layer(self, diff_id: Digest) -> bool:
        """The layer is extracted here."""
        raise NotImplementedError

    def unpack(self, diff_id: Digest | None, blob: Fd) -> Unpacking:
        """Extract a layer from the file `blob` (open for reading, borrowed until the Unpacking is left)."""
        raise NotImplementedError

    async def commit_pulled(
        self, reference: Reference, digest: Digest, manifest_bytes: bytes, media_type: str, config_bytes: bytes
    ) -> Image:
        """Register an image whose blobs are in the content store and whose layers are all unpacked.

        `reference` gets the name (when it has a tag) and the digest; `digest` is what the registry calls it: of the
        index where there is one. `manifest_bytes` of the image's own manifest. Raises Integrity when a layer lacks.
        """
        raise NotImplementedError

    # Ways in and out: archives, containers

    async def load(self, stream: AsyncIterator[bytes], progress: Progress, *, quiet: bool = False) -> None:
        raise NotImplementedError

    async def import_(
        self, stream: AsyncIterator[bytes], reference: Reference | None, message: str, changes: Sequence[str],
        platform: str = "",
    ) -> Image:  # fmt: skip
        """Make an image of one layer from the tar of a file system; `changes` are Dockerfile instructions."""
        raise NotImplementedError

    def save(self, names: Sequence[str]) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def commit(
        self, container_id: str, parent: Image | None, config: ImageConfig, reference: Reference | None
    ) -> Image:
        """Make an image of a container's changes above its own image."""
        raise NotImplementedError
