"""Sandboxes ready before they are needed: a pool of bare namespaces, and one for each network in use."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from ipaddress import IPv4Address
from types import TracebackType
from typing import Self

from onggi.errors import System
from onggi.network.sandbox import NamespaceThread, Ready
from onggi.network.segment import Segment

log = logging.getLogger(__name__)


class ReadyPool:
    """Namespaces made ahead. `take` never waits as long as there is one; the pool is filled again when it is quiet.

    It holds as many as were taken, or announced by `expect`, within the last ten seconds, between `least` and `most`.
    """

    QUIET_S = 0.02
    """Longer than a start and a short run together, whose work the making would slow down."""
    URGENT_QUIET_S = 0.005
    """When more than half of them have gone."""
    DEMAND_S = 10.0

    def __init__(
        self, group: asyncio.TaskGroup, make: Callable[[], Awaitable[Ready]], *, least: int, most: int
    ) -> None:
        """Filled by a task of `group`, until `close`."""
        self._make = make
        self._least, self._most = min(least, most), most
        self._ready: deque[Ready] = deque()
        self._taken: deque[float] = deque()
        self._expected: deque[float] = deque()
        self._stirred = asyncio.Event()
        self._stirred.set()
        self._making = asyncio.Lock()
        """Held while one is made ahead."""
        self._waiting = 0
        self._filler = group.create_task(self._fill(), name="fill a pool of network namespaces")

    def __len__(self) -> int:
        return len(self._ready)

    async def close(self) -> Sequence[Ready]:
        """Fill it no more; what was ready, already closed."""
        self._filler.cancel()
        await asyncio.wait([self._filler])
        left = list(self._ready)
        self._ready.clear()
        for ready in left:
            ready.close()
        return left

    async def evict(self, address: IPv4Address | None) -> IPv4Address | None:
        """Give up the one that has an address, or any; its address, None when there is none."""
        async with self._making:
            for ready in self._ready:
                if ready.plug is not None and address in {None, ready.plug.address}:
                    self._ready.remove(ready)
                    ready.close()
                    return ready.plug.address
        return None

    @property
    def target(self) -> int:
        """How many are to be ready."""
        horizon = asyncio.get_running_loop().time() - self.DEMAND_S
        for times in (self._taken, self._expected):
            while times and times[0] < horizon:
                times.popleft()
        return max(self._least, min(self._most, max(len(self._taken), len(self._expected))))

    def expect(self) -> None:
        """A start is likely soon: have one ready for it, too."""
        self._expected.append(asyncio.get_running_loop().time())
        self._stirred.set()

    async def take(self) -> Ready:
        """A ready namespace, or a new one when all are taken. Raises what `make` raises."""
        self._taken.append(asyncio.get_running_loop().time())
        if self._expected:
            self._expected.popleft()
        self._stirred.set()
        if self._ready:
            return self._ready.popleft()
        self._waiting += 1
        try:
            return await self._make()
        except System:
            # The last address may be in the one that is just being made ahead.
            async with self._making:
                if self._ready:
                    return self._ready.popleft()
            raise
        finally:
            self._waiting -= 1

    async def _fill(self) -> None:
        while True:
            await self._stirred.wait()
            await self._quiet()
            while len(self._ready) < self.target and not self._stirred.is_set():
                try:
                    async with self._making:
                        self._ready.append(await self._make())
                except (OSError, System) as error:
                    # The next start makes its own and tells its user; trying again here would only spin.
                    log.warning("no network namespace can be prepared: %s", error)
                    break

    async def _quiet(self) -> None:
        """Return when nothing has been taken for a moment: starts under way have the processors first."""
        while self._waiting or self._stirred.is_set():
            self._stirred.clear()
            try:
                urgent = len(self._ready) * 2 < self.target
                async with asyncio.timeout(self.URGENT_QUIET_S if urgent else self.QUIET_S):
                    await self._stirred.wait()
            except TimeoutError:
                pass


class Pools:
    """The pools of one engine. Entered they fill; left, what is ready is given up."""

    def __init__(self, bridge: str, thread: NamespaceThread) -> None:
        """`bridge` is the name of the engine's default bridge."""
        self._bridge = bridge
        self._thread = thread
        self._group = asyncio.TaskGroup()
        self._bare: ReadyPool
        self._plugged: dict[str, ReadyPool] = {}
        self.links: set[str] = set()
        """Names of the port links made here."""

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._bare = ReadyPool(self._group, partial(self._thread.make, None), least=2, most=32)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._bare, *self._plugged.values()):
            await pool.close()
        await self._group.__aexit__(None, None, None)

    async def take_bare(self) -> Ready:
        """A namespace with nothing but loopback. Raises OSError."""
        return await self._bare.take()

    async def take(self, segment: Segment) -> Ready:
        """A namespace on a network, with an address of it. Raises OSError, System when no address is left."""
        return await self._pool(segment).take()

    def prepare(self, segment: Segment) -> None:
        """Begin to fill a network's pool."""
        self._pool(segment)

    def expect(self, segment: Segment) -> None:
        """A container for this network has been created: it is likely to be started soon."""
        self._pool(segment).expect()

    def expect_bare(self) -> None:
        """A container without a network has been created."""
        self._bare.expect()

    def _pool(self, segment: Segment) -> ReadyPool:
        found = self._plugged.get(segment.network.id)
        if found is None:
            share = segment.addresses.capacity // 4
            least, most = (52, 128) if segment.network.is_default_bridge else (2, 32)
            make = partial(self._make, segment)
            found = ReadyPool(self._group, make, least=min(least, share), most=min(most, share))
            self._plugged[segment.network.id] = found
        return found

    async def _make(self, segment: Segment) -> Ready:
        address = segment.addresses.take()
        plug = segment.plug(self._bridge, "eth0", address, "", gateway=True)
        self.links.add(plug.link)
        try:
            return await self._thread.make(plug, resolver=segment.network.resolves_names)
        except BaseException:
            segment.addresses.give_back(address)
            raise

    async def free(self, segment: Segment, address: IPv4Address | None) -> bool:
        """Give up what is ready with an address that somebody asks for, or anything; True when there was something."""
        pool = self._plugged.get(segment.network.id)
        freed = await pool.evict(address) if pool is not None else None
        if freed is None:
            return False
        segment.addresses.give_back(freed)
        return True

    async def drop(self, segment: Segment) -> None:
        """Give up all that is ready on a network: it is removed, or needs its addresses."""
        pool = self._plugged.pop(segment.network.id, None)
        for ready in await pool.close() if pool is not None else ():
            if ready.plug is not None:
                segment.addresses.give_back(ready.plug.address)
