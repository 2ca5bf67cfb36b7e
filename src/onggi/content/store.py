"""The content store's interfaces: blobs by digest, complete and verified, and ingests on their way to become blobs.

All calls block on the disk: callers on an event loop use an executor. Implementations: `directory.DirectoryStore`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from onggi.errors import Conflict, NotFound, OnggiError, Unavailable
from onggi.oci.digest import Digest


class BlobUnknown(NotFound):
    """No blob of this digest is in the store."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"content {digest} not found")
        self.digest = digest


class IngestBusy(Conflict):
    """Somebody else is writing the same ingest."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"{ref} is being written already")


class UnexpectedContent(OnggiError):
    """What was written is not what was announced: another size or digest. Nothing of it is kept."""


class StoreFull(Unavailable):
    """There is no room for more. What was written of the ingest is dropped, so that others have room."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"write {ref}: no space left on device")


@dataclass(frozen=True, slots=True)
class Info:
    """What the store knows of one blob."""

    digest: Digest
    size_bytes: int
    created_at: datetime


class Ingest(Protocol):
    """Bytes on their way into the store, one writer at a time.

    Enter it to write. Left without `commit` the bytes stay, so that another ingest of the same ref goes on from them.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def offset(self) -> int:
        """Bytes that are in the ingest: where to go on."""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append all of `data`; gives the new offset. Raises UnexpectedContent past the announced size, StoreFull."""

    def restart(self) -> None:
        """Throw away what has been written; the offset is 0 again."""

    def open(self) -> BinaryIO:
        """The ingest's file for reading, while it grows and after its commit. The caller owns it."""

    def commit(self, digest: Digest | None = None) -> Digest:
        """Verify size and digest, and make it a blob: all at once, or not at all. Gives the digest.

        Raises UnexpectedContent and StoreFull, and drops the bytes then.
        """


class Reader(Protocol):
    def open(self, digest: Digest) -> BinaryIO:
        """The blob's bytes, a file that the caller owns. Raises BlobUnknown."""

    def info(self, digest: Digest) -> Info:
        """Raises BlobUnknown."""


class Ingester(Protocol):
    def ingest(self, ref: str, expected: Digest | None = None, size_bytes: int | None = None) -> Ingest:
        """Begin, or go on with, the ingest called `ref`. Entering raises IngestBusy while another holds it."""

    def adopt(self, file: int, digest: Digest) -> None:
        """Make a file on the store's file system a blob, as it is: no byte is copied. `file` is its descriptor.

        The caller has verified it, and nobody else can write to it.
        """


class Manager(Protocol):
    def walk(self) -> Iterator[Info]:
        """Every blob, in no order."""

    def delete(self, digest: Digest) -> None:
        """Raises BlobUnknown."""

    def disk_bytes(self) -> Mapping[Digest | None, int]:
        """What each blob takes of the disk; under None what is on its way, or was left there."""

    def expire(self, age: timedelta) -> int:
        """Drop ingests that nobody has written for `age`; gives their number."""


class Store(Reader, Ingester, Manager, Protocol):
    """All of it."""
