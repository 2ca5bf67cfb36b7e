"""A layer's blob becomes a directory, in a confined worker process, while the blob is still being downloaded."""

import asyncio
import os
import sqlite3
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from onggi.images import layers, rubbish
from onggi.images.decompress import MOST_TIMES
from onggi.images.layers import Layer
from onggi.images.rubbish import Rubbish
from onggi.images.worker_process import Integrity, WorkerProcess
from onggi.linux.fd import Fd
from onggi.oci.digest import Digest
from onggi.state.database import Database

if TYPE_CHECKING:
    from onggi.images.lease import Lease

__all__ = ["Integrity", "Unpacking", "WrongContent"]


class WrongContent(Integrity):
    """The layer is sound, but not the one that its image means."""

    def __init__(self, expected: Digest, found: Digest) -> None:
        super().__init__(f"the layer's content is {found}, not {expected} as its image says")
        self.expected = expected
        self.found = found


class Unpacking:
    """One layer on its way. Enter it to start the worker; left without `finish` it ends the worker and leaves nothing.

    The worker reads the blob's file by itself (gzip, zstd, xz, bzip2 or plain, told by the first bytes), up to what
    `available` said is there: so a download never waits for an extraction. `copy`: a file that gets the tar itself.
    """

    def __init__(
        self, data_root: Path, database: Database, rubbish: Rubbish, diff_id: Digest | None, blob: Fd,
        *, copy: Fd | None = None, most_times: int = MOST_TIMES,
    ) -> None:  # fmt: skip
        self._data_root = data_root
        self._database = database
        self._rubbish = rubbish
        self._expected = diff_id
        self._blob = blob
        self._copy: Fd | int = -1 if copy is None else copy
        self._most_times = most_times
        self._stack = AsyncExitStack()
        self._directory = layers.new_directory()
        self.tar_bytes = 0
        """The size of the tar, known after `finish`."""
        self.files_bytes = 0

    async def __aenter__(self) -> Self:
        await self._database.write(lambda connection: rubbish.record(connection, [self._directory]))
        self._stack.callback(self._discard)
        try:
            self._root = self._stack.enter_context(await asyncio.to_thread(self._make))
            self._report = self._stack.enter_context(Fd(os.memfd_create("report", os.MFD_CLOEXEC)))
            self._worker = await self._stack.enter_async_context(
                WorkerProcess(
                    "unpack", self._blob, self._root, self._report, self._copy, 1, most_times=self._most_times
                )
            )
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    def _make(self) -> Fd:
        path = self._data_root / self._directory
        path.mkdir(mode=0o700)
        return Fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def _discard(self) -> None:
        if self._directory:
            self._rubbish.collect([self._directory])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def root(self) -> Fd:
        """The layer's directory, as it was made; open until the Unpacking is left."""
        return self._root

    @property
    def name(self) -> str:
        """The directory's name beside the other layers, until it is kept or deleted."""
        return self._directory.rpartition("/")[2]

    def available(self, size_bytes: int) -> None:
        """The first `size_bytes` of the file are written. Cheap; never blocks; never less than before."""
        self._worker.available(size_bytes)

    async def finish(self, size_bytes: int, lease: "Lease | None" = None) -> Digest:
        """The blob is whole, and verified by its own digest: wait for the layer, and keep it. Gives the diff ID.

        `lease` holds the layer from the transaction on that records it: for who did not know beforehand which it is. The
        same layer of another image may be removed at any time. Raises Integrity when the archive is malformed or its diff
        ID another than the expected; System.
        """
        diff_id, self.tar_bytes, self.files_bytes = await self._worker.result(size_bytes)
        if self._expected is not None and diff_id != self._expected:
            raise WrongContent(self._expected, diff_id)
        await self._worker.end()  # from here on nobody writes into the directory
        implied = await asyncio.to_thread(self._complete)
        layer = Layer(diff_id, diff_id, self._directory, self.files_bytes, self.tar_bytes, implied)

        def keep(connection: sqlite3.Connection) -> bool:
            if lease is not None:
                lease.record_layer(connection, diff_id)
            return layers.add(connection, layer)

        if await self._database.write(keep):
            # The row is there: it is a layer now. Otherwise another was faster, and this one is discarded.
            self._directory = ""
        return diff_id

    def _complete(self) -> tuple[bytes, ...]:
        implied, opaque = layers.read_report(self._report)
        layers.mark_opaque(self._root, opaque)
        return implied
