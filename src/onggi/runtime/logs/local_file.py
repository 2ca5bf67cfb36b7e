"""Docker's format of the `local` driver (moby: daemon/logger/local, api/types/plugins/logdriver/entry.proto): the same
bytes, so that either engine reads the other's files.

    length (4 bytes, big end first) · entry · the same length

An entry is a protobuf message: 1 source ("stdout", "stderr"), 2 nanoseconds since 1970, 3 the line without its newline,
4 "is a piece of a longer line", 5 (1 "is the last piece", 2 the long line's ID, 3 the piece's number).
"""

from onggi.runtime.logs.long_line import LongLine, LongLines
from onggi.runtime.logs.rotation import RotatingFile


class LocalFile:
    """Writes the records of one container's streams."""

    __slots__ = ("_long_lines", "file")

    def __init__(self, file: RotatingFile) -> None:
        self.file = file
        self._long_lines = LongLines()

    def record(self, stream: str, parts: "list[bytes]", time_ns: int) -> None:
        whole = _Frames(_head(stream, time_ns))
        frames: "list[bytes]" = []
        for part in parts:
            ended = part.endswith(b"\n")
            lines = (part[:-1] if ended else part).split(b"\n")
            first = self._long_lines.piece(stream, time_ns, last=ended or len(lines) > 1)
            if first is not None:
                head = _head(stream, first.time_ns)
                frames.append(_frame(head + _line(lines.pop(0)) + _piece(first, last=ended or bool(lines))))
            frames += [before + line + after for line in lines for before, after in (whole[len(line)],)]
        self.file.append(b"".join(frames), _first_end)


class _Frames(dict[int, tuple[bytes, bytes]]):
    """What stands before and behind a line of a length: the same for all lines of one moment."""

    def __init__(self, head: bytes) -> None:
        super().__init__()
        self._head = head

    def __missing__(self, size: int) -> "tuple[bytes, bytes]":
        head = self._head + b"\x1a" + varint(size) if size else self._head
        length = (len(head) + size).to_bytes(4, "big")
        self[size] = found = (length + head, length)
        return found


def _head(stream: str, time_ns: int) -> bytes:
    return b"\x0a\x06" + stream.encode("ascii") + b"\x10" + varint(time_ns)


def _line(line: bytes) -> bytes:
    return b"\x1a" + varint(len(line)) + line if line else b""


def _piece(line: LongLine, *, last: bool) -> bytes:
    name = line.id.encode("ascii")
    about = (b"\x08\x01" if last else b"") + b"\x12" + varint(len(name)) + name + b"\x18" + varint(line.ordinal)
    return b"\x20\x01\x2a" + varint(len(about)) + about


def _frame(entry: bytes) -> bytes:
    length = len(entry).to_bytes(4, "big")
    return length + entry + length


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _first_end(records: bytes, size: int) -> int:
    end = 0
    while end < size and end < len(records):
        end += int.from_bytes(records[end : end + 4], "big") + 8
    return end
