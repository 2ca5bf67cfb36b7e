"""Archives, mutated and invented, extracted by the confined half of a worker: each becomes a layer or gets a refusal.

    python -m tests.fuzz_archives SEED FIRST COUNT DIRECTORY

Confines itself into DIRECTORY as a worker does, then extracts case after case beneath it. Case n of a seed is always the
same. Prints the number of layers made and of refusals; or, ending with status 1, the first case that ended otherwise,
took long, or changed anything outside its own directory. After each case its number stands in DIRECTORY/at.
"""

import os
import random
import sys
import time

from onggi.images.confine import WRITER, confine
from onggi.images.layer import Extraction, LayerFailure
from onggi.images.tar_reader import MalformedArchive, TarReader
from tests.archives import pax, raw

MOST_S = 10.0
"""For one archive of some kilobytes."""
CANARIES = ("canary", "etc/passwd")
BLOCK = 512

NAMES = [
    b"a", b"b", b"a/b", b"a/b/c", b"/a", b"./a", b"../a", b"a/../../b", b"..", b".", b"/", b"", b"a/", b"b/.", b"canary",
    b"../canary", b"/etc/passwd", b"etc", b"etc/passwd", b".wh.a", b"a/.wh.b", b".wh..", b".wh.", b".wh..wh..opq",
    b"a/.wh..wh..opq", b".wh..wh.aufs", b".wh.a/b", b"\xff\xfe", b"a\nb", b"d" * 99, b"l", b"l/x", b"l/../y", b"l/l/l", b"h",
]  # fmt: skip
GOOD_NAMES = [
    b"a", b"b", b"a/b", b"a/b/c", b"/a", b"./b", b"c/../a", b"l", b"l/x", b"l/../y", b"h", b".wh.a", b"a/.wh.b",
    b"a/.wh..wh..opq", b"canary", b"etc/passwd", b"\xff",
]  # fmt: skip
TARGETS = [
    b"a", b"b", b"/", b"..", b"../..", b"../canary", b"/canary", b"/etc", b"/etc/passwd", b"l", b"l/a", b"a/b", b"", b"missing",
    b"/proc/self/root", b"x/" * 40, b"\xff",
]  # fmt: skip
GOOD_TARGETS = [b"a", b"b", b"/", b"..", b"../../canary", b"/etc", b"a/b", b"/a"]
KINDS = [bytes([kind]) for kind in b"00122345567SLKxgVZ\0"]
GOOD_KINDS = [bytes([kind]) for kind in b"0055223611xL"]
NUMBERS = [
    b"0" * 11 + b"\0", b"7" * 11 + b"\0", b"\x80" + bytes(10) + b"\x01", b"\x80" + b"\xff" * 11, b"\xff" * 12, b" " * 12,
    bytes(12), b"-0000000001\0", b"0000000000x\0", b"00000001000\0", b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7,
]  # fmt: skip
FIELDS = [
    (100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (148, 8), (329, 8), (337, 8), (386, 12), (398, 12), (483, 12), (482, 1),
]  # fmt: skip
"""Where a header's numbers begin, and their lengths."""
RECORDS = [
    (b"path", NAMES), (b"linkpath", TARGETS), (b"size", [b"0", b"1", b"511", b"-1", b"9" * 19, b"9223372036854775807"]),
    (b"uid", [b"0", b"4294967294", b"4294967295", b"-1"]), (b"gid", [b"7"]), (b"mtime", [b"1.5", b"-1", b"9" * 18, b"1e9", b"."]),
    (b"SCHILY.xattr.user.a", [b"x", b"x" * 5000, b"\0"]), (b"SCHILY.xattr.trusted.overlay.opaque", [b"y"]),
    (b"SCHILY.xattr.security.capability", [b"junk", b"\1\0\0\2" + bytes(16)]), (b"SCHILY.xattr.", [b"x"]),
    (b"SCHILY.xattr.user.\xff", [b"x"]), (b"GNU.sparse.major", [b"1", b"0", b"2"]), (b"GNU.sparse.minor", [b"0", b"1"]),
    (b"GNU.sparse.realsize", [b"0", b"1000", b"9" * 18]), (b"GNU.sparse.size", [b"1000", b"9" * 18]),
    (b"GNU.sparse.map", [b"0,1", b"0,0", b"1", b"999,1", b"5,5,3,3"]), (b"GNU.sparse.name", NAMES),
    (b"GNU.sparse.offset", [b"0"]), (b"GNU.sparse.numbytes", [b"1"]), (b"", [b""]), (b"hdrcharset", [b"BINARY"]),
]  # fmt: skip
GOOD_RECORDS = [
    (b"mtime", [b"1.5", b"-1"]), (b"uid", [b"7"]), (b"SCHILY.xattr.user.a", [b"x" * 500]), (b"path", [b"a/c", b"l/c"]),
    (b"SCHILY.xattr.trusted.overlay.opaque", [b"y"]), (b"linkpath", [b"/a", b"../../canary"]),
]  # fmt: skip


def _entry(chance: random.Random) -> bytes:
    """An entry that is mostly right, of names that meet each other."""
    odd = chance.random() < 0.15
    names, targets = (NAMES, TARGETS) if odd else (GOOD_NAMES, GOOD_TARGETS)
    kind = chance.choice(KINDS if odd else GOOD_KINDS)
    content = b""
    if kind in (b"0", b"7", b"\0", b"S") or chance.random() < 0.1:
        content = bytes(chance.choice([0, 1, 511, 512, 513, 3000]))
    if kind in (b"L", b"K"):
        content = chance.choice(names) * chance.choice([1, 1, 1, 50]) + b"\0"
    elif kind in (b"x", b"g"):
        known = RECORDS if odd else GOOD_RECORDS
        records = {key: chance.choice(values) for key, values in chance.sample(known, chance.randint(1, 3))}
        return pax(b"p", records) if kind == b"x" else raw(b"p", kind=b"g", content=b"7 a=bc\n")
    return raw(
        chance.choice(names), kind=kind, mode=chance.choice([0o644, 0o755, 0, 0o7777]), target=chance.choice(targets),
        uid=chance.choice([b"0000000\0", b"0001750\0", b"\xff" * 8 if odd else b"0000001\0"]),
        size=chance.choice(NUMBERS) if odd else None, content=content,
        device=chance.choice([(0, 0), (8, 0), (1, 3), (5000, 1) if odd else (5, 1)]),
        sparse=[(0, 1), (600, 1)][: chance.randint(0, 2)], realsize=chance.choice([0, 1000, 8**11 - 1]),
        extended=chance.random() < 0.1,
    )  # fmt: skip


def _with_checksum(block: bytearray) -> None:
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)


def _mutate(chance: random.Random, data: bytearray) -> None:
    """One change, of which a checksum knows nothing for the most part."""
    blocks = len(data) // BLOCK
    at = chance.randrange(blocks) * BLOCK if blocks else 0
    act = chance.randrange(7)
    if act == 0:
        start, size = chance.choice(FIELDS)
        data[at + start : at + start + size] = chance.choice(NUMBERS)[:size]
    elif act == 1:
        for _ in range(chance.randint(1, 8)):
            data[at + chance.randrange(BLOCK)] = chance.choice([0, 0xFF, 0x80, chance.randrange(256)])
    elif act == 2:
        data[at : at + BLOCK] = b""
    elif act == 3:
        data[at:at] = data[at : at + BLOCK] * chance.choice([1, 1, 2, 40])
    elif act == 4:
        data[at:at] = _entry(chance)
    elif act == 5:
        del data[chance.randrange(len(data)) :]
        return
    else:
        data[at + 156] = chance.choice(KINDS)[0]
    if chance.random() < 0.85 and len(data) >= at + BLOCK and b"ustar" in data[at + 257 : at + 263]:
        block = data[at : at + BLOCK]
        _with_checksum(block)
        data[at : at + BLOCK] = block


def archive(seed: str, number: int) -> bytes:
    chance = random.Random(f"{seed}-{number}")
    data = bytearray(b"".join(_entry(chance) for _ in range(chance.randint(1, 12))))
    for _ in range(chance.choice([0, 0, 0, 1, 3])):
        if len(data) >= BLOCK:
            _mutate(chance, data)
    if chance.random() < 0.7:
        data += bytes(1024)
    if chance.random() < 0.1:
        data += chance.randbytes(chance.randrange(2000))
    return bytes(data)


def _extract(data: bytes, cases: int, name: str) -> bool:
    """True when it became a layer, False when it was refused. Only the calls ending in "at" are allowed by now."""
    os.mkdir(name, dir_fd=cases)
    root = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=cases)
    try:
        step = 1000
        pieces = iter([data[at : at + step] for at in range(0, len(data), step)])
        reader = TarReader(lambda: next(pieces, b""))
        Extraction(root).run(reader)
        reader.drain()
    except (LayerFailure, MalformedArchive):
        return False
    finally:
        os.close(root)
    return True


def _outside() -> list[object]:
    """All that is there but the cases' own directories; a change of a mode, an owner or a link count shows, too."""
    return [(path, sorted(os.listdir(path)), os.lstat(path).st_mode) for path in ("/", "/etc")] + [
        tuple(
            getattr(os.lstat(path), name)
            for name in ("st_ino", "st_mode", "st_uid", "st_nlink", "st_size", "st_ctime_ns")
        )
        for path in CANARIES
    ]


def _where(error: BaseException) -> str:
    """The lines that it came through, without reading any file."""
    lines = []
    trace = error.__traceback__
    while trace is not None:
        lines.append(f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " ".join(lines)


def run(seed: str, first: int, count: int, say: int, progress: int) -> int:
    """The status to end with."""
    cases = os.open("cases", os.O_RDONLY | os.O_DIRECTORY)
    before = _outside()
    made = 0
    for number in range(first, first + count):
        os.pwrite(progress, b"%12d" % number, 0)
        data = archive(seed, number)
        begun = time.monotonic()
        wrong = ""
        try:
            made += _extract(data, cases, str(number))
        except BaseException as error:  # that is what is looked for
            wrong = f"{error!r} at {_where(error)}"
        if _outside() != before:
            wrong += f" changed what is outside: {_outside()}, not {before}"
        if time.monotonic() - begun > MOST_S:
            wrong += f" took {time.monotonic() - begun:.1f} s"
        if wrong:
            os.write(say, f"case {number} of {seed}: {wrong}\n".encode("ascii", "backslashreplace"))
            return 1
    os.write(say, b"%d %d\n" % (made, count - made))
    return 0


def main() -> None:
    """Never returns."""
    seed, first, count, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    for path in CANARIES:
        os.makedirs(os.path.dirname(f"{directory}/{path}"), exist_ok=True)
        with open(f"{directory}/{path}", "w") as canary:
            canary.write("untouched")
    os.mkdir(f"{directory}/cases")
    progress = os.open(f"{directory}/at", os.O_RDWR | os.O_CREAT, 0o600)
    random.Random("loads what it needs").randbytes(1)
    os.umask(0)
    confine(os.open(directory, os.O_RDONLY | os.O_DIRECTORY), (1, progress), WRITER, os.getppid())
    os._exit(run(seed, first, count, 1, progress))


if __name__ == "__main__":
    main()
