"""Bytes of an upload, from the socket to the disk: hashed on the way, with bounded memory, off the event loop."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from aiohttp import StreamReader

from onggi.content.objects import Objects
from onggi.content.store import UnexpectedContent
from onggi.errors import InvalidParameter
from onggi.oci.digest import Digest, Hash
from onggi.registry.refusals import RangeWrong

PIECE_BYTES = 512 * 1024
IDLE_S = 120.0
"""How long a client may send nothing."""


class BodyStalled(InvalidParameter):
    def __init__(self) -> None:
        super().__init__(f"nothing was sent for {IDLE_S:.0f} s: go on with the upload later")


@dataclass(slots=True)
class _Running:
    offset: int
    hash: Hash


class RunningHashes:
    """SHA-256 of what uploads have so far, so that a finished one need not be read again.

    Only a short cut: where there is none (another node, a restart, another algorithm) the bytes are read and hashed.
    """

    MOST = 1000

    def __init__(self) -> None:
        self._hashes: OrderedDict[str, _Running] = OrderedDict()

    def take(self, key: str, offset: int) -> _Running | None:
        """The hash of the first `offset` bytes, if it is at hand. It is the caller's then."""
        found = self._hashes.pop(key, None)
        if found is None and offset == 0:
            return _Running(0, hashlib.sha256())
        return found if found is not None and found.offset == offset else None

    def keep(self, key: str, running: _Running | None) -> None:
        if running is None:
            return
        self._hashes[key] = running
        while len(self._hashes) > self.MOST:
            self._hashes.popitem(last=False)

    def drop(self, key: str) -> None:
        self._hashes.pop(key, None)


class Receiver:
    """Writes bodies to uploads, and makes finished uploads objects. One for a service."""

    def __init__(self, objects: Objects, pool: Executor, count: Callable[[int], None]) -> None:
        self._objects, self._pool, self._count = objects, pool, count
        self._hashes = RunningHashes()

    def forget(self, key: str) -> None:
        self._hashes.drop(key)

    async def _offload(self, work: Callable[..., None], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    async def append(
        self, key: str, content: StreamReader, at: int | None = None, limit: Callable[[int], None] = lambda _: None
    ) -> int:
        """Append what `content` brings; gives the upload's size then. `limit` gets each new size and may raise.

        `at`: where the client believes to go on; None for a stream, which goes on where the upload ends. What came
        before a failure stays: the client asks and goes on. Raises RangeWrong, UploadBusy, StoreFull.
        """
        loop = asyncio.get_running_loop()
        upload = self._objects.upload(key)
        await loop.run_in_executor(self._pool, upload.__enter__)
        try:
            if at is not None and at != upload.offset:
                raise RangeWrong(upload.offset)
            running = self._hashes.take(key, upload.offset)

            def write(piece: bytearray) -> None:
                upload.write(piece)
                if running is not None:
                    running.hash.update(piece)
                    running.offset += len(piece)

            writing: asyncio.Future[None] | None = None
            try:
                piece = bytearray()
                size = upload.offset
                async with asyncio.timeout(IDLE_S) as deadline:
                    while data := await content.readany():
                        deadline.reschedule(loop.time() + IDLE_S)
                        piece += data
                        if len(piece) < PIECE_BYTES:
                            continue
                        size += len(piece)
                        limit(size)
                        if writing is not None:
                            await writing  # one piece is written while the next arrives, never more
                        writing, piece = loop.run_in_executor(self._pool, write, piece), bytearray()
                        self._count(PIECE_BYTES)
                if piece:
                    limit(size + len(piece))
                    if writing is not None:
                        await writing
                    writing = loop.run_in_executor(self._pool, write, piece)
                    self._count(len(piece))
            except TimeoutError as error:
                raise BodyStalled from error
            finally:
                if writing is not None:
                    await asyncio.wait([writing])
            if writing is not None:
                writing.result()
            self._hashes.keep(key, running)
            return upload.offset
        finally:
            upload.__exit__(None, None, None)

    async def commit(self, key: str, digest: Digest) -> int:
        """Verify the upload and make it an object, durable; gives its size. Raises UnexpectedContent, UploadBusy."""
        objects, hashes = self._objects, self._hashes

        def finish() -> int:
            with objects.upload(key) as upload:
                running = hashes.take(key, upload.offset) if digest.algorithm == "sha256" else None
                if running is None:
                    hasher = digest.hasher()
                    for piece in upload.pieces():
                        hasher.update(piece)
                else:
                    hasher = running.hash
                if hasher.hexdigest() != digest.hex:
                    raise UnexpectedContent(
                        f"provided digest did not match uploaded content: the bytes have "
                        f"{digest.algorithm}:{hasher.hexdigest()}, not {digest}"
                    )
                size = upload.offset
                upload.commit()
                return size

        return await asyncio.get_running_loop().run_in_executor(self._pool, finish)
