"""Mutated archives, streams and documents: no crash, no hang, nothing outside. Fixed seeds; all 10⁵ by `ONGGI_TESTS_WHOLE=1`.

What a failure prints can be run alone: `python -m tests.fuzz_archives SEED NUMBER 1 EMPTY_DIRECTORY`.
"""

import asyncio
import bz2
import gzip
import lzma
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from onggi.images.decompress import MAGIC_BYTES, MalformedCompression, compression, decompressor
from onggi.images.worker_process import Integrity
from onggi.linux import tree
from onggi.linux.fd import Fd
from tests import fuzz_documents
from tests.fuzz_archives import archive
from tests.image_census import orphans
from tests.image_store import Store, with_store

WHOLE = os.environ.get("ONGGI_TESTS_WHOLE") == "1"
SEED = "onggi"
HANG_S = 3000 if WHOLE else 100
pytestmark = pytest.mark.timeout(HANG_S + 60)
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor(write_checksum=True).compress, "xz": lzma.compress,
    "bzip2": bz2.compress,
}  # fmt: skip


def test_archives_become_layers_or_are_refused(tmp_path: Path) -> None:
    """By the confined half of a worker, thousands in one process."""
    count = 100_000 if WHOLE else 1_500
    directory = tmp_path / "confined"
    directory.mkdir()
    command = [sys.executable, "-m", "tests.fuzz_archives", SEED, "0", str(count), str(directory)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.fail(f"case {(directory / 'at').read_text()} of {SEED} does not end")
    finally:
        with Fd(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)) as here:
            tree.remove(here, "confined")  # whatever was made, it can be deleted
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    made, refused = map(int, done.stdout.split())
    assert (made + refused, made > count // 5, refused > count // 5) == (count, True, True)


def test_workers_say_how_it_ended(tmp_path: Path) -> None:
    """The same by a process for each, compressed, some of them damaged: a layer or Integrity, and nothing is left."""
    count = 1000 if WHOLE else 25

    async def work(store: Store) -> None:
        outcomes = []
        for number in range(count):
            chance = random.Random(f"{SEED}-{number}")
            data = bytearray(chance.choice([bytes, *COMPRESS.values()])(archive(SEED, number)))
            if data and chance.random() < 0.3:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            path = tmp_path / "blob"
            path.write_bytes(data)
            with Fd(os.open(path, os.O_RDONLY)) as blob:
                try:
                    async with asyncio.timeout(HANG_S), store.images.unpack(None, blob) as unpacking:
                        await unpacking.finish(len(data))
                    outcomes.append("made")
                except Integrity:
                    outcomes.append("refused")
        assert (set(outcomes), len(outcomes)) == ({"made", "refused"}, count)
        await store.images.collect_layers([row["key"] for row in store.database.read(
            lambda connection: connection.execute("SELECT key FROM layers").fetchall())])  # fmt: skip
        await store.settled()
        assert orphans(store.root) == []

    with_store(tmp_path / "data", work)


def test_streams_end_or_are_refused() -> None:
    """Bits turned over, pieces cut out or doubled: what comes out without a refusal is a beginning or the whole."""
    text = random.Random(SEED).randbytes(20_000) + bytes(60_000)
    whole = {kind: compress(text) for kind, compress in COMPRESS.items()}
    refused = 0
    count = 40_000 if WHOLE else 2_000
    for number in range(count):
        chance = random.Random(f"{SEED}-{number}")
        data = bytearray(whole[chance.choice(list(whole))])
        for _ in range(chance.randint(1, 3)):
            at, size = chance.randrange(len(data)), chance.randrange(50)
            match chance.randrange(4):
                case 0:
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    del data[at : at + size]
                case 2:
                    data[at:at] = data[at : at + size]
                case _:
                    del data[at:]
                    data += b"\0"
        pieces = iter([bytes(data[:at]), bytes(data[at:])])
        try:
            read = decompressor(compression(bytes(data[:MAGIC_BYTES])), lambda: next(pieces, b""))  # noqa: B023 (used at once)
            out = 0
            while piece := read():
                out += len(piece)
                assert out < 100 << 20, f"stream {number} of {SEED} does not end"
        except MalformedCompression:
            refused += 1
    assert refused > count // 2


def test_documents_are_read_or_refused() -> None:
    assert fuzz_documents.main(SEED, 0, 100_000 if WHOLE else 8_000) == ""
