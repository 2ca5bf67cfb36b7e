"""A strict, streaming reader of tar: ustar, GNU and PAX, names as bytes, sparse files of all kinds, nothing unbounded.

What is accepted follows Go's archive/tar, which Docker reads layers with; what it takes for harmless junk, such as a
number with a sign, is refused here. Part of the worker's half: imports little, so that a worker starts fast.
(tar(5), POSIX pax "ustar Interchange Format", GNU tar manual "Sparse Formats")
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
SPECIAL_LIMIT_BYTES = 1 << 20
"""The most that one PAX header, long name or sparse map may hold, as in Go."""
MOST_PREFACES = 16
"""So many PAX headers and long names may precede one entry."""
MOST_TRAILING_BYTES = 64 << 20
"""What may follow the end of the archive: padding."""

FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"
_KINDS = {
    0: FILE, 48: FILE, 55: FILE, 83: FILE, 49: LINK, 50: SYMLINK, 51: CHARACTER, 52: BLOCK_DEVICE, 53: DIRECTORY,
    54: FIFO,
}  # fmt: skip
_GNU_SPARSE, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = 83, 76, 75, 120, 103
_ZEROS = bytes(BLOCK)
_XATTR = b"SCHILY.xattr."


class MalformedArchive(Exception):
    """The bytes are no tar, or one that lies. `str()` is a sentence without names from the archive's bytes."""


class Entry:
    """One member. `name` and `target` are bytes as written, never cleaned here."""

    __slots__ = ("device", "gid", "kind", "mode", "mtime_ns", "name", "size", "sparse", "stored", "target", "uid",
                 "xattrs")  # fmt: skip

    def __init__(self) -> None:
        self.name = b""
        self.kind = FILE
        self.mode = 0
        self.uid = 0
        self.gid = 0
        self.size = 0
        """Of the file as it will be, holes included."""
        self.stored = 0
        """Bytes of content in the archive."""
        self.mtime_ns = 0
        self.target = b""
        self.device = (0, 0)
        self.xattrs: dict[bytes, bytes] = {}
        self.sparse: list[tuple[int, int]] | None = None
        """Offset and length of each piece that is stored; None: the whole file is."""


def number(field: bytes) -> int:
    """A numeric field: octal text, or base 256 when the first byte's high bit is set. Raises MalformedArchive."""
    first = field[0]
    if first & 0x80:
        if first not in (0x80, 0xFF):
            raise MalformedArchive("a number in a tar header is out of range")
        value = int.from_bytes(field[1:], "big")
        value -= (1 << (8 * (len(field) - 1))) if first == 0xFF else 0
        if not -(1 << 63) <= value < 1 << 63:
            raise MalformedArchive("a number in a tar header is out of range")
        return value
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    if not text.isdigit():
        raise MalformedArchive("a number in a tar header is not octal")
    try:
        return int(text, 8)
    except ValueError:
        raise MalformedArchive("a number in a tar header is not octal") from None


def decimal(text: bytes) -> int:
    """A non-negative decimal of a PAX record. Raises MalformedArchive."""
    if not text.isdigit() or len(text) > 19 or int(text) >= 1 << 63:
        raise MalformedArchive("a number in a PAX header is malformed or out of range")
    return int(text)


def nanoseconds(text: bytes) -> int:
    """A PAX time: seconds with an optional fraction; what is finer than a nanosecond is cut off."""
    sign, digits = (-1, text[1:]) if text[:1] == b"-" else (1, text)
    whole, dot, fraction = digits.partition(b".")
    if not whole.isdigit() or len(whole) > 18 or (dot and fraction and not fraction.isdigit()):
        raise MalformedArchive("a time in a PAX header is malformed")
    return sign * (int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


class TarReader:
    """Reads entries from `read`, which gives the next piece of the stream, b"" at its end.

    Call `next()` for each entry and, for a file, `copy` for its content before the next one; left content is skipped.
    """

    def __init__(self, read: "Callable[[], bytes]") -> None:
        self._read = read
        self._chunk = b""
        self._view = memoryview(b"")
        self._at = 0
        self._left = 0  # bytes of the present entry's content not read yet
        self._padding = 0

    # The stream

    def _refill(self) -> bool:
        chunk = self._read()
        self._chunk, self._view, self._at = chunk, memoryview(chunk), 0
        return bool(chunk)

    def _take(self, size: int) -> bytes:
        """Exactly `size` bytes, which the caller has bounded. Raises MalformedArchive at the end."""
        at = self._at
        data = self._chunk[at : at + size]
        self._at = at + len(data)
        if len(data) == size:
            return data
        pieces = [data]
        lacking = size - len(data)
        while lacking:
            if not self._refill():
                raise MalformedArchive("unexpected end of the archive")
            data = self._chunk[:lacking]
            self._at = len(data)
            lacking -= len(data)
            pieces.append(data)
        return b"".join(pieces)

    def _skip(self, size: int) -> None:
        while size:
            here = len(self._chunk) - self._at
            if here >= size:
                self._at += size
                return
            size -= here
            if not self._refill():
                raise MalformedArchive("unexpected end of the archive")

    def copy(self, descriptor: int, size: int) -> None:
        """Write the next `size` bytes of the entry's content to a file."""
        if size > self._left:
            raise MalformedArchive("the archive's sparse map does not fit the content")
        self._left -= size
        while size:
            at = self._at
            piece = self._view[at : at + size]
            if not piece:
                if not self._refill():
                    raise MalformedArchive("unexpected end of the archive")
                continue
            written = os.write(descriptor, piece)
            self._at = at + written
            size -= written

    def copy_content(self, descriptor: int, entry: "Entry") -> None:
        """Write a regular file's content to a file that is empty, holes where the entry has them."""
        if entry.sparse is not None:
            for offset, length in entry.sparse:
                if length:
                    os.lseek(descriptor, offset, os.SEEK_SET)
                    self.copy(descriptor, length)
            os.ftruncate(descriptor, entry.size)
        elif entry.size:
            self.copy(descriptor, entry.size)

    def content(self) -> "Iterator[bytes]":
        """What is left of the entry's stored content, in pieces; of a sparse file without its holes."""
        while self._left:
            piece = self._chunk[self._at : self._at + self._left]
            if not piece:
                if not self._refill():
                    raise MalformedArchive("unexpected end of the archive")
                continue
            self._at += len(piece)
            self._left -= len(piece)
            yield piece

    def drain(self) -> None:
        """Read what follows the end of the archive, so that the whole stream is hashed."""
        size = len(self._chunk) - self._at
        while self._refill():
            size += len(self._chunk)
            if size > MOST_TRAILING_BYTES:
                raise MalformedArchive("too much data after the end of the archive")

    # Entries

    def next(self) -> Entry | None:
        """The next entry; None at the end of the archive."""
        if self._left or self._padding:
            self._skip(self._left + self._padding)
            self._left = self._padding = 0
        records: dict[bytes, bytes] = {}
        sparse_pairs: list[bytes] = []
        long_name = long_target = None
        for _ in range(MOST_PREFACES):
            header = self._header()
            if header is None:
                if records or long_name or long_target:
                    raise MalformedArchive("the archive ends after a header that announces an entry")
                return None
            kind = header[156]
            if kind in (_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK):
                size = number(header[124:136])
                if not 0 <= size <= SPECIAL_LIMIT_BYTES:
                    raise MalformedArchive("an extended header of the archive is too large")
                data = self._take(size)
                self._skip(-size % BLOCK)
                if kind == _PAX:
                    records, sparse_pairs = _records(data)
                elif kind == _LONG_NAME:
                    long_name = data.partition(b"\0")[0]
                elif kind == _LONG_LINK:
                    long_target = data.partition(b"\0")[0]
                # A global PAX header says nothing about files: ignored, as Docker does.
                continue
            return self._entry(header, records, sparse_pairs, long_name, long_target)
        raise MalformedArchive("too many extended headers before one entry of the archive")

    def _header(self) -> bytes | None:
        at = self._at
        header = self._chunk[at : at + BLOCK]
        if len(header) == BLOCK:
            self._at = at + BLOCK
        else:
            if not header and not self._refill():
                return None  # an archive that ends without its end blocks is taken, as in Go
            header = self._take(BLOCK)
        if header[0] == 0 and header == _ZEROS:
            return None
        if number(header[148:156]) != sum(header) - sum(header[148:156]) + 256:
            raise MalformedArchive("a tar header's checksum is wrong")
        return header

    def _entry(
        self, header: bytes, records: dict[bytes, bytes], sparse_pairs: list[bytes], long_name: bytes | None,
        long_target: bytes | None,
    ) -> Entry:  # fmt: skip
        entry = Entry()
        kind = _KINDS.get(header[156])
        if kind is None:
            raise MalformedArchive(f"the archive has an entry of unknown type {header[156]}")
        name = header[:100].partition(b"\0")[0]
        if header[257:263] == b"ustar\0" and header[345]:
            name = header[345:500].partition(b"\0")[0] + b"/" + name
        entry.mode = number(header[100:108])
        entry.uid = number(header[108:116])
        entry.gid = number(header[116:124])
        size = number(header[124:136])
        entry.mtime_ns = number(header[136:148]) * 1_000_000_000
        entry.target = header[157:257].partition(b"\0")[0]
        if long_name is not None:
            name = long_name
        if long_target is not None:
            entry.target = long_target
        if kind in (CHARACTER, BLOCK_DEVICE):
            entry.device = number(header[329:337]), number(header[337:345])
        if records:
            for key, value in records.items():
                if key == b"path":
                    name = value
                elif key == b"linkpath":
                    entry.target = value
                elif key == b"size":
                    size = decimal(value)
                elif key == b"uid":
                    entry.uid = decimal(value)
                elif key == b"gid":
                    entry.gid = decimal(value)
                elif key == b"mtime":
                    entry.mtime_ns = nanoseconds(value)
                elif key.startswith(_XATTR):
                    entry.xattrs[key[len(_XATTR) :]] = value
        entry.kind, entry.name = kind, name
        if not 0 <= size < 1 << 63 or not 0 <= entry.mode < 1 << 32:
            raise MalformedArchive("a size or mode in the archive is out of range")
        if not (0 <= entry.uid < (1 << 32) - 1 and 0 <= entry.gid < (1 << 32) - 1):
            raise MalformedArchive("an owner in the archive is out of range")
        if kind == FILE:
            entry.size = entry.stored = self._left = size
            self._padding = -size % BLOCK
            if header[156] == _GNU_SPARSE:
                self._gnu_sparse(entry, header)
            elif records:
                self._pax_sparse(entry, records, sparse_pairs)
            # An old archive marks a directory by its name only.
            elif name[-1:] == b"/":
                entry.kind = DIRECTORY
        return entry

    # Sparse files

    def _gnu_sparse(self, entry: Entry, header: bytes) -> None:
        entry.size = number(header[483:495])
        pieces = _pieces(header[386:482], [])
        more = header[482]
        while more:
            block = self._take(BLOCK)
            pieces = _pieces(block[:504], pieces)
            if len(pieces) * 24 > SPECIAL_LIMIT_BYTES:
                raise MalformedArchive("a sparse map in the archive is too large")
            more = block[504]
        entry.sparse = pieces
        _check_sparse(entry)

    def _pax_sparse(self, entry: Entry, records: dict[bytes, bytes], pairs: list[bytes]) -> None:
        version = records.get(b"GNU.sparse.major"), records.get(b"GNU.sparse.minor")
        if version == (b"1", b"0"):
            entry.size = decimal(records.get(b"GNU.sparse.realsize", b""))
            entry.sparse = self._sparse_map(entry)
        elif b"GNU.sparse.map" in records or pairs:
            entry.size = decimal(records.get(b"GNU.sparse.size", b""))
            words = pairs or records[b"GNU.sparse.map"].split(b",")
            if len(words) % 2:
                raise MalformedArchive("a sparse map in the archive is malformed")
            entry.sparse = [(decimal(words[at]), decimal(words[at + 1])) for at in range(0, len(words), 2)]
        elif version != (None, None) and version not in ((b"0", b"0"), (b"0", b"1")):
            raise MalformedArchive("a sparse file in the archive is of an unknown version")
        else:
            return
        entry.name = records.get(b"GNU.sparse.name", entry.name)
        _check_sparse(entry)

    def _sparse_map(self, entry: Entry) -> list[tuple[int, int]]:
        """Version 1.0: the map precedes the content, as lines, padded to blocks."""
        text = b""
        taken = 0
        numbers: list[int] = []
        wanted = 1
        while len(numbers) < wanted:
            if taken + BLOCK > min(self._left, SPECIAL_LIMIT_BYTES):
                raise MalformedArchive("a sparse map in the archive is malformed or too large")
            lines = (text + self._take(BLOCK)).split(b"\n")
            taken += BLOCK
            text = lines.pop()
            numbers.extend(decimal(line) for line in lines[: wanted - len(numbers)])
            if numbers and wanted == 1:
                wanted = 1 + 2 * numbers[0]
                numbers.extend(decimal(line) for line in lines[1:wanted])
        self._left -= taken
        entry.stored -= taken
        return [(numbers[at], numbers[at + 1]) for at in range(1, wanted, 2)]


def _records(data: bytes) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The records of a PAX header; the last of a key counts. Second: offsets and lengths of a sparse map 0.0."""
    records: dict[bytes, bytes] = {}
    pairs: list[bytes] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 12)
        length = data[at:space] if space > 0 else b""
        if not length.isdigit():
            raise MalformedArchive("a PAX header is malformed")
        end = at + int(length)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end <= space or end > len(data) or data[end - 1] != 10 or not equals or not key or b"\0" in key:
            raise MalformedArchive("a PAX header is malformed")
        if key in (b"path", b"linkpath") and b"\0" in value:
            raise MalformedArchive("a name in a PAX header holds a NUL")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            if (len(pairs) % 2 == 0) != (key == b"GNU.sparse.offset"):
                raise MalformedArchive("a sparse map in the archive is malformed")
            pairs.append(value)
        elif value:
            records[key] = value
        else:
            records.pop(key, None)  # an empty value takes an earlier one back
        at = end
    return records, pairs


def _pieces(table: bytes, pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Append the pieces of an old GNU sparse table; it ends at the first empty slot."""
    for at in range(0, len(table), 24):
        if table[at] == 0:
            break
        pieces.append((number(table[at : at + 12]), number(table[at + 12 : at + 24])))
    return pieces


def _check_sparse(entry: Entry) -> None:
    end = stored = 0
    for offset, length in entry.sparse or ():
        if offset < end or length < 0 or offset + length > entry.size:
            raise MalformedArchive("a sparse map in the archive contradicts itself")
        end = offset + length
        stored += length
    if stored != entry.stored or not 0 <= entry.size < 1 << 63:
        raise MalformedArchive("the archive's sparse map does not fit the content")
