"""tar → layer → tar is the identity, byte by byte, for any tree; and so is layer → tar → layer for an upper directory."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.images.changes import opaque_directories
from onggi.images.layer import Extraction
from onggi.images.layers import mark_opaque
from onggi.images.pack import Packing
from onggi.images.tar_reader import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Entry, TarReader
from onggi.images.tar_writer import END, header, padding
from onggi.linux.fd import Fd

_name = st.binary(min_size=1, max_size=40).map(lambda name: name.replace(b"\0", b"0").replace(b"/", b"_")).filter(
    lambda name: name not in (b".", b"..") and not name.startswith(b".wh.")
)  # fmt: skip
_owner = st.sampled_from([0, 1, 1000, 65534, 2**21, 2**32 - 2])
_time = st.one_of(st.integers(0, 2**33).map(lambda seconds: seconds * 10**9), st.integers(0, 2**62))
_xattrs = st.dictionaries(st.sampled_from([b"user.a", b"user.b.c"]), st.binary(min_size=1, max_size=50), max_size=2)
_file_mode = st.integers(0, 0o7777)


def _described(draw: st.DrawFn, kind: str) -> Entry:
    entry = Entry()
    entry.kind = kind
    entry.mode, entry.uid, entry.gid, entry.mtime_ns = draw(_file_mode), draw(_owner), draw(_owner), draw(_time)
    return entry


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> dict[bytes, Any]:
    """Name → (entry, content or inner tree)."""
    found: dict[bytes, Any] = {}
    for name in draw(st.lists(_name, max_size=5, unique=True)):
        kinds = [FILE, FILE, SYMLINK, CHARACTER, BLOCK_DEVICE, FIFO] + ([DIRECTORY] * 3 if depth else [])
        kind = draw(st.sampled_from(kinds))
        entry = _described(draw, kind)
        inner: Any = b""
        if kind == DIRECTORY:
            inner, entry.xattrs = draw(trees(depth=depth - 1)), draw(_xattrs)
        elif kind == FILE:
            inner, entry.xattrs = draw(st.binary(max_size=2000)), draw(_xattrs)
            entry.size = entry.stored = len(inner)
        elif kind == SYMLINK:
            entry.mode = 0o777
            entry.target = draw(_name)
        elif kind in (CHARACTER, BLOCK_DEVICE):
            entry.device = draw(st.integers(1, 4095)), draw(st.integers(0, 2**20 - 1))
        found[name] = entry, inner
    return found


def archive(tree: dict[bytes, Any]) -> bytes:
    """The tar of a tree, in the order in which a directory is walked."""
    out: list[bytes] = []
    files: list[Entry] = []

    def put(tree: dict[bytes, Any], prefix: bytes) -> None:
        for name, (entry, inner) in sorted(tree.items()):
            entry.name = prefix + name + (b"/" if entry.kind == DIRECTORY else b"")
            out.append(header(entry))
            if entry.kind == DIRECTORY:
                put(inner, entry.name)
            elif entry.kind == FILE:
                out.append(inner + padding(len(inner)))
                files.append(entry)

    put(tree, b"")
    if files:
        # One hard link, to a name that sorts after all others.
        link = Entry()
        first = files[len(files) // 2]
        link.kind, link.name, link.target = LINK, b"\xff" * 60, first.name
        link.mode, link.uid, link.gid, link.mtime_ns = first.mode, first.uid, first.gid, first.mtime_ns
        out.append(header(link))
    return b"".join(out) + END


def extract(data: bytes, root: Path) -> Extraction:
    root.mkdir()
    before = os.umask(0)
    try:
        pieces = iter([data[at : at + 1500] for at in range(0, len(data), 1500)])
        with Fd(os.open(root, os.O_RDONLY | os.O_DIRECTORY)) as directory:
            extraction = Extraction(directory.fileno())
            extraction.run(TarReader(lambda: next(pieces, b"")))
            mark_opaque(directory, extraction.opaque)
            return extraction
    finally:
        os.umask(before)


def pack(root: Path, *, layer: bool) -> bytes:
    out: list[bytes] = []
    with Fd(os.open(root, os.O_RDONLY | os.O_DIRECTORY)) as directory:
        opaque = opaque_directories(directory) if layer else []
        Packing(directory.fileno(), out.append, layer=layer, opaque=opaque).run()
    return b"".join(out)


@settings(max_examples=150, deadline=None)
@given(trees())
def test_a_tree_comes_back_as_the_same_bytes(tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, Any]) -> None:
    root = tmp_path_factory.mktemp("round") / "layer"
    data = archive(tree)
    extraction = extract(data, root)
    assert pack(root, layer=False) == data
    assert extraction.implied == [b""]
    assert extraction.size_bytes == sum(
        status.st_size
        for path in root.rglob("*")
        if stat.S_ISREG((status := path.lstat()).st_mode) or stat.S_ISLNK(status.st_mode)
        if path.name != "\udcff" * 60
    )


def test_whiteouts_and_opaque_directories_come_back(tmp_path: Path) -> None:
    entries: list[Entry] = []
    names = {b"d/": DIRECTORY, b"d/.wh..wh..opq": FILE, b"d/f": FILE, b"d/.wh.x": FILE, b".wh.gone": FILE}
    for name, kind in names.items():
        entry = Entry()
        entry.name, entry.kind, entry.mode = name, kind, 0o755 if kind == DIRECTORY else 0o600
        entries.append(entry)
    data = b"".join(header(entry) for entry in entries) + END
    extract(data, tmp_path / "layer")
    assert pack(tmp_path / "layer", layer=True) == data
    assert stat.S_ISCHR((tmp_path / "layer/gone").lstat().st_mode)
