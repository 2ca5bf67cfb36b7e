"""Compress one finished file of a log: gzip (RFC 1952), with Docker's extra field in the header."""

import os
import struct
import time
import zlib

from onggi import jsontext

_CHUNK = 1 << 20
_HEADER = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"
"""Deflate, an extra field follows, no time, unknown system."""


def compress(source: int, target: int) -> None:
    """Write the compressed form of one open file to another. Raises OSError."""
    original = os.fstat(source)
    second, fraction = divmod(original.st_mtime_ns, 1_000_000_000)
    extra = jsontext.dumps({
        # Docker leaves out files whose last record is older than `since`: the last write is never before it.
        "lastTime": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{fraction:09d}Z",
        "inode": original.st_ino,
        "size": original.st_size,
        "mtime_ns": original.st_mtime_ns,
    }).encode("ascii")  # fmt: skip
    _write(target, _HEADER + struct.pack("<H", len(extra)) + extra)
    deflate = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
    checksum = size = 0
    while chunk := os.pread(source, _CHUNK, size):
        checksum = zlib.crc32(chunk, checksum)
        size += len(chunk)
        _write(target, deflate.compress(chunk))
    _write(target, deflate.flush() + struct.pack("<II", checksum, size & 0xFFFFFFFF))


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
