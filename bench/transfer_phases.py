"""Where the time of a pull goes, beside what this machine can do: `python -m bench.transfer_phases`, as root.

One layer of some 100 MB at a time. Each phase alone, by Onggi's own code and by the program that does nothing else:

download     from a registry on loopback, bytes thrown away       curl
hash         SHA-256 of the compressed blob                       openssl dgst
decompress   gzip to tar, bytes thrown away                       igzip if installed, else gzip
write        the plain tar into a directory, by the worker        tar, and cp -a of what it made
pull         all of it, side by side, as a pull does it
"""

import asyncio
import gzip
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.registry import Registry, push_image
from tests.transfer import Host

from bench.big_image import layers
from bench.image_rows import BIG
from onggi.distribution.repository import Repository
from onggi.images.decompress import MAGIC_BYTES, compression, decompressor
from onggi.linux.fd import Fd
from onggi.oci.digest import Digest

ROUNDS = 3
_PIECE = 256 << 10


def limit(command: list[str], *, into: Path | None = None) -> Callable[[], None]:
    """A program that does one of the phases, its output thrown away."""

    def run() -> None:
        if into is not None:
            shutil.rmtree(into, ignore_errors=True)
            into.mkdir()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    return run


class Phases:
    """The phases of one layer's pull, each by itself."""

    def __init__(self, directory: Path, registry: Registry) -> None:
        self._directory, self._host = directory, registry.host
        tar = layers(BIG)[1].read_bytes()
        self.pushed = push_image(registry.host, "bench/phases", "1", [tar])
        self.tar, self.blob = directory / "layer.tar", directory / "layer.tar.gz"
        self.tar.write_bytes(tar)
        self.blob.write_bytes(gzip.compress(tar, 6) if not self._fetched() else self.blob.read_bytes())
        self.url = f"http://{registry.host}/v2/bench/phases/blobs/{self.pushed.layers[0]}"

    def _fetched(self) -> bool:
        """The very blob that the registry has."""
        url = f"http://{self._host}/v2/bench/phases/blobs/{self.pushed.layers[0]}"
        return subprocess.run(["curl", "-sfo", str(self.blob), url], check=False).returncode == 0

    async def download(self, host: Host) -> None:
        registries = host.transfer._open.registries
        client = await registries.client(self._host, None)
        async with Repository(client, "bench/phases").blob(Digest(self.pushed.layers[0])) as stream:
            async for _ in stream.pieces:
                pass

    def hash(self) -> None:
        with self.blob.open("rb", buffering=0) as file:
            hashlib.file_digest(file, "sha256")

    def decompress(self) -> None:
        with self.blob.open("rb", buffering=0) as file:
            start = file.read(MAGIC_BYTES)
            file.seek(0)
            read = decompressor(compression(start), lambda: file.read(_PIECE))
            while read():
                pass

    async def write(self, host: Host) -> None:
        with Fd(os.open(self.tar, os.O_RDONLY | os.O_CLOEXEC)) as tar:
            async with host.images.unpack(None, tar) as unpacking:
                await unpacking._worker.result(self.tar.stat().st_size)
        await host.images.quiet()

    async def pull(self, host: Host) -> None:
        name = f"{self._host}/bench/phases:1"
        await host.pull(name)
        await host.images.remove(name)
        await host.images.quiet()


async def median_ms(work: Callable[[], Awaitable[None] | None]) -> float:
    taken = []
    for _ in range(ROUNDS):
        os.sync()
        begun = time.perf_counter()
        result = work()
        if result is not None:
            await result
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="onggi-phases-") as name, Registry(Path(name)) as registry:
        directory = Path(name)
        phases = Phases(directory, registry)
        unpacker = ["igzip", "-dc"] if shutil.which("igzip") else ["gzip", "-dc"]
        extracted, copied = directory / "extracted", directory / "copied"
        async with Host(directory / "host") as host:
            rows: list[tuple[str, Callable[[], Awaitable[None] | None], str, Callable[[], None] | None]] = [
                ("download", lambda: phases.download(host), "curl", limit(["curl", "-sf", phases.url])),
                ("hash", phases.hash, "openssl dgst", limit(["openssl", "dgst", "-sha256", str(phases.blob)])),
                ("decompress", phases.decompress, unpacker[0], limit([*unpacker, str(phases.blob)])),
                ("write", lambda: phases.write(host), "tar -x",
                 limit(["tar", "-xf", str(phases.tar), "-C", str(extracted)], into=extracted)),
                ("", lambda: None, "cp -a", limit(["cp", "-a", str(extracted), str(copied)], into=copied)),
                ("pull", lambda: phases.pull(host), "", None),
            ]  # fmt: skip
            sizes = phases.blob.stat().st_size / 1e6, phases.tar.stat().st_size / 1e6
            print(f"one layer: {sizes[0]:.0f} MB compressed, {sizes[1]:.0f} MB as a tar; medians of {ROUNDS}")
            print(f"{'phase':<12} {'onggi':>10}   {'limit':>10}")
            for title, ours, program, theirs in rows:
                mine = f"{await median_ms(ours):7.0f} ms" if title else ""
                other = f"{await median_ms(theirs):7.0f} ms   {program}" if theirs else ""
                print(f"{title:<12} {mine:>10}   {other}", flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
