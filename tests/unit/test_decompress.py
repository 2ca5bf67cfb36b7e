"""Decoders: whole streams, members one after the other, damage, cuts and bombs."""

import bz2
import gzip
import lzma
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import zstandard

from onggi.images import decompress as decompress_module
from onggi.images.decompress import PIECE, MalformedCompression, bounded, compression, decompressor

DATA = os.urandom(300_000) + b"x" * 5_000_000


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


KINDS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "zstd": _zstd, "xz": lzma.compress, "bzip2": bz2.compress, "": bytes,
}  # fmt: skip
COMPRESSED = [kind for kind in KINDS if kind]


def decompress(data: bytes, size: int = 50_000) -> bytes:
    kind = compression(data[:6])
    parts = iter([data[at : at + size] for at in range(0, len(data), size)])
    read = decompressor(kind, lambda: next(parts, b""))
    out = []
    while piece := read():
        assert len(piece) <= PIECE
        out.append(piece)
    return b"".join(out)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [7777, 1 << 30])
def test_gives_what_was_compressed(kind: str, size: int) -> None:
    data = KINDS[kind](DATA[-1_000_000:] if kind == "" else DATA)
    assert compression(data[:6]) == kind
    assert decompress(data, size) == (DATA[-1_000_000:] if kind == "" else DATA)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_members_follow_each_other(kind: str) -> None:
    assert (
        decompress(KINDS[kind](b"one") + KINDS[kind](DATA) + KINDS[kind](b"") + KINDS[kind](b"two"))
        == b"one" + DATA + b"two"
    )


def test_members_are_not_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompress_module, "MOST_MEMBERS", 1000)
    assert decompress(gzip.compress(b"x") * 1000) == b"x" * 1000
    with pytest.raises(MalformedCompression, match="too many members"):
        decompress(gzip.compress(b"x") * 1001)


@pytest.mark.parametrize("kind", ["gzip", "xz", "bzip2"])
def test_zeros_may_pad_the_end(kind: str) -> None:
    assert decompress(KINDS[kind](b"one") + bytes(1000)) == b"one"


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("cut", [1, 4, 5, 8, 9, 1000, 150_000])
def test_a_cut_stream_is_refused(kind: str, cut: int) -> None:
    with pytest.raises(MalformedCompression):
        decompress(KINDS[kind](DATA)[:-cut])


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_small_stream_is_refused_wherever_it_is_cut(kind: str) -> None:
    """Also where nothing has come out yet."""
    whole = KINDS[kind](DATA[:3000])
    for size in range(6, len(whole)):
        with pytest.raises(MalformedCompression):
            decompress(whole[:size])


@pytest.mark.parametrize("kind", COMPRESSED)
def test_junk_after_a_member_is_refused(kind: str) -> None:
    with pytest.raises(MalformedCompression):
        decompress(KINDS[kind](b"one") + b"junk that is no member")


@pytest.mark.parametrize("kind", ["gzip", "xz", "bzip2"])
def test_damage_is_refused(kind: str) -> None:
    data = bytearray(KINDS[kind](DATA))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(MalformedCompression):
        decompress(bytes(data))


def test_a_skippable_frame_may_come_first() -> None:
    assert decompress(b"\x50\x2a\x4d\x18\x04\0\0\0skip" + _zstd(DATA)) == DATA


def test_a_large_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30)
    data = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(MalformedCompression, match="too large a window"):
        decompress(data.compress(b"x") + data.flush())


_BOMB = """
import resource, sys
from onggi.images.decompress import compression, decompressor
with open(sys.argv[1], "rb") as file:
    read = decompressor(compression(file.read(6)), (file.seek(0), lambda: file.read(262144))[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = 0
    while piece := read():
        total += len(piece)
print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_bomb_takes_no_memory(kind: str, tmp_path: os.PathLike[str]) -> None:
    size = 200_000_000
    bomb = os.path.join(tmp_path, "bomb")
    with open(bomb, "wb") as file:
        file.write(KINDS[kind](bytes(size)))
    run = subprocess.run([sys.executable, "-c", _BOMB, bomb], capture_output=True, text=True, check=True, timeout=100)
    total, grown_kb = map(int, run.stdout.split())
    assert total == size
    assert grown_kb < 40_000


def test_a_stream_may_grow_so_many_times_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompress_module, "FREE_BYTES", 1000)
    consumed = 0

    def produce(pieces: list[tuple[int, int]], times: int) -> int:
        """Each piece: bytes read, bytes that came of them."""
        nonlocal consumed
        consumed, left = 0, iter(pieces)

        def piece() -> bytes:
            nonlocal consumed
            read, produced = next(left, (0, 0))
            consumed += read
            return bytes(produced)

        give, total = bounded(piece, lambda: consumed, times), 0
        while data := give():
            total += len(data)
        return total

    assert produce([(1, 1000)], 10) == 1000
    assert produce([(200, 1500), (0, 500)], 10) == 2000
    assert produce([(1, 1500)], 0) == 1500
    for pieces in ([(1, 1001)], [(100, 1000), (0, 1)]):
        with pytest.raises(MalformedCompression, match="grows to more than 10 times its size"):
            produce(pieces, 10)
