"""kill -9 of daemon, launcher and shim under running containers: what goes on, what is told, what is left."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from onggi.errors import OnggiError
from onggi.runtime.launch import Launcher
from onggi.runtime.runtime import ExitStatus, Log, LogFile, Runtime, Started
from tests.conditions import DEADLINE_S, until
from tests.runtime import busybox_root, client, remove_cgroups, start

COUNT = "i=0; while :; do i=$((i+1)); echo $i; done"
"""Counts as fast as it can: a lost or doubled byte is a gap in the numbers."""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield busybox_root(tmp_path)
    left = remove_cgroups()
    assert processes(tmp_path) == []
    assert left == []


@asynccontextmanager
async def runtime(directory: Path) -> AsyncIterator[Runtime]:
    async with asyncio.timeout(DEADLINE_S), Runtime(directory / "run", spool_root=directory) as running:
        yield running
    until(lambda: not processes(directory))


def processes(directory: Path) -> list[str]:
    """Launchers and shims that serve this test's exec root."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if str(directory / "run").encode() in (entry / "cmdline").read_bytes():
                    found.append(f"{entry.name} {(entry / 'comm').read_text()}")
    return found


def parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def gone(pid: int) -> bool:
    """Ended, whether or not its new parent has noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Daemon:
    """A daemon with one container, in a process of its own."""

    def __init__(self, directory: Path, root: Path, *args: str) -> None:
        self.id = uuid.uuid4().hex
        self.log = directory / "log"
        ours, self.client = socket.socketpair()
        self.client.settimeout(DEADLINE_S)
        with ours:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.runtime_daemon", str(directory / "run"), str(root), str(self.log),
                 self.id, str(ours.fileno()), *args],
                stdout=subprocess.PIPE, pass_fds=[ours.fileno()], cwd=Path(__file__).parents[2], text=True,
            )  # fmt: skip
            assert self.process.stdout is not None
            self.facts = json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def numbers(log: Path) -> list[int]:
    found = []
    for line in log.read_bytes().splitlines():
        with suppress(ValueError):  # the container was killed within a line
            found.append(int(json.loads(line)["log"]))
    return found


def test_a_container_outlives_the_daemon(tmp_path: Path, root: Path) -> None:
    daemon = Daemon(tmp_path, root, "sh", "-c", COUNT)
    got = daemon.client.recv(1 << 20)
    daemon.kill()
    while len(got) < 200_000:
        got += daemon.client.recv(1 << 20)

    async def main() -> bytes:
        nonlocal got
        async with runtime(tmp_path) as running:
            assert running.known() == [daemon.id]
            found = await running.adopt(daemon.id)
            assert found == Started(daemon.facts["pid"], daemon.facts["start_time"])
            attachment, end = client(framed=False)
            await running.attach(daemon.id, attachment)
            assert await asyncio.to_thread(end.recv, 1 << 16)
            await running.signal(daemon.id, signal.SIGKILL)
            status = await running.wait(daemon.id)
            assert (status.code, status.lost) == (137, False)
            await running.forget(daemon.id)
            assert running.known() == []
            while part := await asyncio.to_thread(daemon.client.recv, 1 << 20):
                got += part
            end.close()
        return got

    got = asyncio.run(main())
    counted = numbers(daemon.log)
    assert counted == list(range(1, len(counted) + 1)), "the log has a gap"
    received = [int(line) for line in got.split(b"\n")[:-1]]
    assert received == list(range(1, len(received) + 1)), "the client missed something"
    assert abs(len(received) - len(counted)) <= 1
    daemon.client.close()


def test_an_end_while_there_is_no_daemon(tmp_path: Path, root: Path) -> None:
    daemon = Daemon(tmp_path, root, "sh", "-c", "read word; echo $word; exit 42")
    daemon.kill()
    daemon.client.sendall(b"bye\n")
    assert daemon.client.recv(100) == b"bye\n"
    assert daemon.client.recv(100) == b""
    until(lambda: gone(daemon.facts["pid"]) and not processes(tmp_path))

    async def main() -> None:
        async with runtime(tmp_path) as running:
            status = await running.adopt(daemon.id)
            assert isinstance(status, ExitStatus)
            assert (status.code, status.lost) == (42, False)
            assert await running.wait(daemon.id) == status
            await running.forget(daemon.id)
            assert await running.adopt(daemon.id) is None

    asyncio.run(main())
    assert [json.loads(line)["log"] for line in daemon.log.read_bytes().splitlines()] == ["bye\n"]
    daemon.client.close()


def test_daemon_and_shim_killed_together(tmp_path: Path, root: Path) -> None:
    daemon = Daemon(tmp_path, root, "sh", "-c", "sleep 1000 & sleep 1000")
    os.kill(parent_of(daemon.facts["pid"]), signal.SIGSTOP)  # it must not tell anybody
    shim = parent_of(daemon.facts["pid"])
    daemon.kill()
    os.kill(shim, signal.SIGKILL)

    async def main() -> None:
        async with runtime(tmp_path) as running:
            status = await running.adopt(daemon.id)
            assert isinstance(status, ExitStatus)
            assert (status.code, status.lost) == (137, True)
            await asyncio.to_thread(until, lambda: gone(daemon.facts["pid"]))
            await running.forget(daemon.id)

    asyncio.run(main())
    daemon.client.close()


def test_a_killed_shim_ends_its_container_and_no_other(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            first, second = start(root, "sh", "-c", "sleep 1000 & sleep 1000"), start(root, "sleep", "1000")
            pid = (await running.start(first)).pid
            await running.start(second)
            children = await running.pids(first.id)
            assert len(children) >= 1
            os.kill(parent_of(pid), signal.SIGKILL)
            status = await running.wait(first.id)
            assert (status.code, status.lost) == (137, True)
            await asyncio.to_thread(until, lambda: all(gone(child) for child in children))
            assert len(await running.pids(second.id)) == 1
            await running.forget(first.id)
            # The same container can be started again.
            await running.start(first)
            for order in (first, second):
                await running.signal(order.id, signal.SIGKILL)
                assert (await running.wait(order.id)).lost is False
                await running.forget(order.id)

    asyncio.run(main())


def test_a_killed_exec_shim_ends_its_process_only(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            order = start(root, "sleep", "1000")
            await running.start(order)
            assert order.spec.process is not None
            started = await running.exec(
                order.id, "exec", order.spec.process, terminal=False, open_stdin=False, attachments=[], note=b""
            )
            os.kill(parent_of(started.pid), signal.SIGKILL)
            status = await running.wait_exec("exec")
            assert (status.code, status.lost) == (137, True)
            await asyncio.to_thread(until, lambda: gone(started.pid))
            assert len(await running.pids(order.id)) == 1
            await running.signal(order.id, signal.SIGKILL)
            await running.wait(order.id)
            await running.forget(order.id)

    asyncio.run(main())


def test_a_killed_launcher_is_replaced(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            before = start(root, "sleep", "1000")
            await running.start(before)
            launcher = running.launcher_pid
            assert launcher is not None
            os.kill(launcher, signal.SIGKILL)
            # Idle shims of the old one may still take an order; then there are none.
            for _ in range(4):
                after = start(root, "true")
                await running.start(after)
                assert (await running.wait(after.id)).code == 0
                await running.forget(after.id)
            assert running.launcher_pid not in {None, launcher}
            await running.signal(before.id, signal.SIGKILL)
            assert (await running.wait(before.id)).code == 137
            await running.forget(before.id)

    asyncio.run(main())


def test_killed_idle_shims_are_replaced(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            launcher = running.launcher_pid
            for _ in range(3):
                children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
                for child in children:
                    with suppress(ProcessLookupError):
                        os.kill(int(child), signal.SIGKILL)
                order = start(root, "true")
                await running.start(order)
                assert (await running.wait(order.id)).code == 0
                await running.forget(order.id)
            assert running.launcher_pid == launcher

    asyncio.run(main())


@pytest.mark.parametrize("delay_ms", [0, 1, 2, 4, 8, 16, 32])
def test_a_launcher_killed_under_many_starts(tmp_path: Path, root: Path, delay_ms: int) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            orders = [start(root, "true", log=Log(LogFile(tmp_path / f"log-{number}"))) for number in range(20)]

            async def run(order: "object") -> int | None:
                try:
                    await running.start(order)  # type: ignore[arg-type]
                except OnggiError:
                    return None
                return (await running.wait(order.id)).code  # type: ignore[attr-defined]

            async def kill() -> None:
                await asyncio.sleep(delay_ms / 1000)
                if running.launcher_pid is not None:
                    os.kill(running.launcher_pid, signal.SIGKILL)

            codes, _ = await asyncio.gather(asyncio.gather(*(run(order) for order in orders)), kill())
            assert set(codes) <= {0, None}
            for order in orders:
                await running.forget(order.id)
            assert running.known() == []
            last = start(root, "true")
            await running.start(last)
            await running.wait(last.id)
            await running.forget(last.id)

    asyncio.run(main())


def test_an_order_that_is_read_after_its_container_was_given_up(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon is killed with an order on its way; the next one looks before any shim has read it."""

    async def main() -> None:
        async with runtime(tmp_path) as running:
            order = start(root, "sleep", "1000")
            given_up: list[object] = []
            hand_out = Launcher.order

            async def late(self: Launcher, *order_and_plan: object) -> None:
                given_up.append(await running.adopt(order.id))
                await hand_out(self, *order_and_plan)  # type: ignore[arg-type]

            with monkeypatch.context() as patch:
                patch.setattr(Launcher, "order", late)
                with pytest.raises(OnggiError):
                    await running.start(order)
            (status,) = given_up
            assert isinstance(status, ExitStatus)
            assert status.lost
            assert await running.adopt(order.id) is None
            assert running.known() == []
            await running.start(order)
            await running.signal(order.id, signal.SIGKILL)
            await running.wait(order.id)
            await running.forget(order.id)

    asyncio.run(main())


@pytest.mark.parametrize("written", [None, b"", b'{"ociVersion"'], ids=["nothing", "empty", "cut off"])
def test_what_was_being_written_when_the_engine_died_is_removed(tmp_path: Path, written: bytes | None) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            directory = tmp_path / "run/containers" / uuid.uuid4().hex
            directory.mkdir()
            if written is not None:
                (directory / "config.json").write_bytes(written)
            assert running.known() == [directory.name]
            assert await running.adopt(directory.name) is None
            assert running.known() == []

    asyncio.run(main())
