"""A large blob in ranges: several connections bring what comes next, while the bytes are handed on in their order.

One connection seldom fills a fast line over a long distance. What is ahead waits in memory, so it is bounded:
`SPAN_BYTES` for each connection but the first.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from onggi.distribution.failure import Misbehaved, Unreachable
from onggi.distribution.repository import BlobStream, Repository
from onggi.errors import OnggiError
from onggi.oci.digest import Digest

LARGE_BYTES = 64 * 1024 * 1024
"""So much must be left for more than one connection to be worth its while."""
SPAN_BYTES = 8 * 1024 * 1024
_CONNECTIONS = 3


class _Span:
    """Bytes `start` to `end` (exclusive), fetched ahead."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end
        self.pieces: list[bytes] = []
        self.error: OnggiError | None = None
        self.ended = asyncio.Event()

    async def fetch(self, repository: Repository, digest: Digest, validator: str) -> None:
        """Never raises but when cancelled: what went wrong is met by whoever comes to this span."""
        size = 0
        try:
            async with repository.blob(digest, self.start, validator, end=self.end) as stream:
                if stream.offset != self.start:
                    raise Unreachable(f"{digest} has changed at the registry while it was being fetched")
                async for piece in stream.pieces:
                    size += len(piece)
                    self.pieces.append(piece)
                    if size > self.end - self.start:
                        raise Misbehaved(f"the registry sent a longer range of {digest} than asked for")
            if size < self.end - self.start:
                raise Unreachable(
                    f"{digest}: a range of {self.end - self.start} bytes ended after {size}: unexpected EOF"
                )
        except OnggiError as error:
            self.error = error
        finally:
            self.ended.set()


@asynccontextmanager
async def blob_in_ranges(
    repository: Repository, digest: Digest, offset: int, size_bytes: int, validator: str = ""
) -> AsyncIterator[BlobStream]:
    """As `Repository.blob`; in ranges when much is left of the blob and the registry can send them."""
    if size_bytes - offset < LARGE_BYTES:
        async with repository.blob(digest, offset, validator) as stream:
            yield stream
        return
    async with repository.blob(digest, offset, validator, end=offset + SPAN_BYTES) as first:
        if first.whole:
            yield first
            return
        try:
            async with asyncio.TaskGroup() as group:
                ahead = _Ahead(repository, digest, first, size_bytes, group)
                yield BlobStream(offset, first.validator, ahead.in_order(), whole=False)
                ahead.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures  # the reader's own: spans keep what befalls them


class _Ahead:
    """The spans that are being fetched, and their bytes in order."""

    def __init__(
        self, repository: Repository, digest: Digest, first: BlobStream, size_bytes: int, group: asyncio.TaskGroup
    ) -> None:
        self._repository, self._digest, self._first, self._size_bytes = repository, digest, first, size_bytes
        self._group = group
        self._spans: deque[tuple[_Span, asyncio.Task[None]]] = deque()
        self._next = first.offset + SPAN_BYTES

    def _begin(self) -> None:
        """Fetch the next span, if there is one."""
        span = _Span(self._next, min(self._next + SPAN_BYTES, self._size_bytes))
        if span.start < span.end:
            work = span.fetch(self._repository, self._digest, self._first.validator)
            task = self._group.create_task(work, name=f"range {span.start} of {self._digest.short}")
            self._spans.append((span, task))
            self._next = span.end

    def cancel(self) -> None:
        for _, task in self._spans:
            task.cancel()

    async def in_order(self) -> AsyncIterator[bytes]:
        """Raises what befell a span when its turn comes, after the bytes that it has brought."""
        for _ in range(_CONNECTIONS - 1):
            self._begin()
        received = 0
        async for piece in self._first.pieces:
            received += len(piece)
            if received > SPAN_BYTES:
                raise Misbehaved(f"the registry sent a longer range of {self._digest} than asked for")
            yield piece
        if received < SPAN_BYTES:
            raise Unreachable(f"{self._digest}: a range of {SPAN_BYTES} bytes ended after {received}: unexpected EOF")
        self._begin()
        while self._spans:
            span, _ = self._spans[0]
            await span.ended.wait()
            for piece in span.pieces:
                yield piece
            if span.error is not None:
                raise span.error
            self._spans.popleft()
            self._begin()
