"""The `local` driver's format (see `onggi.runtime.logs.local_file`): protobuf entries between their lengths."""

import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence

from onggi.engine.log_files.entry import LONGEST_RECORD_BYTES

errors = "surrogateescape"
"""Lines are kept as they came, valid UTF-8 or not."""

_BLOCK = 64 * 1024
_TRIES = 10
_TRY_S = 0.001
_LENGTH = 4
_SOURCE, _TIME, _LINE, _PARTIAL, _ABOUT = 1, 2, 3, 4, 5
_LAST = b"\x08\x01"
_HEAD = 18
"""How many bytes source and time take in every record of our days."""
_LINE_TAG = 0x1A
_length_at = struct.Struct(">I").unpack_from


class LocalEntry:
    __slots__ = ("log", "stream", "time_ns")

    attrs: Mapping[str, str] | None = None

    def __init__(self, log: str, stream: str, time_ns: int) -> None:
        self.log = log
        self.stream = stream
        self.time_ns = time_ns

    @property
    def time_text(self) -> str:
        second, fraction = divmod(self.time_ns, 1_000_000_000)
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{fraction:09d}Z"


class _Damaged(Exception):
    """The lengths do not fit: what follows can't be told apart."""


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of each whole entry. Raises _Damaged."""
    position, size = 0, len(data)
    while position + 2 * _LENGTH <= size:
        begin = position + _LENGTH
        end = begin + _length_at(data, position)[0]
        if not 0 < end - begin <= LONGEST_RECORD_BYTES:
            raise _Damaged
        if end + _LENGTH > size:
            return
        if data[position:begin] != data[end : end + _LENGTH]:
            raise _Damaged
        yield begin, end
        position = end + _LENGTH


def whole(data: bytes) -> int:
    position, size = 0, len(data)
    while position + _LENGTH <= size:
        (length,) = _length_at(data, position)
        if not 0 < length <= LONGEST_RECORD_BYTES:
            return size  # damage: let `entries` leave it out
        following = position + length + 2 * _LENGTH
        if following > size:
            break
        position = following
    return position


def entries(data: bytes) -> Sequence[LocalEntry]:
    found: list[LocalEntry] = []
    head, stream, time_ns = b"", "", 0  # neighbours mostly share stream and time
    try:
        for begin, end in _frames(data):
            at = begin + _HEAD
            if data[begin:at] == head and data[at] == _LINE_TAG and at + 2 + data[at + 1] == end:
                found.append(LocalEntry(data[at + 2 : end].decode("utf-8", "surrogateescape") + "\n", stream, time_ns))
                continue
            entry = _entry(data, begin, end)
            head, stream, time_ns = data[begin:at], entry.stream, entry.time_ns
            found.append(entry)
    except _Damaged:
        pass  # a power cut leaves zeros; the rest of this block is left out
    return found


def count(data: bytes) -> int:
    total = 0
    try:
        for _ in _frames(data):
            total += 1
    except _Damaged:
        pass
    return total


def skip(data: bytes, count: int) -> int:
    if not count:
        return 0
    for number, (_, end) in enumerate(_frames(data), start=1):
        if number == count:
            return end + _LENGTH
    return len(data)


def last(descriptor: int, size: int, count: int) -> tuple[int, int]:
    for _ in range(_TRIES):
        found, position = 0, size
        try:
            for begin, _entry_bytes in _backwards(descriptor, size):
                if found == count:
                    break
                found, position = found + 1, begin
            return position, found
        except _Damaged:
            size = _another_size(descriptor)
    return _last_forwards(descriptor, count)


def since(descriptor: int, size: int, time_ns: int) -> int:
    for _ in range(_TRIES):
        position = size
        try:
            for begin, entry in _backwards(descriptor, size):
                if _entry(entry, 0, len(entry)).time_ns < time_ns:
                    break
                position = begin
            return position
        except _Damaged:
            size = _another_size(descriptor)
    return 0


def _another_size(descriptor: int) -> int:
    """Half a record is just being written, most likely: a moment later it is whole."""
    time.sleep(_TRY_S)
    return os.fstat(descriptor).st_size


def _last_forwards(descriptor: int, count_wanted: int) -> tuple[int, int]:
    """In a damaged file: count what can be read, then go as far again."""
    total = sum(count(data) for _, data in _blocks(descriptor))
    left = max(0, total - count_wanted)
    for position, data in _blocks(descriptor):
        here = count(data)
        if here > left:
            return position + skip(data, left), min(total, count_wanted)
        left -= here
    return os.fstat(descriptor).st_size, 0


def _blocks(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Whole records from the beginning on, and where they lie."""
    position, rest = 0, b""
    while block := os.pread(descriptor, _BLOCK, position + len(rest)):
        data = rest + block
        cut = whole(data)
        if cut:
            yield position, data[:cut]
        position, rest = position + cut, data[cut:]


def _backwards(descriptor: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The records of a file from the last to the first: where each begins, and its entry. Raises _Damaged."""
    end, start, block = size, size, b""
    while end > 0:
        if end - start < _LENGTH:
            start, block = _before(descriptor, start, end, _LENGTH)
        length = int.from_bytes(block[end - start - _LENGTH : end - start], "big")
        begin = end - length - 2 * _LENGTH
        if begin < 0 or not 0 < length <= LONGEST_RECORD_BYTES:
            raise _Damaged
        if begin < start:
            start, block = _before(descriptor, start, end, end - begin)
        record = block[begin - start : end - start]
        if record[:_LENGTH] != record[-_LENGTH:]:
            raise _Damaged
        yield begin, record[_LENGTH:-_LENGTH]
        end = begin


def _before(descriptor: int, start: int, end: int, needed: int) -> tuple[int, bytes]:
    """A block that ends at `end` and has at least `needed` bytes."""
    start = max(0, end - max(needed, _BLOCK))
    return start, os.pread(descriptor, end - start, start)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7


def _entry(data: bytes, position: int, end: int) -> LocalEntry:
    stream, time_ns, line, newline, about = "", 0, b"", True, b""
    while position < end:
        kind = data[position]
        position += 1
        number, wire = kind >> 3, kind & 7
        if wire == 0:
            value, position = _varint(data, position)
            if number == _TIME:
                time_ns = value
            elif number == _PARTIAL:
                newline = not value
        elif wire == 2:
            length, position = _varint(data, position)
            value_bytes = data[position : position + length]
            position += length
            if number == _LINE:
                line = value_bytes
            elif number == _SOURCE:
                stream = "stdout" if value_bytes == b"stdout" else "stderr"
            elif number == _ABOUT:
                about = value_bytes
        else:
            raise _Damaged
    text = line.decode("utf-8", "surrogateescape")
    return LocalEntry(text + "\n" if newline or about.startswith(_LAST) else text, stream, time_ns)
