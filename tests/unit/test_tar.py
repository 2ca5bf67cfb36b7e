"""The tar reader and writer: what they take, what comes back, and what is refused whatever it costs the archive."""

import contextlib
import io
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    MalformedArchive,
    TarReader,
)
from onggi.images.tar_writer import END, header, padding
from tests.archives import pax, raw


def pieces(data: bytes, size: int = 1000) -> Callable[[], bytes]:
    """A stream of `data` in pieces that fit no block."""
    parts = iter([data[at : at + size] for at in range(0, len(data), size)])
    return lambda: next(parts, b"")


def read_all(data: bytes, tmp_path: Path, size: int = 1000) -> list[tuple[Entry, bytes]]:
    reader = TarReader(pieces(data, size))
    found = []
    while (entry := reader.next()) is not None:
        with (tmp_path / "content").open("w+b", buffering=0) as file:
            for offset, length in entry.sparse if entry.sparse is not None else [(0, entry.size)]:
                file.seek(offset)
                reader.copy(file.fileno(), length if entry.kind == FILE else 0)
            file.truncate(entry.size)
            file.seek(0)
            found.append((entry, file.read()))
    reader.drain()
    return found


def values(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Entry.__slots__}


_names = st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"\0", b"n").rstrip(b"/") or b"n")


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    entry = Entry()
    entry.kind = draw(st.sampled_from([FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO]))
    entry.name = draw(_names) + (b"/" if entry.kind == DIRECTORY else b"")
    entry.mode = draw(st.integers(0, 0o7777))
    entry.uid, entry.gid = draw(st.integers(0, 2**32 - 2)), draw(st.integers(0, 2**32 - 2))
    entry.mtime_ns = draw(st.integers(-(2**60), 2**62))
    content = b""
    if entry.kind == FILE:
        content = draw(st.binary(max_size=3000))
        entry.size = entry.stored = len(content)
    if entry.kind in (LINK, SYMLINK):
        entry.target = draw(_names)
    if entry.kind in (CHARACTER, BLOCK_DEVICE):
        entry.device = draw(st.integers(0, 4095)), draw(st.integers(0, 2**20 - 1))
    names = st.text(st.characters(codec="ascii", exclude_characters="=\0\n"), min_size=1, max_size=40)
    entry.xattrs = draw(
        st.dictionaries(names.map(lambda name: b"user." + name.encode()), st.binary(min_size=1), max_size=3)
    )
    return entry, content


@settings(max_examples=200, deadline=None)
@given(st.lists(entries(), max_size=6), st.integers(1, 2000))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, drawn: Any, size: int) -> None:
    data = b"".join(header(entry) + content + padding(len(content)) for entry, content in drawn) + END
    found = read_all(data, tmp_path_factory.getbasetemp(), size)
    assert [values(entry) for entry, _ in found] == [values(entry) for entry, _ in drawn]
    assert [content for _, content in found] == [content for _, content in drawn]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_what_python_writes(kind: int, tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name in ("short", "d" * 90 + "/" + "x" * 60):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.gid, info.mtime = 700, 0o4755, 1000, 2000, 1234567890
            tar.addfile(info, io.BytesIO(b"c" * 700))
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "t" * 90
        tar.addfile(info)
    (short, content), (long, _), (link, _) = read_all(out.getvalue(), tmp_path)
    assert (short.name, short.mode, short.uid, short.gid, short.mtime_ns) == (
        b"short",
        0o4755,
        1000,
        2000,
        1234567890 * 10**9,
    )
    assert content == b"c" * 700
    assert long.name == b"d" * 90 + b"/" + b"x" * 60
    assert (link.kind, link.target) == (SYMLINK, b"t" * 90)


@pytest.mark.parametrize("version", ["gnu", "0.0", "0.1", "1.0"])
def test_reads_sparse_files_of_gnu_tar(version: str, tmp_path: Path) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        for at in range(0, 3_000_000, 300_000):
            file.seek(at)
            file.write(b"data" * 1100)
        file.truncate(5_000_000)
    form = ["--format=gnu"] if version == "gnu" else ["--format=pax", f"--sparse-version={version}"]
    archive = subprocess.run(
        ["tar", "-c", "--sparse", *form, "-C", str(tmp_path), "sparse"], capture_output=True, check=True, timeout=60
    ).stdout
    assert len(archive) < 1_000_000
    [(entry, content)] = read_all(archive, tmp_path)
    assert (entry.name, entry.size) == (b"sparse", 5_000_000)
    assert content == source.read_bytes()


def _refused(data: bytes, tmp_path: Path) -> str:
    with pytest.raises(MalformedArchive) as refused:
        read_all(data, tmp_path)
    return str(refused.value)


LIES = {
    "checksum": raw(b"a", checksum=b"0000000\0"),
    "negative size": raw(b"a", size=b"\xff" * 12),
    "enormous size": raw(b"a", size=b"\x80" + b"\xff" * 11),
    "size with a sign": raw(b"a", size=b"-0000000001\0"),
    "size with an underscore": raw(b"a", size=b"0000_000001\0"),
    "size that is not octal": raw(b"a", size=b"00000000009\0"),
    "negative uid": raw(b"a", uid=b"\xff" * 8),
    "uid of nobody at all": raw(b"a", uid=b"\x80\0\0\0\xff\xff\xff\xff"),
    "unknown type": raw(b"a", kind=b"Z"),
    "volume label": raw(b"a", kind=b"V"),
    "cut content": raw(b"a", size=b"00000100000\0"),
    "cut header": raw(b"a")[:300],
    "large PAX header": raw(b"x", kind=b"x", size=b"10000000000\0"),
    "large name": raw(b"x", kind=b"L", size=b"00100000000\0"),
    "PAX header and no entry": raw(b"x", kind=b"x", content=b"7 a=bc\n") + END,
    "PAX length beyond": raw(b"x", kind=b"x", content=b"99 path=x\n"),
    "PAX length zero": raw(b"x", kind=b"x", content=b"0 path=x\n"),
    "PAX length absurd": raw(b"x", kind=b"x", content=b"9" * 5000 + b" path=x\n"),
    "PAX without equals": raw(b"x", kind=b"x", content=b"7 abcd\n"),
    "PAX path with NUL": pax(b"a", {b"path": b"a\0b"}),
    "PAX size negative": pax(b"a", {b"size": b"-1"}) + raw(b"a"),
    "PAX size absurd": pax(b"a", {b"size": b"9" * 20}) + raw(b"a"),
    "PAX mtime absurd": pax(b"a", {b"mtime": b"1e9"}) + raw(b"a"),
    "endless prefaces": raw(b"x", kind=b"L", content=b"n\0") * 100 + raw(b"a"),
    "sparse map past the end": raw(b"a", kind=b"S", sparse=[(0, 512), (1024, 512)], realsize=1024, content=b"x" * 1024),
    "sparse map overlapping": raw(b"a", kind=b"S", sparse=[(0, 512), (256, 512)], realsize=4096, content=b"x" * 1024),
    "sparse map of other size": raw(b"a", kind=b"S", sparse=[(0, 512)], realsize=4096, content=b"x" * 1024),
    "sparse map endless": raw(b"a", kind=b"S", sparse=[(0, 0)] * 4, realsize=4096, extended=True)
    + (b"00000000000\0" * 42 + b"\1" + bytes(7)) * 4000,
    "sparse 1.0 count absurd": pax(
        b"a", {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"9"}
    )
    + raw(b"a", content=b"9999999999999\n".ljust(512, b"\0")),
    "sparse of the future": pax(b"a", {b"GNU.sparse.major": b"2", b"GNU.sparse.minor": b"0"}) + raw(b"a"),
}


@pytest.mark.parametrize("lie", LIES)
def test_refuses_archives_that_lie(lie: str, tmp_path: Path) -> None:
    assert _refused(LIES[lie], tmp_path)


def test_data_after_the_end_is_read_but_not_for_ever() -> None:
    def endless() -> Iterator[bytes]:
        yield raw(b"a") + END
        while True:
            yield bytes(1 << 20)

    stream = endless()
    reader = TarReader(lambda: next(stream))
    while reader.next() is not None:
        pass
    with pytest.raises(MalformedArchive, match="too much data after the end"):
        reader.drain()


def test_a_megabyte_of_long_names_costs_no_more_memory(tmp_path: Path) -> None:
    data = raw(b"x", kind=b"L", content=b"n" * (1 << 20)) + raw(b"a")
    tracemalloc.start()
    try:
        for _ in range(8):
            read_all(data, tmp_path, 1 << 16)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


_valid = b"".join(
    [pax(b"f", {b"path": b"long", b"user.x": b"y"}), raw(b"f", content=b"hello"), raw(b"l", kind=b"2", target=b"t")]
)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(_valid) - 1), st.integers(0, 255)), max_size=12), st.integers(0, len(_valid))
)
def test_damage_is_refused_or_read_but_never_anything_else(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(_valid)
    for at, value in damage:
        data[at] = value
    # The checksum would catch nearly all of it: it is made right again.
    for at in range(0, len(data), BLOCK):
        block = data[at : at + BLOCK]
        if block[257:262] == b"ustar":
            block[148:156] = b"        "
            data[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    with contextlib.suppress(MalformedArchive):
        read_all(bytes(data[:cut]), tmp_path_factory.getbasetemp())
