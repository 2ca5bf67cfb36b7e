"""Layers on their way here: downloaded and extracted at the same time, shared by the pulls that want them.

A pull that comes while another brings the same layer waits for that one. When it fails, because of the other's
credentials or registry perhaps, the waiting pull tries by itself. The work ends when its last pull has left.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self
from weakref import WeakValueDictionary

from onggi.content.store import BlobUnknown, Store
from onggi.distribution.repository import Repository
from onggi.errors import OnggiError, Unavailable
from onggi.images.download import Download, Stale
from onggi.images.in_thread import in_thread
from onggi.images.progress import LayerRow, Progress
from onggi.images.unpack import Unpacking, WrongContent
from onggi.linux.fd import Fd
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest

log = logging.getLogger(__name__)


class Layers(Protocol):
    """What this module needs of `images.Images`."""

    def has_layer(self, diff_id: Digest, /) -> bool: ...

    def is_layer_of(self, blob: Digest, diff_id: Digest, /) -> bool: ...

    async def expand(self, blob: Fd, size_bytes: int, copy: None, /) -> Digest: ...

    def unpack(self, diff_id: Digest, blob: Fd, /) -> Unpacking: ...


class Abandoned(Unavailable):
    """All who wanted the layer had left, or the engine stops."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A layer by its blob and by what that unpacks to; None: the blob alone."""

    digest: Digest
    size_bytes: int
    diff_id: Digest | None


class Fetches:
    """Enter it to fetch. At most `most` layers are on their way at a time."""

    def __init__(self, layers: Layers, blobs: Store, executor: Executor, most: int) -> None:
        self._layers, self._blobs, self._executor = layers, blobs, executor
        self._turns = asyncio.Semaphore(most)
        self._running: dict[Wanted, _Fetch] = {}
        self._blobs_wanted: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()
        """One blob may be wanted as two layers, or as one and for itself: it is brought once."""
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fetch in self._running.values():
            fetch.cancel()
        await self._group.__aexit__(None, None, None)

    async def fetch(
        self, layer: Descriptor, diff_id: Digest | None, repository: Repository, progress: Progress
    ) -> None:
        """Bring a layer's blob into the store and extract it; `diff_id` None: the blob alone, of whatever kind.

        `progress` gets its lines. The caller holds its leases. Raises Integrity, Answer, Unreachable, Misbehaved.
        """
        wanted = Wanted(layer.digest, layer.size, diff_id)
        while True:
            fetch = self._running.get(wanted)
            mine = fetch is None
            if fetch is None:
                fetch = self._running[wanted] = _Fetch(layer.digest.short)
                fetch.task = self._group.create_task(
                    self._carry(fetch, wanted, layer, repository), name=f"fetch {layer.digest.short}"
                )
            try:
                return await fetch.wait(progress)
            except (OnggiError, OSError):
                if mine:
                    raise

    async def _carry(self, fetch: "_Fetch", wanted: Wanted, layer: Descriptor, repository: Repository) -> None:
        try:
            await self._bring(wanted, layer, repository, fetch.row)
        except Exception as error:  # handed to those who wait
            fetch.settle(error)
        else:
            fetch.settle(None)
        finally:
            del self._running[wanted]
            fetch.settle(Abandoned("the pull of this layer was given up"))

    async def _bring(self, wanted: Wanted, layer: Descriptor, repository: Repository, row: LayerRow) -> None:
        row.say("Pulling fs layer")
        alone = self._blobs_wanted.setdefault(wanted.digest, asyncio.Lock())
        if self._turns.locked() or alone.locked():
            row.say("Waiting")
        async with alone, self._turns:
            try:
                await self._attempt(wanted, layer, repository, row)
            except Stale as error:
                log.warning("%s: what an earlier download left is of no use", error)
                await self._attempt(wanted, layer, repository, row)

    async def _attempt(self, wanted: Wanted, layer: Descriptor, repository: Repository, row: LayerRow) -> None:
        async with AsyncExitStack() as stack:
            try:
                file = await in_thread(self._executor, lambda: self._blobs.open(wanted.digest))
                ingest = None
            except BlobUnknown:
                ingest = self._blobs.ingest(str(wanted.digest), wanted.digest, wanted.size_bytes)
                stack.push(ingest)
                await in_thread(self._executor, ingest.__enter__)
                file = ingest.open()
            stack.enter_context(file)
            blob = stack.enter_context(Fd(os.dup(file.fileno())))
            unpacking: Unpacking | None = None
            if wanted.diff_id is not None and not self._layers.has_layer(wanted.diff_id):
                unpacking = await stack.enter_async_context(self._layers.unpack(wanted.diff_id, blob))
            if ingest is not None:
                arrived: Callable[[int], None] = unpacking.available if unpacking else lambda _: None
                await Download(ingest, layer, repository, row, arrived=arrived, executor=self._executor).run()
            if unpacking is not None:
                unpacking.available(wanted.size_bytes)
                row.move("Extracting", wanted.size_bytes, wanted.size_bytes)
                await unpacking.finish(wanted.size_bytes)
            elif wanted.diff_id is not None and not self._layers.is_layer_of(wanted.digest, wanted.diff_id):
                # An image may claim a layer that is here for any bytes.
                found = await self._layers.expand(blob, wanted.size_bytes, None)
                if found != wanted.diff_id:
                    raise WrongContent(wanted.diff_id, found)
            row.say("Pull complete")


class _Fetch:
    """One layer on its way and those who wait for it."""

    def __init__(self, identity: str) -> None:
        self.row = LayerRow(identity)
        self.task: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._error: BaseException | None = None
        self._waiting = 0

    def settle(self, error: BaseException | None) -> None:
        """The first word counts."""
        if not self._ended.is_set():
            self._error = error
            self._ended.set()

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def wait(self, progress: Progress) -> None:
        self.row.watch(progress)
        self._waiting += 1
        try:
            await self._ended.wait()
        except asyncio.CancelledError:
            if self._waiting == 1 and self.task is not None:
                self.task.cancel()
                await asyncio.wait({self.task})
            raise
        finally:
            self._waiting -= 1
            self.row.leave(progress)
        if self._error is not None:
            raise self._error
