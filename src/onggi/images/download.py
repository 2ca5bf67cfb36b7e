"""One blob from a registry into the content store: network → hash and file, resumed where it broke off."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor

from onggi.content.store import Ingest, StoreFull, UnexpectedContent
from onggi.distribution.failure import AnswerBusy, AnswerFailed, Unreachable
from onggi.distribution.ranges import blob_in_ranges
from onggi.distribution.repository import Repository
from onggi.images.in_thread import in_thread
from onggi.images.progress import LayerRow
from onggi.images.unpack import Integrity
from onggi.oci.descriptor import Descriptor

log = logging.getLogger(__name__)

_BATCH_BYTES = 1024 * 1024
_PROGRESS_BYTES = 1024 * 1024
"""So many bytes more than at the last failure count as progress."""


class Stale(Integrity):
    """The whole is not what it should be, but a part of it was from an earlier connection: worth another try."""


class Download:
    """Fills an entered `ingest` with a blob. `arrived` is told how many bytes are in the file."""

    def __init__(
        self,
        ingest: Ingest,
        blob: Descriptor,
        repository: Repository,
        row: LayerRow,
        *,
        arrived: Callable[[int], None],
        executor: Executor,
    ) -> None:
        self._ingest, self._blob, self._repository = ingest, blob, repository
        self._row, self._arrived, self._executor = row, arrived, executor
        self._writing: asyncio.Future[int] | None = None
        self._refused = False

    async def run(self) -> None:
        """Until the blob is in the store. Raises Integrity, Answer, Unreachable, Misbehaved; what has come stays."""
        ingest, size = self._ingest, self._blob.size
        resumed = ingest.offset > 0
        failures, reached, validator = 0, ingest.offset, ""
        self._arrived(ingest.offset)
        while ingest.offset < size:
            try:
                async with blob_in_ranges(
                    self._repository, self._blob.digest, ingest.offset, size, validator
                ) as stream:
                    validator = stream.validator
                    await self._receive(stream.offset, stream.pieces)
                if ingest.offset < size:
                    raise Unreachable(
                        f"{self._blob.digest}: the registry sent {ingest.offset} of {size} bytes: unexpected EOF"
                    )
            except (Unreachable, AnswerBusy, AnswerFailed) as error:
                failures = 1 if ingest.offset - reached >= _PROGRESS_BYTES else failures + 1
                reached, resumed = ingest.offset, True
                if failures >= self._repository.client.http.deadlines.most_tries:
                    raise
                log.info("download of %s broke off at byte %d of %d: %s", self._blob.digest, reached, size, error)
                await self._pause(failures, getattr(error, "retry_after_s", None))
        self._row.say("Verifying Checksum")
        try:
            await in_thread(self._executor, ingest.commit)
        except UnexpectedContent as error:
            kind = Stale if resumed else Integrity
            raise kind(f"filesystem layer verification failed for digest {self._blob.digest}") from error
        self._row.say("Download complete")

    async def _pause(self, failures: int, asked_s: float | None) -> None:
        """Longer after each failure, and as long as the registry asks for, within our patience."""
        deadlines = self._repository.client.http.deadlines
        pause_s = deadlines.retry_s * failures
        if asked_s is not None:
            pause_s = min(max(asked_s, pause_s), deadlines.patience_s)
        while pause_s > 0:
            if (whole := round(pause_s)) > 0:
                self._row.say(f"Retrying in {whole} second{'s' if whole != 1 else ''}")
            await asyncio.sleep(min(pause_s, 1))
            pause_s -= 1

    async def _receive(self, begins: int, pieces: AsyncIterator[bytes]) -> None:
        """Write what arrives in a thread while more arrives: two batches at most are in memory."""
        # A registry that can't send ranges sends once more what we have.
        skip = self._ingest.offset - begins
        batch: list[bytes] = []
        batch_bytes = 0
        try:
            async for piece in pieces:
                if skip:
                    taken = min(skip, len(piece))
                    skip -= taken
                    piece = piece[taken:]
                batch.append(piece)
                batch_bytes += len(piece)
                if batch_bytes >= _BATCH_BYTES:
                    await self._written()
                    self._write(batch)
                    batch, batch_bytes = [], 0
        finally:
            # What has come is kept, however the stream ended; unless the store took no more.
            await self._written()
            if not self._refused:
                self._write(batch)
                await self._written()

    def _write(self, batch: list[bytes]) -> None:
        def write() -> int:
            for piece in batch:
                self._ingest.write(piece)
            return self._ingest.offset

        self._writing = asyncio.get_running_loop().run_in_executor(self._executor, write)
        self._writing.add_done_callback(self._tell)

    def _tell(self, writing: asyncio.Future[int]) -> None:
        """At once, not with the next batch: what comes next may take long."""
        if not writing.cancelled() and writing.exception() is None:
            self._arrived(writing.result())
            self._row.move("Downloading", writing.result(), self._blob.size)

    async def _written(self) -> None:
        """The last batch is in the file; also when we are cancelled meanwhile, as the file is closed then."""
        if self._writing is None:
            return
        future, self._writing = self._writing, None
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            raise
        except UnexpectedContent as error:
            self._refused = True
            raise Integrity(f"filesystem layer verification failed for digest {self._blob.digest}: {error}") from error
        except (StoreFull, OSError):
            self._refused = True
            raise
