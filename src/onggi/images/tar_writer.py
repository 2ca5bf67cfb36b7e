"""Tar headers as bytes: ustar, with a PAX header where a value does not fit. What `tar_reader` reads comes back equal.

Part of the worker's half. (POSIX pax "ustar Interchange Format")
"""

from onggi.images.tar_reader import (
    BLOCK,
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    LINK,
    SYMLINK,
    Entry,
)

END = bytes(2 * BLOCK)
"""What an archive ends with."""
_OCTAL_7 = 0o7777777
_OCTAL_11 = 0o77777777777
_NAME_BYTES = 100
_TYPES = {FILE: b"0", LINK: b"1", SYMLINK: b"2", CHARACTER: b"3", BLOCK_DEVICE: b"4", DIRECTORY: b"5", FIFO: b"6"}


def header(entry: Entry) -> bytes:
    """All blocks that precede the entry's content. A directory's name ends with "/"."""
    records = {}
    if len(entry.name) > _NAME_BYTES or not entry.name.isascii():
        records[b"path"] = entry.name
    if len(entry.target) > _NAME_BYTES or not entry.target.isascii():
        records[b"linkpath"] = entry.target
    size = entry.size if entry.kind == FILE else 0
    if size > _OCTAL_11:
        records[b"size"] = b"%d" % size
    if entry.uid > _OCTAL_7:
        records[b"uid"] = b"%d" % entry.uid
    if entry.gid > _OCTAL_7:
        records[b"gid"] = b"%d" % entry.gid
    seconds, fraction = divmod(entry.mtime_ns, 1_000_000_000)
    plain_seconds = min(max(seconds, 0), _OCTAL_11)
    if fraction or not 0 <= seconds <= _OCTAL_11:
        records[b"mtime"] = _time(entry.mtime_ns)
    for name, value in sorted(entry.xattrs.items()):
        records[b"SCHILY.xattr." + name] = value
    blocks = b""
    if records:
        content = b"".join(_record(key, value) for key, value in records.items())
        blocks = _block(b"PaxHeaders/" + entry.name[-80:], b"x", size=len(content), mtime=plain_seconds)
        blocks += content + bytes(-len(content) % BLOCK)
    return blocks + _block(
        entry.name[:_NAME_BYTES], _TYPES[entry.kind], mode=entry.mode, uid=min(entry.uid, _OCTAL_7),
        gid=min(entry.gid, _OCTAL_7), size=min(size, _OCTAL_11), mtime=plain_seconds,
        target=entry.target[:_NAME_BYTES], device=entry.device,
    )  # fmt: skip


def padding(size: int) -> bytes:
    """What follows a content of `size` bytes."""
    return bytes(-size % BLOCK)


def _time(mtime_ns: int) -> bytes:
    sign = b"-" if mtime_ns < 0 else b""
    seconds, fraction = divmod(abs(mtime_ns), 1_000_000_000)
    return sign + b"%d.%09d" % (seconds, fraction) if fraction else sign + b"%d" % seconds


def _record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3  # the space, "=" and the newline
    length = rest + len(str(rest))
    if rest + len(str(length)) != length:
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def _block(
    name: bytes, kind: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0, size: int = 0, mtime: int = 0,
    target: bytes = b"", device: tuple[int, int] = (0, 0),
) -> bytes:  # fmt: skip
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode & 0o7777, uid, gid, size, mtime),
            b"        ",
            kind,
            target.ljust(100, b"\0"),
            b"ustar\00000",
            bytes(64),
            b"%07o\0%07o\0" % device,
            bytes(167),
        )
    )
    return b"%s%06o\0 %s" % (block[:148], sum(block), block[156:])
