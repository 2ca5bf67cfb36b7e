"""The files of one log, in order, while the shim renames, compresses and deletes them (`onggi.runtime.logs.rotation`).

    <path>      written to; <path>.1 the one before it, …, <path>.<n> the oldest; each of these may be <path>.<n>.gz

Readers hold files open, so a rotation never takes one away while it is read; `successor` finds what came after it.
Nothing here waits.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from onggi.engine.log_files.entry import Format
from onggi.engine.log_files.file import GZIP, CompressedFile, LogFile
from onggi.linux.fd import Fd

MOST_FILES = 1000
_GAP = 2
"""So many numbers without a file are the end; one is missing in the middle of a rotation."""


class LogFiles:
    """The files of one log."""

    def __init__(self, path: Path, format: Format) -> None:
        self.path = path
        self._format = format

    def open(self) -> list[LogFile]:
        """Every file, oldest first. None is missing but those already deleted."""
        found: list[LogFile] = []
        # The newest first: what is renamed meanwhile turns up again under the next number, and is known by then.
        for _, name in self._names():
            file = self._open(name)
            if file is None:
                continue
            if any(_same(file, other) for other in found):
                file.close()
            else:
                found.append(file)
        found.reverse()
        return found

    def successor(self, file: LogFile) -> LogFile | None:
        """The file begun when `file` was put aside; None while `file` is written to, or in the middle of a rotation.

        Where rotations have deleted `file` and what followed it, the oldest file left.
        """
        for number, name in self._names():
            if not self._is(name, file):
                continue
            if number == 0:
                return None
            newer = self._open_number(number - 1)
            if newer is not None and self._is(name, file):
                return newer
            if newer is not None:
                newer.close()  # renamed between the two looks
            return None
        if not (file.deleted or isinstance(file, CompressedFile)):
            return None  # it has a name, which just changes
        left = self.open()
        newer = next((other for other in left if _newer(other, file)), None)
        for other in left:
            if other is not newer:
                other.close()
        return newer

    def _names(self) -> Iterator[tuple[int, str]]:
        """The names of the files that there are, with their numbers, newest first."""
        missing = 0
        for number in range(MOST_FILES):
            present = [name for name in _named(self.path, number) if os.path.lexists(name)]
            missing = 0 if present else missing + 1
            if missing == _GAP:
                return
            for name in present:
                yield number, name

    def _open_number(self, number: int) -> LogFile | None:
        for name in _named(self.path, number):
            file = self._open(name)
            if file is not None:
                return file
        return None

    def _open(self, name: str) -> LogFile | None:
        try:
            fd = Fd(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
        except FileNotFoundError:
            return None
        return CompressedFile(fd, self._format) if name.endswith(GZIP) else LogFile(fd, self._format)

    def _is(self, name: str, file: LogFile) -> bool:
        """Whether the name stands for this file, or for a compressed copy of it."""
        try:
            if os.stat(name, follow_symlinks=False).st_ino == file.inode:
                return True
        except FileNotFoundError:
            return False
        if not name.endswith(GZIP) or isinstance(file, CompressedFile):
            return False
        copy = self._open(name)
        if copy is None:
            return False
        with copy:
            return _same(copy, file)


def _named(path: Path, number: int) -> tuple[str, ...]:
    return (f"{path}.{number}", f"{path}.{number}{GZIP}") if number else (str(path),)


def _same(one: LogFile, other: LogFile) -> bool:
    """Whether two open files are one, or one is the compressed copy of the other."""
    if one.inode == other.inode:
        return True
    return isinstance(one, CompressedFile) != isinstance(other, CompressedFile) and one.original() == other.original()


def _newer(one: LogFile, other: LogFile) -> bool:
    return not _same(one, other) and one.last_written_ns() >= other.last_written_ns()


def last_records(files: Sequence[LogFile], count: int) -> Sequence[LogFile]:
    """Set the files (oldest first) to where the log's last `count` records begin; returns those that hold some.

    The newest file is always among them, so that a follower can go on from it. Closes the others.
    """
    for index in range(len(files) - 1, -1, -1):
        count -= files[index].seek_last(count)
        if count <= 0:
            _close(files[:index])
            return files[index:]
    return files


def records_since(files: Sequence[LogFile], time_ns: int) -> Sequence[LogFile]:
    """Set the files (oldest first) to shortly before the first record that is not older than `time_ns`; returns those
    that may hold younger ones, always the newest among them. Closes the others."""
    first = next((at for at, file in enumerate(files) if file.last_written_ns() >= time_ns), len(files) - 1)
    _close(files[: max(first, 0)])
    kept = files[max(first, 0) :]
    if kept:
        kept[0].seek_time(time_ns)
    return kept


def _close(files: Sequence[LogFile]) -> None:
    for file in files:
        file.close()
