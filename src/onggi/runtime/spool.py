"""What waits to be sent to one slow reader: in memory up to 1 MiB, then in unlinked files, then the program waits.

A client that does not read must neither fill the memory nor hold up the container and its log; one that never reads
must not fill the disk either.
"""

import os
from _collections import deque

MEMORY_BYTES = 1 << 20
SEGMENT_BYTES = 16 << 20
"""The files are small, and each is given back to the disk when it has been read."""
DISK_BYTES = 256 << 20
_CHUNK = 65536


class _Segment:
    """Bytes `sent` to `written` of one unlinked file."""

    __slots__ = ("descriptor", "sent", "written")

    def __init__(self, directory: str) -> None:
        self.descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self.sent = self.written = 0


class Spool:
    """A queue of bytes with one reader. `directory` is where the files are made. `close()` ends the duty."""

    __slots__ = ("_directory", "_disk_bytes", "_items", "_memory_bytes", "_refused")

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._items: "deque[bytes | _Segment]" = deque()
        self._memory_bytes = self._disk_bytes = 0
        self._refused = False

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def full(self) -> bool:
        """Put no more: let the program wait until the reader has taken something."""
        return self._refused or self._disk_bytes >= DISK_BYTES

    def put(self, data: bytes) -> None:
        """Append. What the disk refuses stays in memory, and `full` says so."""
        if self._memory_bytes + len(data) <= MEMORY_BYTES and not self._disk_bytes:
            self._items.append(data)
            self._memory_bytes += len(data)
            return
        try:
            segment = self._items[-1] if self._items else None
            if not isinstance(segment, _Segment) or segment.written >= SEGMENT_BYTES:
                segment = _Segment(self._directory)
                self._items.append(segment)
            while data:
                written = os.pwrite(segment.descriptor, data, segment.written)
                segment.written += written
                self._disk_bytes += written
                data = data[written:]
        except OSError:
            self._refused = True
            self._items.append(data)
            self._memory_bytes += len(data)

    def send(self, descriptor: int) -> None:
        """Send what the reader takes. Raises BlockingIOError when it takes no more now, OSError when it is gone."""
        items = self._items
        while items:
            item = items[0]
            if isinstance(item, _Segment):
                if item.sent < item.written:
                    sent = os.write(descriptor, os.pread(item.descriptor, _CHUNK, item.sent))
                    item.sent += sent
                    self._disk_bytes -= sent
                if item.sent == item.written:
                    os.close(item.descriptor)
                    items.popleft()
            else:
                sent = os.write(descriptor, item)
                self._memory_bytes -= sent
                if sent < len(item):
                    items[0] = item[sent:]
                else:
                    items.popleft()
            self._refused = False

    def close(self) -> None:
        for item in self._items:
            if isinstance(item, _Segment):
                os.close(item.descriptor)
        self._items.clear()
        self._memory_bytes = self._disk_bytes = 0
