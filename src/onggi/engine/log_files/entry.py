"""A record that was read, whatever its format, and what each format can do."""

from calendar import timegm
from collections.abc import Mapping, Sequence
from typing import Protocol

LONGEST_RECORD_BYTES = 1024 * 1024
"""A shim cuts a line into records of 16 KiB; what is longer than this is damage."""


class Entry(Protocol):
    """One line of the log, or a part of a line longer than 16 KiB (then `log` has no newline at its end)."""

    @property
    def log(self) -> str: ...
    @property
    def stream(self) -> str: ...
    @property
    def time_ns(self) -> int:
        """Nanoseconds since 1970."""

    @property
    def time_text(self) -> str:
        """RFC 3339 in UTC with nine digits of fraction, as `logs --timestamps` prints it."""

    @property
    def attrs(self) -> Mapping[str, str] | None: ...


class Format(Protocol):
    """Records in bytes that begin with a record."""

    errors: str
    """How `Entry.log` becomes bytes again (the argument of str.encode)."""

    def whole(self, data: bytes) -> int:
        """Where the last record ends that is there in full."""

    def entries(self, data: bytes) -> Sequence[Entry]:
        """Those of whole records; damaged ones are left out."""

    def count(self, data: bytes) -> int:
        """How many whole records these are."""

    def skip(self, data: bytes, count: int) -> int:
        """Where the record begins that has `count` before it."""

    def last(self, descriptor: int, size: int, count: int) -> tuple[int, int]:
        """Where a file's last `count` records begin, and how many these are (fewer in a short file)."""

    def since(self, descriptor: int, size: int, time_ns: int) -> int:
        """Where a record begins at or shortly before the first that is not older than `time_ns`, in a file whose times
        rise. Found by looking at few records, however long the file."""


_seconds: tuple[str, int] = ("", 0)


def nanoseconds(time: str) -> int:
    """RFC 3339 in UTC, up to nine digits of fraction, as nanoseconds since 1970; 0 if it is none."""
    global _seconds  # neighbours mostly share their second
    second = time[:19]
    if second != _seconds[0]:
        try:
            numbers = (time[:4], time[5:7], time[8:10], time[11:13], time[14:16], time[17:19])
            _seconds = (second, timegm(tuple(map(int, numbers))))
        except ValueError:
            return 0
    fraction = time[20:-1] if time[19:20] == "." else ""
    return _seconds[1] * 1_000_000_000 + (int(fraction[:9].ljust(9, "0")) if fraction.isdigit() else 0)
