"""Our registry beside CNCF distribution (Debian's docker-registry): `python -m bench.registry [--rounds N]`.

Both run at the same time, each with fresh storage on the same disk, open to anybody's pull; each row measures them in turn
A B A B … and prints medians, their ratio and the spread. distribution checks no rights in this set-up, ours does. The load
is made by this process's children on the same machine, so the figures are bounds from below.
"""

import argparse
import http.client
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.onggi_registry import CONFIG, LAYER, MANIFEST, OnggiRegistry, digest_of
from tests.registry import Registry, Uploader

BLOB_BYTES = 128 * 1024 * 1024
REPOSITORY = "library/app"
SECONDS = 3.0
PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Side:
    """One registry that runs."""

    name: str
    host: str
    authorization: str
    pid: int

    def upload(self) -> Uploader:
        return Uploader(self.host, REPOSITORY, authorization=self.authorization)


def put(side: Side, size_bytes: int = BLOB_BYTES) -> float:
    """MB/s of one monolithic upload (POST, PUT) of new bytes."""
    data = os.urandom(16) + bytes(size_bytes - 16)
    digest = digest_of(data)
    connection = http.client.HTTPConnection(side.host, timeout=120)
    headers = {"Authorization": side.authorization} if side.authorization else {}
    connection.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/", b"", headers)
    begun = connection.getresponse()
    begun.read()
    location = begun.headers["Location"]
    path = location[location.index("/v2/") :]
    started = time.perf_counter()
    connection.request("PUT", f"{path}{'&' if '?' in path else '?'}digest={digest}", data,
                       headers | {"Content-Type": "application/octet-stream"})  # fmt: skip
    answer = connection.getresponse()
    answer.read()
    took = time.perf_counter() - started
    connection.close()
    assert answer.status == 201, answer.status
    return size_bytes / 1e6 / took


def get(side: Side, digest: str) -> float:
    """MB/s of one download."""
    started, count, buffer = time.perf_counter(), 0, bytearray(PIECE_BYTES)
    connection = http.client.HTTPConnection(side.host, timeout=120)
    connection.request("GET", f"/v2/{REPOSITORY}/blobs/{digest}")
    answer = connection.getresponse()
    while read := answer.readinto(buffer):
        count += read
    connection.close()
    assert count == BLOB_BYTES, count
    return count / 1e6 / (time.perf_counter() - started)


def manifests(side: Side, clients: int) -> float:
    """Manifest GETs a second by so many connections that ask again as soon as they are answered."""
    host, _, port = side.host.partition(":")
    request = f"GET /v2/{REPOSITORY}/manifests/v1 HTTP/1.1\r\nHost: {side.host}\r\nAccept: {MANIFEST}\r\n\r\n".encode()
    with selectors.DefaultSelector() as selector:
        sockets = [socket.create_connection((host, int(port))) for _ in range(clients)]
        for one in sockets:
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ)
            one.send(request)
        count, end = 0, time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            for key, _ in selector.select(1):
                assert isinstance(key.fileobj, socket.socket)
                assert key.fileobj.recv(65536).startswith(b"HTTP/1.1 200")
                count += 1
                key.fileobj.send(request)
        for one in sockets:
            one.close()
    return count / SECONDS


def pulls(side: Side, clients: int = 100) -> float:
    """Images a second, pulled by so many clients at once: a manifest and two blobs each, on a connection of its own."""

    def pull(_: int) -> None:
        connection = http.client.HTTPConnection(side.host, timeout=120)
        connection.request("GET", f"/v2/{REPOSITORY}/manifests/small", headers={"Accept": MANIFEST})
        document = json.loads(connection.getresponse().read())
        for part in (document["config"], *document["layers"]):
            connection.request("GET", f"/v2/{REPOSITORY}/blobs/{part['digest']}")
            assert len(connection.getresponse().read()) == part["size"]
        connection.close()

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(pull, range(clients * 5)))
    return clients * 5 / (time.perf_counter() - started)


def pushes(side: Side, clients: int = 100) -> float:
    """Small images a second, pushed by so many clients at once: two new blobs and a manifest each."""

    def push(number: int) -> None:
        with side.upload() as upload:
            made = os.urandom(16).hex().encode()
            config, layer = b'{"made":"%s"}' % made, made * 2000
            upload.manifest(f"t{number}", {
                "schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": upload.blob(config), "size": len(config)},
                "layers": [{"mediaType": LAYER, "digest": upload.blob(layer), "size": len(layer)}],
            })  # fmt: skip

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(push, range(clients * 2)))
    return clients * 2 / (time.perf_counter() - started)


def memory(side: Side) -> float:
    """MB that the process holds by itself (PSS) at the end."""
    rollup = Path(f"/proc/{side.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024


def peak(side: Side) -> float:
    """The most it ever held, MB (VmHWM)."""
    return int(Path(f"/proc/{side.pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def prepare(side: Side) -> str:
    """What the rows ask for; gives the large blob's digest."""
    with side.upload() as upload:
        data = bytes(BLOB_BYTES)
        large = {"mediaType": LAYER, "digest": upload.blob(data), "size": len(data)}
        config = {"mediaType": CONFIG, "digest": upload.blob(b"{}"), "size": 2}
        small = os.urandom(200_000)
        layer = {"mediaType": LAYER, "digest": upload.blob(small), "size": len(small)}
        upload.manifest("v1", {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [large]})
        upload.manifest("small", {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]})
    return str(large["digest"])


@contextmanager
def both(directory: Path) -> Iterator[list[Side]]:
    (directory / "theirs").mkdir()
    with Registry(directory / "theirs") as theirs, OnggiRegistry(directory / "ours", "--log-level", "warning") as ours:
        assert theirs.pid is not None
        yield [Side("distribution", theirs.host, "", theirs.pid),
               Side("onggi", ours.host, ours.admin.authorization, ours.pid)]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.registry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    version = subprocess.run(["docker-registry", "--version"], capture_output=True, text=True, check=True).stdout
    print(f"{version.strip()}; {os.cpu_count()} processors; medians of {rounds}, and the spread")
    with tempfile.TemporaryDirectory(prefix="onggi-bench-") as name, both(Path(name)) as sides:
        large = {side.name: prepare(side) for side in sides}
        rows: list[tuple[str, str, bool, Callable[[Side], float]]] = [
            ("blob PUT", "MB/s", True, put),
            ("blob GET", "MB/s", True, lambda side: get(side, large[side.name])),
            ("manifest GET, 1 client", "/s", True, lambda side: manifests(side, 1)),
            ("manifest GET, 16 clients", "/s", True, lambda side: manifests(side, 16)),
            ("manifest GET, 100 clients", "/s", True, lambda side: manifests(side, 100)),
            ("pulls by 100 clients", "/s", True, pulls),
            ("pushes by 100 clients", "/s", True, pushes),
            ("memory afterwards", "MB", False, memory),
            ("memory at most", "MB", False, peak),
        ]
        for title, unit, more_is_better, measure in rows:
            found: dict[str, list[float]] = {side.name: [] for side in sides}
            for _ in range(1 if unit == "MB" else rounds):
                for side in sides:
                    found[side.name].append(measure(side))
            theirs, ours = (statistics.median(values) for values in found.values())
            ratio = ours / theirs if more_is_better else theirs / ours
            spread = ", ".join(f"{min(values):.0f}–{max(values):.0f}" for values in found.values())
            print(f"{title:<28} {theirs:>8.0f} {unit:<5} {ours:>8.0f} {unit:<5} {ratio:5.2f}  "
                  f"{'' if ratio >= 1 else 'MISSED'}  ({spread})", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
