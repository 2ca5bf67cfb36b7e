"""One file of a log, read from front to back in whole records: plain, or gzip as `onggi.runtime.logs.compression` or
Docker writes it.

While it is open it holds a shared lock: the shim keeps it, and what is newer, as long as it can (see
`onggi.runtime.logs.rotation`).
"""

import errno
import fcntl
import os
import zlib
from dataclasses import dataclass
from typing import Self

import msgspec

from onggi.engine.log_files.entry import LONGEST_RECORD_BYTES, Format, nanoseconds
from onggi.linux.fd import Fd

BLOCK_BYTES = 64 * 1024
GZIP = ".gz"
_HEADER_BYTES = 10
_EXTRA_FLAG = 4
_LOCK_TRIES = 100
_WINDOW = zlib.MAX_WBITS + 16  # a gzip header and trailer are expected


@dataclass(frozen=True, slots=True)
class Original:
    """What names a finished file beside its inode's number, which may be given to another once it is deleted."""

    inode: int
    size: int
    mtime_ns: int


class _Header(msgspec.Struct):
    """The extra field of a compressed file's header."""

    lastTime: str = ""
    inode: int = 0
    size: int = 0
    mtime_ns: int = 0


class LogFile:
    """A plain file. `close` ends the duty; `skipped` records at its beginning are not read."""

    def __init__(self, fd: Fd, format: Format) -> None:
        self._fd = fd
        self._format = format
        self._rest = b""
        self.offset = 0
        self.inode = os.fstat(fd.fileno()).st_ino
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(fd.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                os.sched_yield()  # the shim is just looking whether anybody reads it

    def close(self) -> None:
        self._fd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def deleted(self) -> bool:
        return os.fstat(self._fd.fileno()).st_nlink == 0

    def original(self) -> Original:
        """What a compressed copy says that it was made of."""
        stat = os.fstat(self._fd.fileno())
        return Original(stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def last_written_ns(self) -> int:
        """No record is younger than this."""
        return os.fstat(self._fd.fileno()).st_mtime_ns

    def read(self, *, cached: bool = False) -> bytes | None:
        """The next whole records, at most about a block; b"" at the present end of the file.

        `cached`: read from memory only. None: the kernel would have to fetch it from the disk; read without `cached`,
        in a thread.
        """
        while block := self._read_block(cached=cached):
            self.offset += len(block)
            data = self._rest + block if self._rest else block
            cut = self._format.whole(data)
            self._rest = data[cut:]
            if cut:
                return data[:cut]
            if len(self._rest) > LONGEST_RECORD_BYTES:
                self._rest = b""  # its end will not decode and is left out
        return block

    def _read_block(self, *, cached: bool) -> bytes | None:
        if not cached:
            return os.pread(self._fd.fileno(), BLOCK_BYTES, self.offset)
        buffer = bytearray(BLOCK_BYTES)
        try:
            count = os.preadv(self._fd.fileno(), [buffer], self.offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                return None  # not in memory, or a file system that cannot tell
            raise
        return bytes(memoryview(buffer)[:count])

    def seek_last(self, count: int) -> int:
        """Go to where the last `count` records begin; returns how many there are (fewer in a short file)."""
        size = os.fstat(self._fd.fileno()).st_size
        self.offset, found = self._format.last(self._fd.fileno(), size, count)
        return found

    def seek_time(self, time_ns: int) -> None:
        """Go to a record at or shortly before the first that is not older than `time_ns`."""
        size = os.fstat(self._fd.fileno()).st_size
        self.offset = self._format.since(self._fd.fileno(), size, time_ns)


class CompressedFile(LogFile):
    """A gzip file. It is never all in memory."""

    def __init__(self, fd: Fd, format: Format) -> None:
        super().__init__(fd, format)
        self._header = _header(fd)
        self._skip = 0
        self._begin()

    def _begin(self) -> None:
        self._inflate = zlib.decompressobj(_WINDOW)
        self._rest = b""
        self.offset = 0
        self._packed = 0

    def original(self) -> Original:
        return Original(self._header.inode, self._header.size, self._header.mtime_ns)

    def last_written_ns(self) -> int:
        return nanoseconds(self._header.lastTime) or os.fstat(self._fd.fileno()).st_mtime_ns

    def read(self, *, cached: bool = False) -> bytes | None:
        if cached:
            return None  # it is work, whether in memory or not
        while data := super().read():
            if not self._skip:
                return data
            count = self._format.count(data)
            if count > self._skip:
                begin, self._skip = self._format.skip(data, self._skip), 0
                return data[begin:]
            self._skip -= count
        return b""

    def _read_block(self, *, cached: bool) -> bytes:
        try:
            while not self._inflate.eof:
                if out := self._inflate.decompress(self._inflate.unconsumed_tail, BLOCK_BYTES):
                    return out
                packed = os.pread(self._fd.fileno(), BLOCK_BYTES, self._packed)
                if not packed:
                    return b""
                self._packed += len(packed)
                if out := self._inflate.decompress(packed, BLOCK_BYTES):
                    return out
        except zlib.error:
            pass  # damaged: what was read till here is all there is
        return b""

    def seek_last(self, count: int) -> int:
        total = 0
        while data := self.read():
            total += self._format.count(data)
        self._begin()
        self._skip = max(0, total - count)
        return min(total, count)

    def seek_time(self, time_ns: int) -> None:
        """From its beginning: whoever wants only younger records leaves them out."""


def _header(fd: Fd) -> _Header:
    head = os.pread(fd.fileno(), 4096, 0)
    if len(head) < _HEADER_BYTES + 2 or not head[3] & _EXTRA_FLAG:
        return _Header()
    length = int.from_bytes(head[_HEADER_BYTES : _HEADER_BYTES + 2], "little")
    try:
        return msgspec.json.decode(head[_HEADER_BYTES + 2 : _HEADER_BYTES + 2 + length], type=_Header)
    except msgspec.MsgspecError:
        return _Header()
