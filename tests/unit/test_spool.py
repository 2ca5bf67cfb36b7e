"""What waits for a slow reader."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.runtime import spool
from onggi.runtime.spool import Spool


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def opened() -> set[str]:
    """The names of our descriptors, unlinked files with their inode."""
    names = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            names.add(os.readlink(f"/proc/self/fd/{number}"))
    return names


def drain(waiting: Spool, ours: socket.socket, theirs: socket.socket) -> bytes:
    read = bytearray()
    while True:
        try:
            waiting.send(ours.fileno())
        except BlockingIOError:
            pass
        try:
            read += theirs.recv(1 << 20)
        except BlockingIOError:
            assert not waiting
            return bytes(read)


def test_the_order_of_the_bytes_holds(tmp_path: Path, ends: tuple[socket.socket, socket.socket]) -> None:
    waiting = Spool(str(tmp_path))
    wrote = bytearray()
    for round in range(3):
        for number in range(300):
            data = b"%d %d " % (round, number) + os.urandom(30_000)
            wrote += data
            waiting.put(data)
        assert not waiting.full
        if round == 1:
            with pytest.raises(BlockingIOError):
                waiting.send(ends[0].fileno())
    assert drain(waiting, *ends) == wrote
    waiting.close()


def test_memory_is_bounded_and_the_files_have_no_names(
    tmp_path: Path, ends: tuple[socket.socket, socket.socket]
) -> None:
    before = opened()
    waiting = Spool(str(tmp_path))
    for _ in range(100):
        waiting.put(bytes(1 << 20))
    files = [name for name in (opened() - before) if str(tmp_path) in name]
    assert len(files) == -(-99 * (1 << 20) // spool.SEGMENT_BYTES)
    assert list(tmp_path.iterdir()) == []
    assert len(drain(waiting, *ends)) == 100 << 20
    assert opened() == before
    waiting.close()


def test_full_until_the_reader_has_taken_something(
    tmp_path: Path, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "DISK_BYTES", 2 << 20)
    waiting = Spool(str(tmp_path))
    for _ in range(3):
        assert not waiting.full
        waiting.put(bytes(1 << 20))
    assert waiting.full
    assert len(drain(waiting, *ends)) == 3 << 20
    assert not waiting.full
    waiting.close()


def test_without_a_disk_the_program_waits_and_nothing_is_lost(ends: tuple[socket.socket, socket.socket]) -> None:
    waiting = Spool("/proc/self/nowhere")
    wrote = [bytes([number]) * (1 << 19) for number in range(4)]
    for data in wrote:
        waiting.put(data)
    assert waiting.full
    assert drain(waiting, *ends) == b"".join(wrote)
    assert not waiting.full
    waiting.close()
