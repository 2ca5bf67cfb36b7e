"""One blob on its way here: written to an upload, read by everybody who waits for it, whole only when it is verified.

The last byte is held back until the digest is right: nobody ever gets a whole blob that is not what it is called. What
breaks off goes on where it was; what is wrong leaves nothing behind.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import BinaryIO, TypeVar

from onggi.content.objects import Objects, Upload
from onggi.content.store import UnexpectedContent
from onggi.distribution.failure import AnswerBusy, AnswerFailed, Misbehaved, Unreachable
from onggi.distribution.repository import Repository
from onggi.errors import OnggiError
from onggi.oci.digest import Digest
from onggi.registry import blobs
from onggi.registry.database import Connection, Database, Work
from onggi.registry.permissions import Subject, SubjectKind

log = logging.getLogger("onggi.registry.upstream")
PIECE_BYTES = 256 * 1024
_PROGRESS_BYTES = 1024 * 1024
"""So many bytes more than at the last failure are progress: failures are counted anew."""
T = TypeVar("T")
_ITSELF = Subject(SubjectKind.ROBOT, "upstream")
"""Whose uploads these are: no client's."""
Adopt = Callable[[int], Awaitable[None]]
"""Make the object a blob of the repository; gets its size."""


class Incoming:
    """`run` brings it, once; `readable` and `read` may be called by many meanwhile. `ended` is set when all is over."""

    def __init__(self, repository: Repository, digest: Digest, pool: Executor, most_bytes: int = 0) -> None:
        """`most_bytes`: what is larger is refused; 0 for no bound."""
        self.digest = digest
        self._most_bytes = most_bytes
        self.size_bytes: int | None = None
        """What the upstream says; known, if at all, once it has begun."""
        self.failure: OnggiError | None = None
        self.ended = asyncio.Event()
        self.verified = False
        self._repository, self._pool = repository, pool
        self._written = 0
        self._begun = False
        self._news = asyncio.Condition()
        self._file: BinaryIO | None = None
        self._readers = 1  # `run` itself

    async def _offload(self, work: Callable[..., T], *arguments: object) -> T:
        """In a thread, which has ended when this does, also when we are cancelled: the file may be closed then."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    # Those who wait

    async def begun(self) -> None:
        """Until there is something to read, or nothing will come: then raises what went wrong."""
        async with self._news:
            await self._news.wait_for(lambda: self._begun or self.ended.is_set())
        if not self._begun and self.failure is not None:
            raise self.failure

    def join(self) -> None:
        """Keep the file open until `leave`."""
        self._readers += 1

    def leave(self) -> None:
        self._readers -= 1
        if not self._readers and self._file is not None:
            self._file.close()
            self._file = None

    @property
    def written_bytes(self) -> int:
        return self._written

    @property
    def readable_bytes(self) -> int:
        return self._written if self.verified else max(self._written - 1, 0)

    async def read(self, offset: int, most: int) -> bytes:
        """Some bytes from `offset` on, as soon as there are any; none at the blob's end. Raises what ended it."""
        async with self._news:
            await self._news.wait_for(lambda: self.readable_bytes > offset or self.verified or self.ended.is_set())
        if self.readable_bytes <= offset:
            if not self.verified:
                raise self.failure or Misbehaved("the blob did not come")
            return b""
        assert self._file is not None, "joined readers keep it open"
        return await self._offload(os.pread, self._file.fileno(), min(most, self.readable_bytes - offset), offset)

    # The one that brings it

    async def run(self, objects: Objects, key: str, adopt: Adopt) -> None:
        """Fetch, verify, commit, adopt. Never raises but when cancelled: `failure` says what went wrong."""
        try:
            await self._offload(objects.begin, key)
            upload = objects.upload(key)
            await self._offload(upload.__enter__)
            try:
                self._file = upload.reader()
                await self._fetch(upload)
                await self._tell()
                await self._offload(upload.commit)
            finally:
                upload.__exit__(None, None, None)
            await adopt(self._written)
        except OnggiError as error:
            self.failure = error
            log.warning("the blob %s: %s", self.digest, error)
        except OSError as error:
            self.failure = Misbehaved(f"the blob can't be kept: {error}")
            log.warning("the blob %s: %s", self.digest, error)
        finally:
            await self.fail(Unreachable("the fetch was ended"))

    async def fail(self, error: OnggiError) -> None:
        """All is over; `error` is why, where nothing else was and the blob is not here. A second call does nothing."""
        if self.ended.is_set():
            return
        if self.failure is None and not self.verified:
            self.failure = error
        self.ended.set()
        self.leave()
        await asyncio.shield(self._tell())

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _fetch(self, upload: Upload) -> None:
        """All bytes into `upload`, verified. Raises Answer, Unreachable, Misbehaved, UnexpectedContent, StoreFull."""
        hasher, failures, reached, validator = self.digest.hasher(), 0, 0, ""
        deadlines = self._repository.client.http.deadlines

        def write(piece: bytes) -> None:
            upload.write(piece)
            hasher.update(piece)

        while True:
            try:
                async with self._repository.blob(self.digest, self._written, validator) as stream:
                    validator = stream.validator
                    if self.size_bytes is None:
                        self.size_bytes = stream.size_bytes
                    elif stream.size_bytes not in (None, self.size_bytes):
                        raise Misbehaved(f"{self.digest} has another size than before")
                    self._begun = True
                    await self._tell()
                    # One that can't send ranges sends once more what is here.
                    skip = self._written - stream.offset
                    batch = bytearray()
                    async for piece in stream.pieces:
                        if skip:
                            taken = min(skip, len(piece))
                            skip, piece = skip - taken, piece[taken:]
                        batch += piece
                        if len(batch) >= PIECE_BYTES:
                            await self._write(write, batch)
                            batch = bytearray()
                    await self._write(write, batch)
                if self.size_bytes is not None and self._written < self.size_bytes:
                    raise Unreachable(f"{self._written} of {self.size_bytes} bytes came: unexpected EOF")
                break
            except (Unreachable, AnswerBusy, AnswerFailed) as error:
                failures = 1 if self._written - reached >= _PROGRESS_BYTES else failures + 1
                reached = self._written
                if failures >= deadlines.most_tries or not self._begun:
                    raise
                log.info("the blob %s broke off at byte %d: %s", self.digest, reached, error)
                asked_s = getattr(error, "retry_after_s", None) or 0.0
                await asyncio.sleep(min(max(deadlines.retry_s * failures, asked_s), deadlines.patience_s))
        if hasher.hexdigest() != self.digest.hex:
            raise UnexpectedContent(f"the upstream sent other bytes than {self.digest}: nothing of them is kept")
        self.verified = True

    async def _write(self, write: Callable[[bytes], None], batch: bytearray) -> None:
        if self.size_bytes is not None and self._written + len(batch) > self.size_bytes:
            raise Misbehaved(f"{self.digest} is longer than its {self.size_bytes} bytes")
        if self._most_bytes and max(self._written + len(batch), self.size_bytes or 0) > self._most_bytes:
            raise Misbehaved(
                f"{self.digest} is larger than all that is kept of this upstream: {self._most_bytes} bytes"
            )
        if batch:
            await self._offload(write, batch)
            self._written += len(batch)
            await self._tell()


async def bring(
    database: Database, objects: Objects, repository: str, incoming: Incoming, settled: Work[None] = lambda _: None
) -> None:
    """Make `incoming` a blob of `repository`, `settled` in the same transaction. What goes wrong is in `incoming.failure`.

    As with a push the upload's row comes first: whatever ends us, the collector finds the bytes. (`blobs`)
    """
    upload: blobs.UploadRow | None = None

    async def adopt(size_bytes: int) -> None:
        nonlocal upload
        row = upload
        assert row is not None

        def settle(connection: Connection) -> None:
            blobs.adopt(connection, row, incoming.digest, size_bytes)
            settled(connection)

        await database.write(settle)
        upload = None

    try:
        upload = await database.write(lambda connection: blobs.begin(connection, repository, _ITSELF))
        await incoming.run(objects, upload.key, adopt)
    except OnggiError as error:
        await incoming.fail(error)  # before it began
    finally:
        await incoming.fail(Unreachable("the fetch was ended"))
        if upload is not None:
            row = upload
            await asyncio.shield(database.write(lambda connection: blobs.give_up(connection, row.id)))
