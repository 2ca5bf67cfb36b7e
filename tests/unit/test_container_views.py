"""What is shown of a container: top, stats, diff; pure parts."""

from types import SimpleNamespace
from typing import Any

import pytest

from onggi.engine.copy_worker import absolute, go_mode, shown_name
from onggi.engine.diff import without_mount_points
from onggi.engine.stats import _document, _Sample
from onggi.engine.top import parse
from onggi.errors import System
from onggi.images.changes import Change, Kind
from onggi.linux.counters import Counters, parse_net_dev

PS = """UID          PID    PPID  C STIME TTY          TIME CMD
root           1       0  0 00:12 ?        00:00:01 /sbin/init
root        3878    3854  0 00:31 ?        00:00:00 sh -c i=0;  while true
root       25540    3878  0 00:46 ?        00:00:00 sleep 1
"""


def test_top_shows_the_containers_processes_alone() -> None:
    titles, processes = parse(PS, {"3878", "25540"})
    assert titles == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert [row[1] for row in processes] == ["3878", "25540"]
    assert processes[0][-1] == "sh -c i=0;  while true"
    threads = "PID LWP CMD\n10 - a\n- 10 -\n11 - b\n- 11 -\n"
    assert parse(threads, {"11"})[1] == [["11", "-", "b"], ["-", "11", "-"]]
    with pytest.raises(System, match="Couldn't find PID field in ps output"):
        parse("CMD\nx\n", {"1"})


NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0:    2560      50    1    2    0     0          0         0      126       3    4    5    0     0       0          0
"""


def test_network_counters() -> None:
    assert parse_net_dev(NET_DEV) == {
        "eth0": {
            "rx_bytes": 2560, "rx_packets": 50, "rx_errors": 1, "rx_dropped": 2,
            "tx_bytes": 126, "tx_packets": 3, "tx_errors": 4, "tx_dropped": 5,
        }
    }  # fmt: skip


def _sample(version: int) -> _Sample:
    counters = Counters(version)
    counters.cpu_total_ns, counters.cpu_user_ns, counters.cpu_kernel_ns = 100, 60, 40
    counters.memory_usage, counters.memory_peak, counters.memory_limit = 1000, 2000, None
    counters.memory_stat = {"inactive_file": 10}
    counters.pids, counters.pids_limit = 3, 50
    counters.block_bytes = [(8, 0, "Read", 512)]
    if version == 1:
        counters.cpu_per_cpu_ns = [70, 30]
    return _Sample(counters, {})


CONTAINER: Any = SimpleNamespace(name="web", id="c" * 64)


@pytest.mark.parametrize("version", [1, 2])
def test_stats_in_docker_s_words(version: int) -> None:
    shown: Any = _document(CONTAINER, _sample(version), _sample(version), 5000)
    assert list(shown) == [
        "name", "id", "read", "preread", "pids_stats", "blkio_stats", "num_procs", "storage_stats", "cpu_stats",
        "precpu_stats", "memory_stats",
    ]  # fmt: skip
    assert shown["name"] == "/web"
    assert shown["pids_stats"] == {"current": 3, "limit": 50}
    assert shown["memory_stats"]["limit"] == 5000
    assert ("max_usage" in shown["memory_stats"]) is (version == 1)
    assert ("percpu_usage" in shown["cpu_stats"]["cpu_usage"]) is (version == 1)
    operation = "Read" if version == 1 else "read"
    assert shown["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": operation, "value": 512}
    ]
    assert shown["blkio_stats"]["io_queue_recursive"] == ([] if version == 1 else None)


def test_stats_of_what_does_not_run_are_zeros() -> None:
    shown: Any = _document(CONTAINER, None, None, 5000)
    assert shown["read"] == "0001-01-01T00:00:00Z"
    assert shown["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert shown["memory_stats"] == {}


def test_diff_without_mount_points() -> None:
    points = {b"/etc", b"/etc/hosts", b"/proc", b"/data", b"/data/inner"}
    made = [
        Change(b"/data", Kind.ADDED), Change(b"/data/inner", Kind.ADDED), Change(b"/etc", Kind.MODIFIED),
        Change(b"/etc/hosts", Kind.ADDED), Change(b"/proc", Kind.ADDED), Change(b"/tmp", Kind.MODIFIED),
    ]  # fmt: skip
    assert without_mount_points(made, points) == [Change(b"/tmp", Kind.MODIFIED)]
    mine = [*made, Change(b"/etc/mine", Kind.ADDED), Change(b"/data/mine", Kind.ADDED)]
    assert [change.path for change in without_mount_points(mine, points)] == [
        b"/data", b"/etc", b"/tmp", b"/etc/mine", b"/data/mine",
    ]  # fmt: skip


def test_paths_of_archives() -> None:
    assert absolute("a/b") == "/a/b"
    assert absolute("/a/../b/./c//d") == "/b/c/d"
    assert absolute("/../../a/") == "/a/"
    assert absolute("/a/.") == "/a/."
    assert absolute("/a/..") == "/"
    assert absolute("") == "/"
    assert [shown_name(path) for path in ("/a/b", "/a/b/", "/a/b/.", "/")] == ["b", "b", ".", "/"]


def test_modes_are_go_s() -> None:
    assert go_mode(0o100644) == 0o644
    assert go_mode(0o040755) == 1 << 31 | 0o755
    assert go_mode(0o120777) == 1 << 27 | 0o777
    assert go_mode(0o020666) == 1 << 26 | 1 << 21 | 0o666
    assert go_mode(0o104755) == 1 << 23 | 0o755
    assert go_mode(0o041777) == 1 << 31 | 1 << 20 | 0o777
