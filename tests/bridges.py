"""Networks without an engine, for tests: settings of one's own, and what is left of them on the machine."""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Network
from pathlib import Path

from onggi.engine.settings import AddressPool, Settings
from onggi.linux.netlink import Route
from onggi.network.neighbours import leave_filters
from onggi.network.networks import Networks
from onggi.network.nftables import table_name
from onggi.network.segment import link_prefix
from onggi.state.database import Database
from tests import conditions
from tests.namespaces import PATIENCE_S


class Events(list[tuple[str, str, str]]):
    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        self.append((action, attributes["name"], attributes.get("container", "")))


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(conditions.until, condition)


def links() -> list[str]:
    with Route() as route:
        return [link.name for link in route.links()]


def nft(*arguments: str) -> str:
    return subprocess.run(["nft", *arguments], capture_output=True, text=True, check=True).stdout


def tables() -> str:
    return nft("list", "tables")


def leftovers(bridge: str) -> list[str]:
    return [link for link in links() if link == bridge or link.startswith(link_prefix(bridge))]


@asynccontextmanager
async def opened(settings: Settings, events: Events | None = None) -> AsyncIterator[Networks]:
    publish = (events if events is not None else Events()).publish
    async with Database(settings.data_root / "state.db") as database:
        async with Networks(settings, database, publish) as networks:
            yield networks


def run(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(100):
            await work

    asyncio.run(bounded())


def identity(number: int) -> str:
    return f"{number:012x}" + 52 * "0"


@contextmanager
def own_settings(directory: Path, worker_id: str) -> Iterator[Settings]:
    """Of an engine that nobody else has; whatever it leaves fails the test."""
    name = f"ogt{worker_id.removeprefix('gw')[:2]}{os.urandom(3).hex()}"
    (directory / "run").mkdir()
    # Of this process alone: two engines that look for a free subnet at one moment find the same.
    pool = AddressPool(IPv4Network(f"10.{210 + os.getpid() % 40}.0.0/16"), 24)
    yield Settings(data_root=directory, exec_root=directory / "run", bridge_name=name, default_address_pools=(pool,))
    deadline = time.monotonic() + PATIENCE_S
    while (left := leftovers(name)) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        with Route() as route:
            for link in left:
                route.delete(link)
    table = table_name(name)
    table_left = table in tables()
    if table_left:
        nft("delete", "table", "inet", table)
    leave_filters(name)
    assert not left, f"links are left over: {left}"
    assert not table_left
