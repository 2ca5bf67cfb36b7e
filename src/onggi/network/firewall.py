"""Keeps the engine's nftables table in place: what it says, that it is there, and that others let its traffic through."""

import asyncio
import logging
import subprocess
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from onggi.errors import OnggiError
from onggi.linux.nftables import Change, Elements, Watch
from onggi.network import neighbours, nftables
from onggi.network.nftables import BridgeRules, Forward

log = logging.getLogger(__name__)
RETRY_S = 5.0


class Firewall:
    """One table. Entered it stands, with what `replace` and `publish` put into it; left it stays for what runs.

    Another program that flushes the rule set (`nft flush ruleset`, a firewall's reload) takes the table away; that is
    noticed over netlink, and the table is put back.
    """

    def __init__(
        self,
        bridge: str,
        bridges: Sequence[BridgeRules],
        uplinks: Sequence[str],
        forwards: Sequence[Forward],
        *,
        closes_host: bool,
    ) -> None:
        """`bridge` is the name of the engine's default bridge; `uplinks` carry the host's default routes."""
        self._closes_host = closes_host
        self.table = nftables.table_name(bridge)
        self._bridge = bridge
        self._bridges = tuple(bridges)
        self._uplinks = tuple(uplinks)
        self._forwards = {(item.port.protocol, item.port.host_ip, item.port.host_port): item for item in forwards}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nftables")
        self._elements = Elements()
        self._watch = Watch()
        self._group = asyncio.TaskGroup()
        self._guard: asyncio.Task[None] | None = None
        self._stirred = asyncio.Event()
        self._own: deque[int] = deque(maxlen=64)
        """The last processes that changed the rules for us."""
        self._trusted: set[str] = set()
        """Bridges that firewalld, as it runs, knows of."""
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        await self._apply()
        self._listen()
        self._guard = self._group.create_task(self._keep(), name="keep the nftables table")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._watch.fileno())
        if self._guard is not None:
            self._guard.cancel()
        await self._group.__aexit__(None, None, None)
        self._thread.shutdown(wait=True)
        self._watch.close()
        self._elements.close()

    def _listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._watch.fileno(), self._hear)

    def _hear(self) -> None:
        # Not again before it is read: that may have to wait for the lock, and the loop would spin meanwhile.
        asyncio.get_running_loop().remove_reader(self._watch.fileno())
        self._stirred.set()

    async def _in_thread(self, work: object, *arguments: object) -> object:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)  # type: ignore[arg-type]

    def _put_in_place(self) -> None:
        forwards = tuple(self._forwards.values())
        text = nftables.ruleset(self.table, self._bridges, forwards, closes_host=self._closes_host)
        self._own.append(nftables.apply(text))

    def _pass_neighbours(self) -> None:
        links = [rules.link for rules in self._bridges]
        present = neighbours.tables()
        self._own.extend(neighbours.pass_filters(self._bridge, links, self._uplinks, present))
        if not neighbours.has_firewalld(present):
            self._trusted.clear()
            return
        neighbours.trust([link for link in links if link not in self._trusted])
        self._trusted.update(links)

    async def _apply(self) -> None:
        async with self._lock:
            await self._in_thread(self._put_in_place)
            try:
                await self._in_thread(self._pass_neighbours)
            except (OnggiError, OSError, subprocess.SubprocessError) as error:
                # The engine works all the same, but for what the other firewall drops.
                log.error("another firewall may drop what comes from our networks: %s", error)

    async def replace(self, bridges: Sequence[BridgeRules], uplinks: Sequence[str]) -> None:
        """Other bridges and uplinks from now on; published ports stay."""
        self._bridges, self._uplinks = tuple(bridges), tuple(uplinks)
        await self._apply()

    async def publish(self, forwards: Sequence[Forward]) -> None:
        """The host answers for these ports from now on. Raises OSError."""
        if not forwards:
            return
        for item in forwards:
            self._forwards[item.port.protocol, item.port.host_ip, item.port.host_port] = item
        async with self._lock:
            await self._in_thread(self._add, forwards)

    def _add(self, forwards: Sequence[Forward]) -> None:
        try:
            self._elements.add(self.table, [item.element for item in forwards])
        except FileNotFoundError:
            self._put_in_place()  # the table was taken away this very moment

    async def withdraw(self, forwards: Sequence[Forward]) -> None:
        """And no longer. Idempotent."""
        if not forwards:
            return
        for item in forwards:
            self._forwards.pop((item.port.protocol, item.port.host_ip, item.port.host_port), None)
        async with self._lock:
            await self._in_thread(self._remove, forwards)

    def _remove(self, forwards: Sequence[Forward]) -> None:
        try:
            self._elements.remove(self.table, [item.element for item in forwards])
        except FileNotFoundError:
            self._put_in_place()  # one of them or the table is missing: say it all anew

    async def exchange(self, withdrawn: Sequence[Forward], published: Sequence[Forward]) -> None:
        """Withdraw some and publish others in one step. Raises OSError."""
        for item in withdrawn:
            self._forwards.pop((item.port.protocol, item.port.host_ip, item.port.host_port), None)
        for item in published:
            self._forwards[item.port.protocol, item.port.host_ip, item.port.host_port] = item
        async with self._lock:
            await self._in_thread(self._exchange, withdrawn, published)

    def _exchange(self, withdrawn: Sequence[Forward], published: Sequence[Forward]) -> None:
        try:
            self._elements.exchange(
                self.table, [item.element for item in withdrawn], [item.element for item in published]
            )
        except FileNotFoundError:
            self._put_in_place()  # one of them or the table is missing: say it all anew

    async def take_down(self) -> None:
        """Remove the table, and our rules and bridges at others: no container is left that needs them."""
        if self._guard is not None:
            self._guard.cancel()
        await self._in_thread(neighbours.leave_filters, self._bridge)
        try:
            await self._in_thread(neighbours.leave_zone, sorted(self._trusted))
        except (OnggiError, OSError, subprocess.SubprocessError) as error:
            log.warning("bridges stay in firewalld's zone until it is started anew: %s", error)
        await self._in_thread(nftables.remove_table, self.table)

    async def _keep(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            # Whoever holds the lock is changing the rules, and has not noted yet which process did.
            async with self._lock:
                change = self._watch.read(self.table, nftables.mark(self._bridge).encode(), self._own)
            self._listen()
            await self._mend(change)

    async def _mend(self, change: Change) -> None:
        """Again until it is done: the other program may still be at work, and what nft is told is outdated then."""
        if change.ours_lost:
            log.warning("another program removed rules of the table inet %s: putting them back", self.table)
        if change.firewalld:
            self._trusted.clear()
        while change.ours_lost or change.filters or change.firewalld:
            try:
                async with self._lock:
                    if change.ours_lost:
                        await self._in_thread(self._put_in_place)
                    await self._in_thread(self._pass_neighbours)
            except (OnggiError, OSError, subprocess.SubprocessError) as error:
                # Nobody awaits this task, and the engine must not end with it.
                log.error("the rules of the table inet %s are not in place: %s", self.table, error)
                await asyncio.sleep(RETRY_S)
            else:
                return
