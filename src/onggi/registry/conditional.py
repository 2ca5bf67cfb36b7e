"""Conditional and partial requests. (RFC 9110, sections 13 and 14)"""

import re
from dataclasses import dataclass

from onggi.errors import OnggiError

_RANGE = re.compile(r"\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*", re.ASCII)
_MOST_RANGE_CHARACTERS = 100


class RangeUnsatisfiable(OnggiError):
    code = "SIZE_INVALID"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"the range lies outside of the {size_bytes} bytes that there are")
        self.headers = {"Content-Range": f"bytes */{size_bytes}"}


@dataclass(frozen=True, slots=True)
class Part:
    first: int
    count: int


def etag_fits(header: str, etag: str) -> bool:
    """True when If-None-Match names `etag`, or anything."""
    return bool(header) and any(
        part.strip().removeprefix("W/") in (etag, etag.strip('"'), "*") for part in header[:4096].split(",")
    )


def part(header: str, size_bytes: int) -> Part | None:
    """The part that a Range header asks for; None for the whole: no range, several, or what is no range at all.

    Raises RangeUnsatisfiable.
    """
    unit, _, text = header.partition("=")
    if unit.strip().lower() != "bytes" or "," in text or len(text) > _MOST_RANGE_CHARACTERS:
        return None
    match = _RANGE.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        count = min(int(match[2]), size_bytes)
        if count == 0:
            raise RangeUnsatisfiable(size_bytes)
        return Part(size_bytes - count, count)
    first = int(match[1])
    last = min(int(match[2]), size_bytes - 1) if match[2] else size_bytes - 1
    if match[2] and int(match[2]) < first:
        return None
    if first >= size_bytes:
        raise RangeUnsatisfiable(size_bytes)
    return Part(first, last - first + 1)
