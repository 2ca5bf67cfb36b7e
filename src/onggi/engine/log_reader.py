"""Docker's json-file log as it lies on disk: the lines of a file, its last N, and the way from file to file.

    <path>      written to; <path>.1 the one before it, …, <path>.<n> the oldest
    {"log":"text\\n","stream":"stdout","time":"2026-12-01T00:00:00.5Z","attrs":{…}}   one entry a line

A rotation renames every file to the next number, oldest first, and begins a new <path>. Readers hold files open, so a
rotation never takes one away while it is read; `successor` finds what came after it. Nothing here waits.
"""

import errno
import os
from calendar import timegm
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from onggi.linux.fd import Fd

BLOCK_BYTES = 64 * 1024
LONGEST_ENTRY_BYTES = 1024 * 1024
"""A shim cuts a line into entries of 16 KiB; what is longer than this without a newline is damage, not an entry."""
MOST_FILES = 1000


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line of the log, or a part of a line longer than 16 KiB (then `log` has no newline at its end)."""

    log: str
    stream: str = ""
    time: str = ""
    attrs: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(Entry)


def entries(lines: bytes) -> Sequence[Entry]:
    """The entries of whole lines. A damaged line (a power cut leaves zeros) is left out."""
    try:
        return _decoder.decode_lines(lines)
    except msgspec.MsgspecError:
        return list(_undamaged(lines))


def _undamaged(lines: bytes) -> Iterator[Entry]:
    for line in lines.split(b"\n"):
        try:
            yield _decoder.decode(line)
        except msgspec.MsgspecError:
            continue


_seconds: tuple[str, int] = ("", 0)


def nanoseconds(time: str) -> int:
    """An entry's time (RFC 3339 in UTC, up to nine digits of fraction) as nanoseconds since 1970; 0 if it is none."""
    global _seconds  # neighbours mostly share their second
    second = time[:19]
    if second != _seconds[0]:
        try:
            date = (
                int(time[:4]),
                int(time[5:7]),
                int(time[8:10]),
                int(time[11:13]),
                int(time[14:16]),
                int(time[17:19]),
            )
            _seconds = (second, timegm(date))
        except ValueError:
            return 0
    fraction = time[20:-1] if time[19:20] == "." else ""
    return _seconds[1] * 1_000_000_000 + (int(fraction[:9].ljust(9, "0")) if fraction.isdigit() else 0)


def fixed_time(time: str) -> str:
    """The time with all nine digits of its fraction, as `logs --timestamps` prints it."""
    if len(time) == 30:
        return time
    return f"{time[:19]}.{time[20:-1].ljust(9, '0')}Z"


class LogFile:
    """One file of the log, read from front to back in whole lines."""

    __slots__ = ("_rest", "fd", "offset")

    def __init__(self, fd: Fd) -> None:
        self.fd = fd
        self.offset = 0
        self._rest = b""

    def read(self, *, cached: bool = False) -> bytes | None:
        """The next whole lines, at most about a block; b"" at the present end of the file.

        `cached`: read from memory only. None: the kernel would have to fetch it from the disk; read without `cached`,
        in a thread.
        """
        while block := self._read_block(cached=cached):
            self.offset += len(block)
            cut = block.rfind(b"\n") + 1
            if cut:
                lines = self._rest + block[:cut]
                self._rest = block[cut:]
                return lines
            self._rest += block
            if len(self._rest) > LONGEST_ENTRY_BYTES:
                self._rest = b""  # its end, up to the next newline, will not decode and is left out
        return block

    def _read_block(self, *, cached: bool) -> bytes | None:
        if not cached:
            return os.pread(self.fd.fileno(), BLOCK_BYTES, self.offset)
        buffer = bytearray(BLOCK_BYTES)
        try:
            count = os.preadv(self.fd.fileno(), [buffer], self.offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                return None  # not in memory, or a file system that cannot tell
            raise
        return bytes(memoryview(buffer)[:count])

    def seek_last(self, count: int) -> int:
        """Go to where the last `count` whole lines begin; returns how many there are (fewer in a short file)."""
        end = os.fstat(self.fd.fileno()).st_size
        found = -1  # the newline that ends the last line begins none
        position = end
        while position > 0:
            start = max(0, position - BLOCK_BYTES)
            block = os.pread(self.fd.fileno(), position - start, start)
            newlines = block.count(b"\n")
            if found + newlines >= count:
                cut = len(block)
                for _ in range(count - found):
                    cut = block.rfind(b"\n", 0, cut)
                self.offset = start + cut + 1
                return count
            found += newlines
            position = start
        self.offset = 0
        return found + 1


def open_files(path: Path) -> list[LogFile]:
    """Every file of the log, oldest first. None is missing but those already deleted."""
    files: list[LogFile] = []
    seen: set[int] = set()
    # The newest first: what a rotation renames meanwhile turns up again under the next number, and is known by then.
    missing = 0
    for number in range(MOST_FILES):
        fd = _open(path, number)
        if fd is None:
            missing += 1
            if missing == 2:  # one gap there is in the middle of a rotation
                break
            continue
        missing = 0
        inode = os.fstat(fd.fileno()).st_ino
        if inode in seen:
            fd.close()
            continue
        seen.add(inode)
        files.append(LogFile(fd))
    files.reverse()
    return files


def successor(path: Path, file: LogFile) -> LogFile | None:
    """The file begun when `file` was put aside; None while `file` is written to, or in the middle of a rotation.

    Where rotations have deleted `file` and what followed it, the oldest file left.
    """
    own = os.fstat(file.fd.fileno()).st_ino
    for number in range(MOST_FILES):
        inode = _inode(path, number)
        if inode == own:
            if number == 0:
                return None
            fd = _open(path, number - 1)
            if fd is None:
                return None
            if _inode(path, number) == own:
                return LogFile(fd)
            fd.close()  # renamed between the two looks
            return None
        if inode is None and number:
            break
    left = open_files(path)
    for newer in left[1:]:
        newer.fd.close()
    return left[0] if left else None


def last_lines(files: Sequence[LogFile], count: int) -> Sequence[LogFile]:
    """Set the files (oldest first) to where the log's last `count` lines begin; returns those that hold some.

    The newest file is always among them, so that a follower can go on from it. Closes the others.
    """
    for index in range(len(files) - 1, -1, -1):
        count -= files[index].seek_last(count)
        if count <= 0:
            for older in files[:index]:
                older.fd.close()
            return files[index:]
    return files


def _name(path: Path, number: int) -> str:
    return f"{path}.{number}" if number else str(path)


def _open(path: Path, number: int) -> Fd | None:
    try:
        return Fd(os.open(_name(path, number), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
    except FileNotFoundError:
        return None


def _inode(path: Path, number: int) -> int | None:
    try:
        return os.stat(_name(path, number), follow_symlinks=False).st_ino
    except FileNotFoundError:
        return None
