"""A blob's bytes to the tar in it: gzip by ISA-L, zstd, xz, bzip2, or plain, told by the first bytes.

Output comes in bounded pieces however small the input, so that a bomb costs time within the caller's limit but no
memory. Part of the worker's half.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PIECE = 1 << 20
ZSTD_WINDOW_LIMIT_BYTES = 128 << 20
"""What `zstd --long=27` writes; 2 GiB is possible in the format, and refused."""
XZ_MEMORY_LIMIT_BYTES = 128 << 20
MOST_MEMBERS = 4_000_000
"""Each costs some 10 µs, however small. Tools that start a member for each file or block stay far below."""
_MAGICS = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
)
MAGIC_BYTES = 6
FREE_BYTES = 1 << 30
"""So much may come out of any stream, however short it is."""
MOST_TIMES = 500
"""As many times its size a stream may grow beyond that, unless the engine is told otherwise. gzip can reach 1,030, zstd
a hundred thousand; layers of programs and data reach 3 to 20."""


class MalformedCompression(Exception):
    """The compressed stream is damaged, cut short, or needs too much memory."""


def compression(start: bytes) -> str:
    """ "gzip", "zstd", "xz", "bzip2" or "" by a file's first bytes."""
    if start[:3] == b"\x50\x2a\x4d" or (len(start) >= 4 and start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F):
        return "zstd"  # a skippable frame first
    return next((name for magic, name in _MAGICS if start.startswith(magic)), "")


def bounded(produce: "Callable[[], bytes]", consumed: "Callable[[], int]", times: int) -> "Callable[[], bytes]":
    """`produce`, until it has given more than `times` what `consumed` says was read for it; 0: without bound.

    A bomb ends where it begins to pay: its head start is FREE_BYTES, and what it read before. The result raises
    MalformedCompression.
    """
    if not times:
        return produce
    produced = 0

    def next_piece() -> bytes:
        nonlocal produced
        data = produce()
        produced += len(data)
        if produced > FREE_BYTES and produced > times * consumed():
            raise MalformedCompression(f"the compressed stream grows to more than {times} times its size")
        return data

    return next_piece


def decompressor(kind: str, read: "Callable[[], bytes]") -> "Callable[[], bytes]":
    """A function that gives the next piece of the decompressed stream, b"" at its end. All modules are loaded by then.

    `read` gives the next piece of the compressed stream, b"" at its end. The result raises MalformedCompression.
    """
    if not kind:
        return read
    if kind == "zstd":
        return _zstd(read)
    if kind == "gzip":
        from isal import igzip_lib

        def make() -> "Any":
            return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)

        return _members(make, (igzip_lib.IsalError,), read)
    if kind == "xz":
        import lzma

        def make() -> "Any":
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_LIMIT_BYTES)

        return _members(make, (lzma.LZMAError,), read)
    import bz2

    return _members(bz2.BZ2Decompressor, (OSError,), read)


def _members(make: "Callable[[], Any]", failures: "Any", read: "Callable[[], bytes]") -> "Callable[[], bytes]":
    """Members one after the other, as `gzip`, `xz` and `bzip2` concatenate them; zeros may pad the end."""
    state = make()
    members = 1
    pending = b""

    def next_piece() -> bytes:
        nonlocal state, members, pending
        while True:
            if state.eof:
                pending = (state.unused_data or pending).lstrip(b"\0")
                while not pending:
                    pending = read()
                    if not pending:
                        return b""
                    pending = pending.lstrip(b"\0")
                state = make()
                members += 1
                if members > MOST_MEMBERS:
                    raise MalformedCompression("the compressed stream has too many members")
            elif state.needs_input:
                pending = read()
                if not pending:
                    raise MalformedCompression("the compressed stream ends too early")
            try:
                data = state.decompress(pending, PIECE)
            except failures as error:
                raise MalformedCompression("the compressed stream is damaged") from error
            pending = b""
            if data:
                return bytes(data)

    return next_piece


class _Pieces:
    """What zstandard reads from: it asks for n bytes and takes fewer. After the stream comes `seal`, a frame of ours.

    In one piece with the stream's end: of a header that was cut libzstd knows nothing when a whole frame comes next.
    """

    def __init__(self, read: "Callable[[], bytes]", seal: bytes) -> None:
        self._read = read
        self._seal = seal
        self._data = b""
        self._ahead: bytes | None = None

    def _refill(self) -> bytes:
        data = self._read() if self._ahead is None else self._ahead
        if data:
            self._ahead = self._read()
            if not self._ahead:
                data += self._seal
        return data

    def read(self, size: int = -1) -> bytes:
        if not self._data:
            self._data = self._refill()
        data, self._data = (self._data, b"") if size < 0 else (self._data[:size], self._data[size:])
        return data


def _zstd(read: "Callable[[], bytes]") -> "Callable[[], bytes]":
    """zstandard takes a stream that is cut short for a whole one. So a frame with random content is appended, which
    must come out last: a cut frame swallows it.
    """
    import zstandard

    mark = os.urandom(16) * 64  # compressed in the frame, so a cut block that passes bytes on does not show it
    source: Any = _Pieces(read, zstandard.ZstdCompressor().compress(mark))
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_LIMIT_BYTES)
    reader = decompressor.stream_reader(source, read_size=PIECE, read_across_frames=True)
    held = b""
    ended = False

    def next_piece() -> bytes:
        nonlocal held, ended
        while True:
            try:
                data = reader.read(PIECE)
            except zstandard.ZstdError as error:
                raise MalformedCompression("the compressed stream is damaged or needs too large a window") from error
            if not data:
                if ended:
                    return b""
                if not held.endswith(mark):
                    raise MalformedCompression("the compressed stream ends too early")
                ended = True
                data, held = held[: -len(mark)], b""
                return data
            if len(data) < len(mark):
                held += data
            elif held:
                data, held = held, data
                return data
            else:
                held = data

    return next_piece
