"""inotify(7): to be told when something in a directory changes."""

import ctypes
import errno
import os

from onggi.linux.fd import Fd

IN_MODIFY = 0x2
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000

_HEADER_BYTES = 16  # struct inotify_event: wd, mask, cookie, len; a name of `len` bytes follows
_BUFFER_BYTES = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)
_libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


def _check(result: int, call: str, path: str | None = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        error = OSError(code, os.strerror(code), path)
        error.add_note(f"system call: {call}")
        raise error
    return result


class Inotify(Fd):
    """An inotify instance, non-blocking. The kernel allows a user only 128 of them, so have few."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_check(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1"))

    def add_watch(self, path: str, mask: int) -> int:
        """Watch a path; the number names it in events. The same inode twice gives the same number, with the new mask."""
        number = _libc.inotify_add_watch(self.fileno(), os.fsencode(path), mask)
        return _check(number, "inotify_add_watch", path)

    def remove_watch(self, number: int) -> None:
        """End a watch. One that ended by itself, as its directory was deleted, is fine."""
        if _libc.inotify_rm_watch(self.fileno(), number) < 0 and ctypes.get_errno() != errno.EINVAL:
            _check(-1, "inotify_rm_watch")

    def read(self) -> "list[tuple[int, int, str]]":
        """What has happened since the last time: (watch, mask, name in the directory). Empty when nothing has."""
        try:
            data = os.read(self.fileno(), _BUFFER_BYTES)
        except BlockingIOError:
            return []
        events = []
        position = 0
        while position < len(data):
            number = int.from_bytes(data[position : position + 4], "little", signed=True)
            mask = int.from_bytes(data[position + 4 : position + 8], "little")
            length = int.from_bytes(data[position + 12 : position + 16], "little")
            begin = position + _HEADER_BYTES
            events.append((number, mask, os.fsdecode(data[begin : begin + length].rstrip(b"\0"))))
            position = begin + length
        return events
