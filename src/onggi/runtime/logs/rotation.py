"""The files of one log: the one written to and those put aside, for every format. Written by the shim alone.

    <path>       written to
    <path>.1     put aside last, … <path>.<n> the oldest; <path>.<n>.gz where it has been compressed

When <path> has reached `max_size_bytes` before a record, each file gets the next number and an empty one is begun;
`max_files` stay in all. A record never spans two files. All are 0640.

A reader holds a shared flock(2) on the file it reads. While it does, that file and all newer ones stay, beyond
`max_files`, up to `HELD_BYTES` and `HELD_FILES`: a slow reader neither loses a record nor fills the disk.

A compressed file says in its gzip header (the extra field, JSON, as Docker's) which file it was made of:
`{"lastTime": …, "inode": …, "size": …, "mtime_ns": …}`. A reader that holds the original open goes on from there.

When the disk refuses a write, the records that did not fit are lost and counted, and the container goes on.
"""

import fcntl
import os
import sys

from onggi.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HELD_BYTES = 256 << 20
HELD_FILES = 200
SUFFIXES = ("", ".gz")
_MODE = 0o640
_SIGKILL = 9
_POLITE = 10
"""The compressor's nice value: it must not take the processor from the container."""


class RotatingFile:
    """`append` whole records; `close` ends the duty."""

    __slots__ = ("_compress", "_compressed", "_compressor", "_descriptor", "_files", "_limit", "_path", "_size", "lost")

    def __init__(self, path: str, max_size_bytes: "int | None", max_files: int, *, compress: bool = False) -> None:
        """`max_size_bytes` None: one file, growing without end. Raises OSError."""
        self._path = path
        self._limit = max_size_bytes
        self._files = max_files
        self._compress = compress
        self._compressor = 0
        """The process that compresses; 0: none."""
        self._compressed: "tuple[int, int] | None" = None
        """What it reads and what it writes; the latter has no name yet."""
        self.lost = 0
        """Bytes of records that the disk refused."""
        self._descriptor = -1
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, _MODE)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def close(self) -> None:
        if self._compressor:
            # The next rotation, after a restart of the container, does it again.
            os.kill(self._compressor, _SIGKILL)
            os.waitpid(self._compressor, 0)
            self._forget_compressor()
        os.close(self._descriptor)

    def append(self, records: bytes, first_end: "Callable[[bytes, int], int]") -> None:
        """Write records, which may be many. `first_end(records, size)`: where the first record ends that does not end
        before `size` bytes."""
        while self._limit is not None and self._size + len(records) > self._limit:
            # Docker puts the file aside before the first record that finds it full.
            room = self._limit - self._size
            end = first_end(records, room) if room > 0 else 0
            if end:
                self._write(records[:end])
                records = records[end:]
            if not records:
                return
            if not self._rotate():
                break
        self._write(records)

    def clear(self) -> None:
        """Delete every record. Raises OSError."""
        delete(self._path)
        self._open()

    def _write(self, records: bytes) -> None:
        written = 0
        try:
            while written < len(records):
                written += os.write(self._descriptor, records[written:] if written else records)
        except OSError:
            # No space, no quota, a failing disk: the program must not stop for its log. No half record may stay, or
            # the next one would be unreadable with it.
            self.lost += len(records)
            try:
                os.ftruncate(self._descriptor, self._size)
            except OSError:
                pass  # a device, or worse; the reader leaves out what it can't read
            return
        self._size += written

    # Rotation

    def _rotate(self) -> bool:
        """Begin an empty file. False when the disk refuses; then the present one goes on."""
        try:
            kept = self._make_room([(0, ""), *_aside(self._path)])
            for number, suffix in reversed(kept):
                name = f"{self._path}.{number}{suffix}" if number else self._path
                try:
                    os.rename(name, f"{self._path}.{number + 1}{suffix}")
                except FileNotFoundError:
                    continue  # an earlier attempt ended after this one
            self._open()
        except OSError:
            return False
        self._compress_next()
        return True

    def _make_room(self, names: "list[tuple[int, str]]") -> "list[tuple[int, str]]":
        """Delete what is too old, but for what somebody still reads. Returns what stays."""
        assert self._limit is not None
        while names and names[-1][0] + 1 >= self._files:
            number, suffix = names[-1]
            name = f"{self._path}.{number}{suffix}" if number else self._path
            beyond = number + 2 - self._files
            if beyond <= HELD_FILES and beyond * self._limit <= HELD_BYTES and _is_read(name):
                break
            _unlink(name)
            names.pop()
        return names

    # Compression

    def _compress_next(self) -> None:
        """Let a child compress the oldest plain file that nobody reads. One at a time."""
        if not self._compress or self._compressor:
            return
        for number, suffix in reversed(_aside(self._path)):
            name = f"{self._path}.{number}{suffix}"
            if not suffix and not _is_read(name):
                try:
                    self._start_compressor(name)
                except OSError:
                    self._forget_compressor()  # no space, no process: it stays as it is until the next rotation
                return

    def _start_compressor(self, name: str) -> None:
        source = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._compressed = (source, -1)
        directory = os.path.dirname(self._path)
        target = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, _MODE)
        self._compressed = (source, target)
        pid = os.fork()
        if pid == 0:
            _compress(source, target)
        self._compressor = pid

    def child_ended(self, pid: int, status: int) -> None:
        """A child of this process has ended, perhaps the compressor: put its work in the place of the original."""
        if pid != self._compressor or self._compressed is None:
            return
        source, target = self._compressed
        try:
            if status == 0:
                self._replace(source, target)
        except OSError:
            pass  # the original stays
        self._forget_compressor()
        if status == 0:
            self._compress_next()

    def _replace(self, source: int, target: int) -> None:
        original = os.fstat(source)
        for number, suffix in _aside(self._path):
            name = f"{self._path}.{number}"
            if suffix or os.stat(name, follow_symlinks=False).st_ino != original.st_ino:
                continue
            if not _is_read(name):
                # By a descriptor of a directory, since only so Python follows the link to the file without a name.
                try:
                    os.link(f"/proc/self/fd/{target}", f"{name}.gz", src_dir_fd=target, follow_symlinks=True)
                except FileExistsError:
                    pass  # a shim was killed between these two lines
                os.unlink(name)
            return

    def _forget_compressor(self) -> None:
        for descriptor in self._compressed or ():
            if descriptor >= 0:
                os.close(descriptor)
        self._compressed = None
        self._compressor = 0


def _aside(path: str) -> "list[tuple[int, str]]":
    """Number and suffix of each file put aside, the newest first."""
    found: "list[tuple[int, str]]" = []
    number = missing = 0
    while missing < 2:  # one gap: an earlier attempt ended here
        number += 1
        names = [(number, suffix) for suffix in SUFFIXES if os.path.lexists(f"{path}.{number}{suffix}")]
        missing = 0 if names else missing + 1
        found += names
    return found


def delete(path: str) -> None:
    """Delete a log's files, the oldest first; for the writer, or where there is none. Raises OSError."""
    for number, suffix in reversed([(0, ""), *_aside(path)]):
        _unlink(f"{path}.{number}{suffix}" if number else path)


def _unlink(name: str) -> None:
    try:
        os.unlink(name)
    except FileNotFoundError:
        pass  # not written yet, or an earlier attempt ended here


def _is_read(name: str) -> bool:
    """Whether a reader holds its lock on the file."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _compress(source: int, target: int) -> None:
    """In the child; never returns. It keeps nothing of the shim's open: a pipe's end would live on with it."""
    status = 1
    try:
        low, high = sorted((source, target))
        process.close_from(3, low - 1)
        process.close_from(low + 1, high - 1)
        process.close_from(high + 1)
        os.nice(_POLITE)
        from onggi.runtime.logs import compression

        compression.compress(source, target)
        status = 0
    except BaseException as error:
        # Like the shim, this child has never left the host's root: a traceback may be printed.
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(status)
