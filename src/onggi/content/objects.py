"""Objects: bytes under a key that their owner made up, complete or not there. What the registry keeps blobs in.

A content store names bytes by digest; here a database does, and a key is used for one upload only and never again. So
deleting one key can't hit bytes that somebody else stores at the same moment, on whatever machine. All calls block:
callers on an event loop use an executor. Implementations: `object_directory.ObjectDirectory`.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from onggi.errors import Conflict, NotFound


class ObjectUnknown(NotFound):
    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key}")


class UploadBusy(Conflict):
    """Somebody else is writing the same upload in this moment."""

    def __init__(self) -> None:
        super().__init__("the upload is being written by another request")


class Upload(Protocol):
    """Bytes on their way to become an object. Entered to write, by one at a time; left, the bytes stay."""

    def __enter__(self) -> Self:
        """Raises UploadBusy, and ObjectUnknown where it was not begun or is gone."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def offset(self) -> int:
        """How many bytes there are: where to go on."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises content.store.StoreFull; the upload is dropped then."""

    def pieces(self) -> Iterator[bytes]:
        """What has been written, from the first byte on."""

    def reader(self) -> BinaryIO:
        """A file of the bytes so far, which grows as they do, also after `commit`. The caller owns it."""

    def commit(self) -> None:
        """Make it the object of its key: durable, complete, once."""


class Objects(Protocol):
    def begin(self, key: str) -> None:
        """Begin an empty upload under `key`, which passes `[0-9a-f]{32}`."""

    def upload(self, key: str) -> Upload:
        """The upload that was begun under `key`, to be entered."""

    def upload_size(self, key: str) -> int:
        """Bytes that the upload has. Raises ObjectUnknown."""

    def open(self, key: str) -> BinaryIO:
        """The object's bytes: a file that the caller owns. Raises ObjectUnknown."""

    def url(self, key: str, media_type: str) -> str | None:
        """Where a client may fetch the object itself, for a short while; None when it is given out by us."""

    def delete(self, key: str) -> None:
        """Delete the object, and the upload, of `key`. Nothing happens where there is none."""

    def exists(self, key: str) -> bool:
        """True when there is an object or an upload of this key."""

    def walk(self) -> Iterator[str]:
        """Every key that has an object or an upload, in no order: for fsck."""
