"""`stats`: what a container uses, in Docker's JSON, from its cgroup's counters and its network namespace.

Names and the odd omission differ between cgroup v1 and v2, as Docker's do: clients tell the version by them.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from onggi.engine.lifecycle import State
from onggi.errors import OnggiError
from onggi.linux.counters import read as read_counters
from onggi.linux.counters import read_links

if TYPE_CHECKING:
    from onggi.engine.container import Container
    from onggi.linux.cgroup import Cgroup
    from onggi.linux.counters import Counters
    from onggi.runtime.runtime import Runtime

NEVER = "0001-01-01T00:00:00Z"
INTERVAL_S = 1.0
_BLKIO_LISTS = (
    "io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive", "io_service_time_recursive",
    "io_wait_time_recursive", "io_merged_recursive", "io_time_recursive", "sectors_recursive",
)  # fmt: skip
_MEMORY_V1 = (
    "active_anon", "active_file", "cache", "dirty", "inactive_anon", "inactive_file", "mapped_file", "pgfault",
    "pgmajfault", "pgpgin", "pgpgout", "rss", "rss_huge", "unevictable", "writeback",
)  # fmt: skip
_SHOWN_V1 = sorted(
    [*_MEMORY_V1, *(f"total_{name}" for name in _MEMORY_V1), "hierarchical_memory_limit", "hierarchical_memsw_limit"]
)
"""Of memory.stat what Docker shows, in its order."""
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_NO_THROTTLING = {"periods": 0, "throttled_periods": 0, "throttled_time": 0}
_NO_CPU: Mapping[str, Any] = {
    "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
    "throttling_data": _NO_THROTTLING,
}


class Stats:
    """Samples of the containers of one engine."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    async def once(self, container: "Container", *, compare: bool) -> Mapping[str, Any]:
        """One sample. `compare`: together with an earlier one, a second apart, so that shares can be computed."""
        first = await self._sample(container)
        if not compare or first is None:
            return _document(container, first, None, self._memory_bytes)
        await asyncio.sleep(INTERVAL_S)
        second = await self._sample(container)
        return _document(container, second, first, self._memory_bytes)

    async def stream(self, container: "Container") -> AsyncIterator[Mapping[str, Any]]:
        """A sample each second until the container is removed; zeros while it does not run."""
        earlier: _Sample | None = None
        due = time.monotonic()
        while container.state not in (State.REMOVING, State.DEAD):
            sample = await self._sample(container)
            yield _document(container, sample, earlier, self._memory_bytes)
            earlier = sample
            due = max(due + INTERVAL_S, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def _sample(self, container: "Container") -> "_Sample | None":
        if container.state not in (State.RUNNING, State.PAUSED):
            return None
        try:
            return await self._runtime.observe(container.id, _take)
        except (OnggiError, FileNotFoundError):
            return None  # it ended meanwhile


class _Sample:
    """What was read of a container at one moment."""

    __slots__ = ("counters", "cpus", "network", "read_at", "system_ns")

    def __init__(self, counters: "Counters", network: Mapping[str, Mapping[str, int]]) -> None:
        self.counters = counters
        self.network = network
        self.read_at = _now()
        self.system_ns, self.cpus = _system_cpu()


def _take(cgroup: "Cgroup", pid: int) -> _Sample:
    """In one go: going to a thread and back costs as much as reading does. Raises FileNotFoundError when it has gone."""
    return _Sample(read_counters(cgroup), read_links(pid))


def _now() -> str:
    ns = time.time_ns()
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 1_000_000_000:09}Z"


def _system_cpu() -> tuple[int, int]:
    """CPU time of the whole machine in nanoseconds (user to steal, as Docker counts), and how many CPUs are online."""
    with open("/proc/stat", encoding="ascii") as file:
        total = sum(int(word) for word in file.readline().split()[1:9]) * _NS_PER_TICK
    return total, os.sysconf("SC_NPROCESSORS_ONLN")


def _cpu(sample: _Sample) -> Mapping[str, Any]:
    counters = sample.counters
    usage: dict[str, Any] = {"total_usage": counters.cpu_total_ns}
    if counters.cpu_per_cpu_ns:
        usage["percpu_usage"] = counters.cpu_per_cpu_ns
    usage["usage_in_kernelmode"] = counters.cpu_kernel_ns
    usage["usage_in_usermode"] = counters.cpu_user_ns
    return {
        "cpu_usage": usage,
        "system_cpu_usage": sample.system_ns,
        "online_cpus": sample.cpus,
        "throttling_data": {
            "periods": counters.cpu_periods,
            "throttled_periods": counters.cpu_throttled_periods,
            "throttled_time": counters.cpu_throttled_ns,
        },
    }


def _memory(counters: "Counters", machine_bytes: int) -> Mapping[str, Any]:
    memory: dict[str, Any] = {"usage": counters.memory_usage}
    if counters.version == 1 and counters.memory_peak:
        memory["max_usage"] = counters.memory_peak
    memory["stats"] = counters.memory_stat
    if counters.version == 1:
        memory["stats"] = {name: counters.memory_stat[name] for name in _SHOWN_V1 if name in counters.memory_stat}
    if counters.memory_failures:
        memory["failcnt"] = counters.memory_failures
    memory["limit"] = min(counters.memory_limit or machine_bytes, machine_bytes)
    return memory


def _operations(counted: Sequence[tuple[int, int, str, int]], version: int) -> Sequence[Mapping[str, Any]]:
    # Docker passes the kernel's words on: capital letters on v1, small ones on v2.
    return [
        {"major": major, "minor": minor, "op": operation if version == 1 else operation.lower(), "value": value}
        for major, minor, operation, value in counted
    ]


def _blkio(counters: "Counters") -> Mapping[str, Any]:
    lists: dict[str, Any] = dict.fromkeys(_BLKIO_LISTS, [] if counters.version == 1 else None)
    lists["io_service_bytes_recursive"] = _operations(counters.block_bytes, counters.version)
    if counters.version == 1:
        lists["io_serviced_recursive"] = _operations(counters.block_operations, counters.version)
    return lists


def _document(
    container: "Container", sample: _Sample | None, earlier: _Sample | None, machine_bytes: int
) -> Mapping[str, Any]:
    head: dict[str, Any] = {"name": f"/{container.name}", "id": container.id}
    if sample is None:
        return head | {
            "read": NEVER,
            "preread": NEVER,
            "pids_stats": {},
            "blkio_stats": dict.fromkeys(_BLKIO_LISTS),
            "num_procs": 0,
            "storage_stats": {},
            "cpu_stats": _NO_CPU,
            "precpu_stats": _NO_CPU,
            "memory_stats": {},
        }
    counters = sample.counters
    pids = {"current": counters.pids}
    if counters.pids_limit is not None:
        pids["limit"] = counters.pids_limit
    document: dict[str, Any] = head | {
        "read": sample.read_at,
        "preread": earlier.read_at if earlier is not None else NEVER,
        "pids_stats": pids,
        "blkio_stats": _blkio(counters),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(sample),
        "precpu_stats": _cpu(earlier) if earlier is not None else _NO_CPU,
        "memory_stats": _memory(counters, machine_bytes),
    }
    if sample.network:
        document["networks"] = sample.network
    return document
