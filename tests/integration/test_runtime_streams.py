"""Standard streams, exit codes, signals and terminals of containers under a shim."""

import asyncio
import dataclasses
import hashlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from onggi.oci.spec import Process
from onggi.runtime.runtime import Log, LogFile, NotRunning, Runtime
from tests.runtime import busybox_root, client, remove_cgroups, start

DEADLINE_S = 60


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield busybox_root(tmp_path)
    assert remove_cgroups() == []


@asynccontextmanager
async def runtime(directory: Path, **options: object) -> AsyncIterator[Runtime]:
    exec_root = directory / "run"
    async with asyncio.timeout(DEADLINE_S), Runtime(exec_root, spool_root=directory, **options) as running:  # type: ignore[arg-type]
        yield running


async def read_all(end: socket.socket) -> bytes:
    def read() -> bytes:
        parts = []
        while part := end.recv(1 << 20):
            parts.append(part)
        return b"".join(parts)

    return await asyncio.to_thread(read)


async def read_until(end: socket.socket, wanted: bytes) -> bytes:
    def read() -> bytes:
        got = b""
        while wanted not in got:
            part = end.recv(65536)
            assert part, f"the end came after {got!r}"
            got += part
        return got

    return await asyncio.to_thread(read)


def unframed(data: bytes) -> dict[int, bytes]:
    streams = {1: b"", 2: b""}
    while data:
        size = int.from_bytes(data[4:8], "big")
        streams[data[0]] += data[8 : 8 + size]
        data = data[8 + size :]
    return streams


@pytest.mark.parametrize("code", [0, 1, 2, 42, 125, 126, 127, 128, 137, 254, 255])
def test_exit_codes(tmp_path: Path, root: Path, code: int) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            order = start(root, "sh", "-c", f"exit {code}")
            await running.start(order)
            status = await running.wait(order.id)
            assert (status.code, status.oom_killed, status.lost) == (code, False, False)
            assert await running.wait(order.id) == status
            await running.forget(order.id)
            await running.forget(order.id)
            assert running.known() == []

    asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_a_signal_ends_it(tmp_path: Path, root: Path, number: int) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            attachment, end = client()
            # Pid 1 of a namespace only gets the signals that it handles, and SIGKILL.
            script = f"trap 'exit {number + 128}' {number}; echo ready; while :; do sleep 0.01; done"
            order = start(root, "sh", "-c", script, attachments=[attachment])
            await running.start(order)
            await read_until(end, b"ready")
            await running.signal(order.id, number)
            assert (await running.wait(order.id)).code == 128 + number
            with pytest.raises(NotRunning, match=f"container {order.id} is not running"):
                await running.signal(order.id, number)
            await running.forget(order.id)

    asyncio.run(main())


def test_200_mb_through_stdin_and_stdout_byte_for_byte(tmp_path: Path, root: Path) -> None:
    size = 200 << 20
    block = os.urandom(1 << 20)

    async def main() -> None:
        async with runtime(tmp_path) as running:
            attachment, end = client(framed=False)
            order = start(root, "cat", attachments=[attachment], open_stdin=True, stdin_once=True)
            await running.start(order)

            def write() -> None:
                for _ in range(size // len(block)):
                    end.sendall(block)
                end.shutdown(socket.SHUT_WR)

            def read() -> tuple[int, str]:
                digest, total = hashlib.sha256(), 0
                while part := end.recv(1 << 20):
                    digest.update(part)
                    total += len(part)
                return total, digest.hexdigest()

            _, (total, digest) = await asyncio.gather(asyncio.to_thread(write), asyncio.to_thread(read))
            expected = hashlib.sha256()
            for _ in range(size // len(block)):
                expected.update(block)
            assert (total, digest) == (size, expected.hexdigest())
            assert (await running.wait(order.id)).code == 0
            await running.forget(order.id)

    asyncio.run(main())


def test_log_and_client_get_the_same(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            attachment, end = client()
            log = tmp_path / "log"
            order = start(
                root, "sh", "-c", "seq 1 20000; echo problem >&2", attachments=[attachment], log=Log(LogFile(log))
            )
            await running.start(order)
            streams = unframed(await read_all(end))
            assert streams[1] == b"".join(b"%d\n" % number for number in range(1, 20001))
            assert streams[2] == b"problem\n"
            await running.wait(order.id)
            assert log.read_bytes().count(b'","stream":"stdout"') == 20000
            assert b'{"log":"problem\\n","stream":"stderr"' in log.read_bytes()
            await running.forget(order.id)

    asyncio.run(main())


def test_without_a_client_nothing_is_lost_either(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            log = tmp_path / "log"
            order = start(root, "sh", "-c", "seq 1 100000", log=Log(LogFile(log)))
            await running.start(order)
            await running.wait(order.id)
            assert log.read_bytes().count(b"\n") == 100000, "the log is complete when the container has ended"
            await running.forget(order.id)

    asyncio.run(main())


def test_closed_stdin_reads_as_the_end(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            attachment, end = client(stdin=False)
            order = start(root, "sh", "-c", "cat; echo end", attachments=[attachment])
            await running.start(order)
            assert unframed(await read_all(end))[1] == b"end\n"
            await running.forget(order.id)

    asyncio.run(main())


def test_a_client_may_come_later(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            order = start(root, "cat", open_stdin=True)
            await running.start(order)
            for text in (b"first", b"second"):
                attachment, end = client(initial=b"HTTP/1.1 101 UPGRADED\r\n\r\n", received=text)
                await running.attach(order.id, attachment)
                assert attachment.connection.closed, "it is the shim's now"
                got = await read_until(end, text)
                assert got.startswith(b"HTTP/1.1 101 UPGRADED\r\n\r\n\1")
                end.close()
            await running.signal(order.id, signal.SIGKILL)
            await running.wait(order.id)
            attachment, end = client()
            with pytest.raises(NotRunning):
                await running.attach(order.id, attachment)
            assert not attachment.connection.closed, "the caller can still answer"
            attachment.connection.close()
            await running.forget(order.id)

    asyncio.run(main())


def test_the_mounts_go_with_the_end_though_a_client_reads_slowly(tmp_path: Path, root: Path) -> None:
    def holders(link: str) -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if os.readlink(entry) == link:
                    found.append(str(entry))
            except OSError:
                continue  # it has ended meanwhile
        return found

    async def main() -> None:
        async with runtime(tmp_path) as running:
            attachment, end = client()
            order = start(root, "sh", "-c", "read line; seq 1000000", open_stdin=True, attachments=[attachment])
            started = await running.start(order)
            mounts = os.readlink(f"/proc/{started.pid}/ns/mnt")
            end.sendall(b"go\n")
            assert (await running.wait(order.id)).code == 0
            await running.forget(order.id)
            assert await asyncio.to_thread(holders, mounts) == []
            streams = unframed(await read_all(end))
            assert streams[1].endswith(b"\n1000000\n"), "there was more for the shim to do"

    asyncio.run(main())


def test_terminal(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        left: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        async with runtime(tmp_path, detached=lambda *which: left.put_nowait(which)) as running:
            attachment, end = client(terminal=True, detach_keys=b"\x10\x11")
            order = start(root, "sh", terminal=True, open_stdin=True, attachments=[attachment], console_size=(33, 121))
            await running.start(order)
            end.sendall(b"tty; stty size; echo $((6*7))\n")
            got = await read_until(end, b"\r\n42\r\n")
            assert b"/dev/pts/0\r\n33 121\r\n" in got
            await running.resize(order.id, 50, 200)
            end.sendall(b"stty size; echo $((7*8))\n")
            assert b"50 200\r\n56\r\n" in await read_until(end, b"\r\n56\r\n")
            end.sendall(b"\x10\x11")
            await read_all(end)
            assert await left.get() == (order.id, "")
            attachment, end = client(terminal=True)
            await running.attach(order.id, attachment)
            end.sendall(b"exit 3\n")
            await read_all(end)
            assert (await running.wait(order.id)).code == 3
            await running.forget(order.id)

    asyncio.run(main())


def test_exec(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            order = start(root, "sleep", "1000")
            await running.start(order)
            assert order.spec.process is not None
            for code in (0, 7):
                attachment, end = client()
                process = _with_args(order.spec.process, "sh", "-c", f"cat; echo problem >&2; exit {code}")
                name = f"exec-{code}"
                await running.exec(
                    order.id, name, process, terminal=False, open_stdin=True, attachments=[attachment], note=b""
                )
                assert running.exec_status(name) is None
                end.sendall(b"text")
                end.shutdown(socket.SHUT_WR)
                streams = unframed(await read_all(end))
                assert streams == {1: b"text", 2: b"problem\n"}
                assert (await running.wait_exec(name)).code == code
                running.forget_exec(name)
            assert len(await running.pids(order.id)) == 1
            await running.signal(order.id, signal.SIGKILL)
            assert (await running.wait(order.id)).code == 137
            with pytest.raises(NotRunning):
                await running.exec(
                    order.id, "late", order.spec.process, terminal=False, open_stdin=False, attachments=[], note=b""
                )
            await running.forget(order.id)

    asyncio.run(main())


def test_exec_with_a_terminal(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            order = start(root, "sleep", "1000")
            await running.start(order)
            assert order.spec.process is not None
            attachment, end = client(terminal=True)
            await running.exec(
                order.id,
                "exec",
                _with_args(order.spec.process, "sh", terminal=True),
                terminal=True,
                open_stdin=True,
                attachments=[attachment],
                console_size=(20, 80),
                note=b"",
            )
            end.sendall(b"stty size; echo $((6*7))\n")
            assert b"20 80\r\n42\r\n" in await read_until(end, b"\r\n42\r\n")
            await running.resize_exec("exec", 21, 81)
            end.sendall(b"stty size; echo $((7*8)); exit 5\n")
            assert b"21 81\r\n56\r\n" in await read_until(end, b"\r\n56\r\n")
            assert (await running.wait_exec("exec")).code == 5
            await running.signal(order.id, signal.SIGKILL)
            await running.wait(order.id)
            await running.forget(order.id)

    asyncio.run(main())


def _with_args(process: Process, *args: str, terminal: bool = False) -> Process:
    return msgspec.structs.replace(process, args=list(args), terminal=terminal)


def test_a_plan_longer_than_a_packet(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            attachment, end = client()
            order = start(root, "sh", "-c", "echo ${#V7} ${#V299}", attachments=[attachment])
            assert order.spec.process is not None
            env = [*order.spec.process.env, *(f"V{number}={'x' * (1000 + number)}" for number in range(300))]
            process = msgspec.structs.replace(order.spec.process, env=env)
            spec = msgspec.structs.replace(order.spec, process=process)
            await running.start(dataclasses.replace(order, spec=spec))
            assert unframed(await read_all(end))[1] == b"1007 1299\n"
            await running.forget(order.id)

    asyncio.run(main())


def test_more_clients_than_descriptors_fit_into_a_message(tmp_path: Path, root: Path) -> None:
    async def main() -> None:
        async with runtime(tmp_path) as running:
            clients = [client(initial=b"head") for _ in range(300)]
            order = start(
                root, "cat", open_stdin=True, stdin_once=True, attachments=[attachment for attachment, _ in clients]
            )
            await running.start(order)
            for attachment, end in clients:
                assert attachment.connection.closed
                assert await read_until(end, b"head")
            clients[0][1].sendall(b"for all")
            for _, end in clients:
                assert await read_until(end, b"for all")
            clients[0][1].shutdown(socket.SHUT_WR)
            for _, end in clients:
                assert await read_all(end) == b""
            await running.wait(order.id)
            await running.forget(order.id)

    asyncio.run(main())
