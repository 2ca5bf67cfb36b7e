"""What a control group has used, in one vocabulary for v1 and v2. Only the daemon loads this module."""

import os

from onggi.linux.cgroup import Cgroup

_NS_PER_US = 1000
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_UNLIMITED = 1 << 62
"""v1 writes "no limit" as the largest multiple of the page size below 2**63."""


class Counters:
    """Read at one moment. Times in nanoseconds, sizes in bytes; 0 or empty where the kernel does not count."""

    __slots__ = (
        "block_bytes",
        "block_operations",
        "cpu_kernel_ns",
        "cpu_per_cpu_ns",
        "cpu_periods",
        "cpu_throttled_ns",
        "cpu_throttled_periods",
        "cpu_total_ns",
        "cpu_user_ns",
        "memory_failures",
        "memory_limit",
        "memory_peak",
        "memory_stat",
        "memory_usage",
        "pids",
        "pids_limit",
        "version",
    )

    def __init__(self, version: int) -> None:
        self.version = version
        """Of cgroups: names in `memory_stat` differ."""
        self.cpu_total_ns = 0
        self.cpu_user_ns = 0
        self.cpu_kernel_ns = 0
        self.cpu_per_cpu_ns: list[int] = []
        self.cpu_periods = 0
        self.cpu_throttled_periods = 0
        self.cpu_throttled_ns = 0
        self.memory_usage = 0
        self.memory_peak = 0
        self.memory_limit: int | None = None
        """None: no limit."""
        self.memory_failures = 0
        self.memory_stat: dict[str, int] = {}
        self.pids = 0
        self.pids_limit: int | None = None
        self.block_bytes: list[tuple[int, int, str, int]] = []
        """(major, minor, operation: `Read`, `Write` …, bytes)."""
        self.block_operations: list[tuple[int, int, str, int]] = []


def read(group: Cgroup) -> Counters:
    """The group's counters. Raises FileNotFoundError when it does not exist."""
    if not group.exists():
        raise FileNotFoundError(2, os.strerror(2), group.path)
    counters = Counters(group.hierarchies.version)
    (_read_v1 if counters.version == 1 else _read_v2)(group, counters)
    counters.pids = _number(group.read("pids", "pids.current")) or 0
    counters.pids_limit = _number(group.read("pids", "pids.max"))
    return counters


def read_links(pid: int) -> "dict[str, dict[str, int]]":
    """What each link of a process's network namespace has carried, but for loopback. Empty if the process has gone."""
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii", errors="replace") as file:
            return parse_net_dev(file.read())
    except (FileNotFoundError, ProcessLookupError):
        return {}


def parse_net_dev(text: str) -> "dict[str, dict[str, int]]":
    """The table of /proc/net/dev (proc(5)), after its two lines of headings."""
    links: dict[str, dict[str, int]] = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(numbers) >= 12:
            links[name.strip()] = {
                "rx_bytes": numbers[0],
                "rx_packets": numbers[1],
                "rx_errors": numbers[2],
                "rx_dropped": numbers[3],
                "tx_bytes": numbers[8],
                "tx_packets": numbers[9],
                "tx_errors": numbers[10],
                "tx_dropped": numbers[11],
            }
    return links


def _read_v1(group: Cgroup, counters: Counters) -> None:
    counters.cpu_total_ns = _number(group.read("cpuacct", "cpuacct.usage")) or 0
    counters.cpu_per_cpu_ns = [int(word) for word in group.read("cpuacct", "cpuacct.usage_percpu").split()]
    times = _pairs(group.read("cpuacct", "cpuacct.stat"))
    counters.cpu_user_ns = times.get("user", 0) * _NS_PER_TICK
    counters.cpu_kernel_ns = times.get("system", 0) * _NS_PER_TICK
    throttling = _pairs(group.read("cpu", "cpu.stat"))
    counters.cpu_periods = throttling.get("nr_periods", 0)
    counters.cpu_throttled_periods = throttling.get("nr_throttled", 0)
    counters.cpu_throttled_ns = throttling.get("throttled_time", 0)
    counters.memory_usage = _number(group.read("memory", "memory.usage_in_bytes")) or 0
    counters.memory_peak = _number(group.read("memory", "memory.max_usage_in_bytes")) or 0
    limit = _number(group.read("memory", "memory.limit_in_bytes"))
    counters.memory_limit = None if limit is None or limit >= _UNLIMITED else limit
    counters.memory_failures = _number(group.read("memory", "memory.failcnt")) or 0
    counters.memory_stat = _pairs(group.read("memory", "memory.stat"))
    for suffix, into in (("service_bytes", counters.block_bytes), ("serviced", counters.block_operations)):
        for scheduler in ("bfq", "throttle"):
            into += _devices(group.read("blkio", f"blkio.{scheduler}.io_{suffix}_recursive"))
            if into:
                break


def _read_v2(group: Cgroup, counters: Counters) -> None:
    cpu = _pairs(group.read("cpu", "cpu.stat"))
    counters.cpu_total_ns = cpu.get("usage_usec", 0) * _NS_PER_US
    counters.cpu_user_ns = cpu.get("user_usec", 0) * _NS_PER_US
    counters.cpu_kernel_ns = cpu.get("system_usec", 0) * _NS_PER_US
    counters.cpu_periods = cpu.get("nr_periods", 0)
    counters.cpu_throttled_periods = cpu.get("nr_throttled", 0)
    counters.cpu_throttled_ns = cpu.get("throttled_usec", 0) * _NS_PER_US
    counters.memory_usage = _number(group.read("memory", "memory.current")) or 0
    counters.memory_peak = _number(group.read("memory", "memory.peak")) or 0
    counters.memory_limit = _number(group.read("memory", "memory.max"))
    counters.memory_failures = _pairs(group.read("memory", "memory.events")).get("max", 0)
    counters.memory_stat = _pairs(group.read("memory", "memory.stat"))
    names = {"rbytes": "Read", "wbytes": "Write", "dbytes": "Discard", "rios": "Read", "wios": "Write"}
    for line in group.read("io", "io.stat").splitlines():
        device, *fields = line.split()
        major, _, minor = device.partition(":")
        for key, _, value in (field.partition("=") for field in fields):
            if key in names:
                into = counters.block_bytes if key.endswith("bytes") else counters.block_operations
                into.append((int(major), int(minor), names[key], int(value)))


def _number(text: str) -> "int | None":
    word = text.strip()
    return int(word) if word.isdigit() else None


def _pairs(text: str) -> "dict[str, int]":
    return {key: int(value) for key, _, value in (line.partition(" ") for line in text.splitlines()) if value}


def _devices(text: str) -> "list[tuple[int, int, str, int]]":
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:  # the last line is a total of two words
            major, _, minor = words[0].partition(":")
            found.append((int(major), int(minor), words[1], int(words[2])))
    return found
