"""A layer's blob becomes a directory, in a confined worker process, while the blob is still being downloaded."""

from types import TracebackType
from typing import Self

from onggi.errors import OnggiError
from onggi.oci.digest import Digest


class Integrity(OnggiError):
    """Bytes are not what they were named, or an archive is malformed: nothing of it is kept."""


class Unpacking:
    """One layer on its way. Enter it to start the worker; left without `finish` it ends the worker and leaves nothing.

    The worker reads the blob's file by itself (gzip, zstd, xz, bzip2 or plain, told by the first bytes), up to what
    `available` said is there: so a download never waits for an extraction.
    """

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def available(self, size_bytes: int) -> None:
        """The first `size_bytes` of the file are written. Cheap; never blocks; never less than before."""
        raise NotImplementedError

    async def finish(self, size_bytes: int) -> Digest:
        """The blob is whole, and verified by its own digest: wait for the layer, and keep it. Gives the diff ID.

        Raises Integrity when the archive is malformed or its diff ID another than the expected.
        """
        raise NotImplementedError
