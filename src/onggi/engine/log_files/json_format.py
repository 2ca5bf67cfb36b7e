"""Docker's json-file format (see `onggi.runtime.logs.json_file`): one JSON object a line."""

import os
from collections.abc import Iterator, Sequence

import msgspec

from onggi.engine.log_files.entry import LONGEST_RECORD_BYTES, nanoseconds

errors = "replace"

_BLOCK = 64 * 1024


class JsonEntry(msgspec.Struct, frozen=True, gc=False):
    log: str
    stream: str = ""
    time: str = ""
    attrs: dict[str, str] | None = None

    @property
    def time_ns(self) -> int:
        return nanoseconds(self.time)

    @property
    def time_text(self) -> str:
        if len(self.time) == 30:
            return self.time
        return f"{self.time[:19]}.{self.time[20:-1].ljust(9, '0')}Z"


_decoder = msgspec.json.Decoder(JsonEntry)


def whole(data: bytes) -> int:
    return data.rfind(b"\n") + 1


def entries(data: bytes) -> Sequence[JsonEntry]:
    try:
        return _decoder.decode_lines(data)
    except msgspec.MsgspecError:
        return list(_undamaged(data))


def _undamaged(data: bytes) -> Iterator[JsonEntry]:
    """A power cut leaves zeros."""
    for line in data.split(b"\n"):
        try:
            yield _decoder.decode(line)
        except msgspec.MsgspecError:
            continue


def count(data: bytes) -> int:
    return data.count(b"\n")


def skip(data: bytes, count: int) -> int:
    position = 0
    for _ in range(count):
        position = data.index(b"\n", position) + 1
    return position


def last(descriptor: int, size: int, count: int) -> tuple[int, int]:
    found = -1  # the newline that ends the last line begins none
    position = size
    while position > 0:
        start = max(0, position - _BLOCK)
        block = os.pread(descriptor, position - start, start)
        newlines = block.count(b"\n")
        if found + newlines >= count:
            cut = len(block)
            for _ in range(count - found):
                cut = block.rfind(b"\n", 0, cut)
            return start + cut + 1, count
        found += newlines
        position = start
    return 0, found + 1


def since(descriptor: int, size: int, time_ns: int) -> int:
    low, high = 0, size
    while high - low > _BLOCK:
        middle = (low + high) // 2
        record = _record_behind(descriptor, middle, high)
        if record is None or nanoseconds(record[1]) >= time_ns:
            high = middle
        else:
            low = record[0]
    return low


def _record_behind(descriptor: int, position: int, end: int) -> tuple[int, str] | None:
    """Where the first record behind `position` begins, and its time; None where none lies before `end`."""
    block = b""
    while position + len(block) < end and len(block) <= LONGEST_RECORD_BYTES:
        block += os.pread(descriptor, _BLOCK, position + len(block))
        begin = block.find(b"\n") + 1
        finish = block.find(b"\n", begin) if begin else -1
        if finish >= 0:
            at = block.rfind(b'"time":"', begin, finish) + len(b'"time":"')
            return position + begin, block[at : block.find(b'"', at, finish)].decode("ascii", "replace")
    return None
