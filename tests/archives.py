"""Raw tar blocks, so that every field can lie."""

from collections.abc import Sequence


def raw(
    name: bytes, *, kind: bytes = b"0", mode: int = 0o644, uid: bytes = b"0000000\0", gid: bytes = b"0000000\0",
    size: bytes | None = None, mtime: int = 0, target: bytes = b"", content: bytes = b"", checksum: bytes | None = None,
    device: tuple[int, int] = (0, 0), sparse: Sequence[tuple[int, int]] = (), realsize: int = 0, extended: bool = False,
) -> bytes:  # fmt: skip
    """One entry, padded. `size` and `checksum` are right unless they are given."""
    block = bytearray(512)

    def put(at: int, value: bytes) -> None:
        block[at : at + len(value)] = value

    put(0, name[:100])
    put(100, b"%07o\0" % mode)
    put(108, uid)
    put(116, gid)
    put(124, b"%011o\0" % len(content) if size is None else size)
    put(136, b"%011o\0" % mtime)
    put(148, b"        ")
    put(156, kind)
    put(157, target[:100])
    put(257, b"ustar\00000" if kind != b"S" else b"ustar  \0")
    put(329, b"%07o\0%07o\0" % device)
    for number, (offset, length) in enumerate(sparse):
        put(386 + 24 * number, b"%011o\0%011o\0" % (offset, length))
    if kind == b"S":
        put(482, bytes([extended]))
        put(483, b"%011o\0" % realsize)
    put(148, b"%06o\0 " % sum(block) if checksum is None else checksum)
    return bytes(block) + content + bytes(-len(content) % 512)


def pax(name: bytes, records: dict[bytes, bytes]) -> bytes:
    """A PAX header that precedes an entry."""
    lines = []
    for key, value in records.items():
        rest = len(key) + len(value) + 3
        length = rest + len(str(rest))
        length += len(str(rest + len(str(length)))) - len(str(rest))
        lines.append(b"%d %s=%s\n" % (length, key, value))
    return raw(b"PaxHeaders/" + name[-80:], kind=b"x", content=b"".join(lines))
