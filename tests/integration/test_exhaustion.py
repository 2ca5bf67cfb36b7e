"""A disk without a free block and an engine without a free descriptor: refused in words, nothing lost, all well afterwards."""

import os
import resource
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import Engine, census, state
from tests.images import busybox_archive


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Engine]:
    """An engine whose data root is a file system of 48 MiB."""
    disk = tmp_path / "data"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,nr_inodes=4000", "small", str(disk)], check=True)
    try:
        archive = tmp_path / "busybox.tar"
        busybox_archive(archive, name="busybox:latest")
        with Engine(tmp_path, number=7) as engine:
            engine.docker("load", "-i", str(archive), check=True)
            yield engine
        assert [line for line in census(engine) if not line.startswith("mount ")] == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(directory: Path) -> Path:
    """A file that takes every block that is left."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as file:
        piece = bytes(1 << 20)
        while piece:
            try:
                file.write(piece)
            except OSError:
                piece = piece[: len(piece) // 2]
    return path


def use_inodes(directory: Path) -> Path:
    """A directory whose files take every inode that is left."""
    path = directory / "many"
    path.mkdir()
    try:
        for number in range(10_000):
            (path / str(number)).touch()
    except OSError:
        return path
    raise AssertionError("there were inodes without end")


def empty(path: Path) -> None:
    if path.is_dir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    else:
        path.unlink()


@pytest.mark.parametrize("exhaust", [fill, use_inodes], ids=["blocks", "inodes"])
def test_a_full_disk(small: Engine, exhaust: object) -> None:
    assert callable(exhaust)
    chatter = "while :; do echo 0123456789012345678901234567890123456789; sleep 0.01; done"
    small.docker("run", "-d", "--name", "talks", "--stop-signal", "KILL", "busybox", "sh", "-c", chatter, check=True)
    small.docker("run", "-d", "--name", "sleeps", "--stop-signal", "KILL", "busybox", "sleep", "1000000", check=True)
    small.docker("create", "--name", "waits", "busybox", "true", check=True)
    until(lambda: small.docker("logs", "talks").stdout != "", "it talks")
    full = exhaust(small.data_root)

    refused = small.docker("create", "--name", "new", "busybox", "true")
    assert refused.returncode == 1
    assert "no space left on device" in refused.stderr.lower() or "database or disk is full" in refused.stderr, (
        refused.stderr
    )
    assert small.docker("inspect", "new").returncode == 1, "nothing of it is there"
    assert small.docker("logs", "talks").returncode == 0
    assert small.docker("ps", "-q", check=True).stdout.count("\n") == 2
    assert small.docker("exec", "sleeps", "true").returncode == 0
    # What ends does so, and says so, whether or not that can be written down now.
    small.docker("stop", "talks")
    assert small.docker("wait", "talks").stdout == "137\n"
    assert state(small, "talks")["Status"] == "exited"
    small.docker("start", "waits")
    removed = small.docker("rm", "-f", "sleeps")
    if removed.returncode:
        assert "full" in removed.stderr or "no space left" in removed.stderr.lower(), removed.stderr

    empty(full)
    for name in ("talks", "waits", "sleeps"):
        small.docker("rm", "-f", name, check=True)
    assert small.docker("run", "--rm", "busybox", "echo", "well", check=True).stdout == "well\n"
    assert small.docker("ps", "-aq", check=True).stdout == ""
    small.kill()
    with closing(sqlite3.connect(small.data_root / "state.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    small.start()
    assert small.docker("run", "--rm", "busybox", "echo", "again", check=True).stdout == "again\n"


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def test_an_engine_without_descriptors_waits_and_recovers(own_engine: Engine) -> None:
    own_engine.docker(
        "run", "-d", "--name", "stays", "--stop-signal", "KILL", "busybox", "sleep", "1000000", check=True
    )
    pid = own_engine.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, before[1]))
    clients = []
    try:
        for _ in range(100):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(10)
            client.connect(str(own_engine.socket))
            clients.append(client)
        until(lambda: len(list(Path(f"/proc/{pid}/fd").iterdir())) >= used + 19, "it has no descriptor left")
        spent, begun = cpu_s(pid), time.monotonic()
        time.sleep(3)  # nothing may happen now: that is what is measured
        assert cpu_s(pid) - spent < 0.3 * (time.monotonic() - begun), "it does not spin"
    finally:
        for client in clients:
            client.close()
    # With the limit still there: what was taken is free again.
    until(lambda: own_engine.docker("run", "--rm", "busybox", "echo", "well").stdout == "well\n", "it serves again")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert state(own_engine, "stays")["Status"] == "running"
    own_engine.docker("rm", "-f", "stays", check=True)
    assert "Too many open files" in own_engine.log.read_text() or "too many open files" in own_engine.log.read_text()
    own_engine.docker("run", "--rm", "busybox", "true", check=True)
