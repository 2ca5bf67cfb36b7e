r"""The container's log, as Docker's json-file driver writes it. Written by the shim, read by `engine.logs`.

One record a line, in this order of members and without spaces:

    {"log":"hello\n","stream":"stdout","time":"2026-12-01T00:00:00.123456789Z"}\n

- `log` ends in `\n` when the program wrote one. A line longer than 16 KiB comes as several records, of which all but
  the last lack the `\n`; what a program writes last, without a newline, is a record without one too.
- Bytes that are not UTF-8 become U+FFFD. It, `<`, `>`, `&`, U+2028 and U+2029 are written as \uXXXX, as Go writes
  them; all other text above ASCII stands as it is.
- `time` is UTC and always has nine digits after the point, so that the last 33 bytes of a record, `"` and `}` and
  newline included, are `2026-12-01T00:00:00.123456789Z"}\n`: a reader may look for a time without parsing.

Files: `path` is written; when it has reached `max_size_bytes` before a record, it becomes `path`.1, that one `path`.2
and so on, `max_files` in all with `path` itself; with one file it is emptied. A record never spans two files. All are
0640. Follow by inode: a rename means that the rest is in `path`.1.

When the disk refuses a write, the records that did not fit are lost and counted, and the container goes on.
"""

import os
import time

PIECE = 16384
"""The longest piece of a line in one record, in bytes."""

_ESCAPES = [
    (b"\\", b"\\\\"),
    (b'"', b'\\"'),
    (b"\r", b"\\r"),
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"\xef\xbf\xbd", b"\\ufffd"),
]
_ESCAPES += [(bytes((code,)), b"\\u%04x" % code) for code in range(32) if code not in (10, 13)]
_PLAIN = bytes(code for code in range(32, 127) if code not in b'"\\<>&') + b"\n"
"""The bytes that need no escape; a newline ends the record and is dealt with there."""


def _pieces(data: bytes, *, last: bool) -> "tuple[bytes, list[int]]":
    """Cut `data` into what can be written now and a rest. Returns the rest and the ends of the parts to be written:
    each part is whole lines, or one piece of 16 KiB of a line that is longer, cut between two UTF-8 characters."""
    ends: list[int] = []
    position = 0
    size = len(data)
    while size - position > PIECE:
        end = data.rfind(b"\n", position, position + PIECE + 1) + 1
        if not end:
            end = position + PIECE
            for back in range(1, 4):
                byte = data[end - back]
                if byte >= 0xC0:  # the character that begins here may end behind the cut: leave it for the next piece
                    if byte >= (0xC0, 0xE0, 0xF0)[back - 1]:
                        end -= back
                    break
                if byte < 0x80:
                    break
        ends.append(end)
        position = end
    end = size if last else data.rfind(b"\n", position) + 1
    if end > position:
        ends.append(end)
        position = end
    return data[position:], ends


class LogWriter:
    """Writes the records of one container's streams. `close()` ends the duty."""

    __slots__ = ("_descriptor", "_files", "_limit", "_path", "_rest", "_second", "_second_text", "_size", "lost")

    def __init__(self, path: str, max_size_bytes: "int | None", max_files: int) -> None:
        self._path = path
        self._limit = max_size_bytes
        self._files = max_files
        self._rest = {"stdout": b"", "stderr": b""}
        self._second = -1
        self._second_text = b""
        self.lost = 0
        """Bytes of records that the disk refused."""
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._descriptor).st_size

    def close(self) -> None:
        for stream in ("stdout", "stderr"):
            self.end(stream)
        os.close(self._descriptor)

    def write(self, stream: str, data: bytes) -> None:
        """Record what the program wrote just now; an unfinished line waits for its end."""
        if self._rest[stream]:
            data = self._rest[stream] + data
        self._record(stream, data, last=False)

    def end(self, stream: str) -> None:
        """The program will write no more to this stream: record an unfinished line."""
        self._record(stream, self._rest[stream], last=True)

    def _record(self, stream: str, data: bytes, *, last: bool) -> None:
        rest, ends = _pieces(data, last=last)
        self._rest[stream] = rest
        if not ends:
            return
        tail = b'","stream":"%s","time":"%s"}\n' % (stream.encode("ascii"), self._now())
        begin = 0
        records = []
        for end in ends:
            records.append(_encode(data[begin:end], tail))
            begin = end
        self._append(b"".join(records))

    def _now(self) -> bytes:
        second, fraction = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            year, month, day, hour, minute, at = time.gmtime(second)[:6]
            self._second_text = b"%04d-%02d-%02dT%02d:%02d:%02d" % (year, month, day, hour, minute, at)
        return b"%s.%09dZ" % (self._second_text, fraction)

    def _append(self, records: bytes) -> None:
        while self._limit is not None and self._size + len(records) > self._limit:
            # Docker puts the file aside before the first record that finds it full.
            room = self._limit - self._size
            end = records.find(b"\n", room - 1) + 1 if room > 0 else 0
            if end:
                self._write(records[:end])
                records = records[end:]
            if not records:
                return
            if not self._rotate():
                break
        self._write(records)

    def _write(self, records: bytes) -> None:
        written = 0
        try:
            while written < len(records):
                written += os.write(self._descriptor, records[written:] if written else records)
        except OSError:
            # No space, no quota, a failing disk: the program must not stop for its log. No half record may stay, or
            # the next one would be unreadable with it.
            whole = records.rfind(b"\n", 0, written) + 1
            self.lost += len(records) - whole
            try:
                os.ftruncate(self._descriptor, self._size + whole)
            except OSError:
                self.lost += whole
                return
            written = whole
        self._size += written

    def _rotate(self) -> bool:
        """Begin an empty file. False when the disk refuses; then the present one goes on."""
        full = self._descriptor
        try:
            if self._files == 1:
                os.ftruncate(full, 0)
                self._size = 0
                return True
            for number in range(self._files - 1, 0, -1):
                try:
                    os.rename(f"{self._path}.{number - 1}" if number > 1 else self._path, f"{self._path}.{number}")
                except FileNotFoundError:
                    continue  # not that many files yet, or an earlier attempt ended here
            self._open()
        except OSError:
            return False
        os.close(full)
        return True


def _encode(lines: bytes, tail: bytes) -> bytes:
    """Whole lines, or one piece of a line, as records. All the work per byte is done in C, a chunk at a time."""
    special = lines.translate(None, _PLAIN)
    if special:
        if not special.isascii():
            try:
                lines.decode("utf-8")
            except UnicodeDecodeError:
                lines = lines.decode("utf-8", "replace").encode("utf-8")
                special += b"\xef"
        for plain, escaped in _ESCAPES:
            if plain[0] in special:
                lines = lines.replace(plain, escaped)
    head = b'{"log":"'
    ends = b"\\n" + tail
    if not lines.endswith(b"\n"):
        return head + lines.replace(b"\n", ends + head) + tail
    return head + lines[:-1].replace(b"\n", ends + head) + ends
