"""The scan's worker on real layers: what it tells, and what it can't do when it is taken over."""

import asyncio
import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from onggi.images import confined_process
from onggi.images.confined_process import ConfinedProcess, import_path
from onggi.scan.inventory import Inventory
from onggi.scan.reading import Unreadable, read_inventory

STATUS = b"Package: a\nStatus: install ok installed\nVersion: 1\n"
HOOK = """
import sys
sys.path[:0] = sys.argv[1].split(':')
from onggi.scan import worker
import os, _socket, ctypes
libc = ctypes.CDLL(None, use_errno=True)
def taken_over(layers):
    seen = []
    def attempt(name, call):
        try:
            call()
        except OSError as error:
            seen.append(f"{name}={error.errno}")
        else:
            seen.append(f"{name}=done")
    attempt("passwd", lambda: os.open("/etc/passwd", os.O_RDONLY))
    attempt("here", lambda: os.open(".", os.O_RDONLY))
    attempt("proc", lambda: os.open("/proc/self/mem", os.O_RDWR))
    attempt("socket", lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM))
    attempt("fork", lambda: os.fork() or os._exit(0))
    attempt("exec", lambda: os.execv("/bin/true", ["true"]))
    attempt("kill", lambda: os.kill(os.getppid(), 0))
    def trace():
        if libc.ptrace(16, os.getppid(), 0, 0):
            raise OSError(ctypes.get_errno(), "ptrace")
    attempt("ptrace", trace)
    attempt("pipe", os.pipe)
    raise worker.MalformedArchive(" ".join(seen))
worker._collect = taken_over
worker.main()
"""


def _layer(path: Path, files: dict[str, bytes], *, compress: bool = False) -> Path:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    path.write_bytes(gzip.compress(out.getvalue()) if compress else out.getvalue())
    return path


def _empty(directory: Path) -> Path:
    empty = directory / "empty"
    empty.mkdir(exist_ok=True)
    return empty


def _read(*paths: Path) -> Inventory:
    descriptors = [os.open(path, os.O_RDONLY) for path in paths]
    try:
        return asyncio.run(read_inventory(descriptors, _empty(paths[0].parent)))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_layers_in_their_compressions(tmp_path: Path) -> None:
    plain = _layer(tmp_path / "1", {"var/lib/dpkg/status": STATUS, "etc/os-release": b"ID=debian\n"})
    zipped = _layer(tmp_path / "2", {"opt/x.dist-info/METADATA": b"Name: x\nVersion: 2\n"}, compress=True)
    found = _read(plain, zipped)
    assert [(package.name, package.version) for package in found.packages] == [("a", "1"), ("x", "2")]
    for tool in ("zstd", "xz", "bzip2"):
        packed = tmp_path / tool
        with plain.open("rb") as source, packed.open("wb") as target:
            subprocess.run([tool, "-c"], stdin=source, stdout=target, check=True)
        assert _read(packed).packages == found.packages[:1]


def test_bytes_that_are_no_layer_are_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    bomb.write_bytes(gzip.compress(bytes(1 << 20)) * 3000)  # three GiB of nothing
    cases = {"nonsense": os.urandom(5000), "cut": gzip.compress(b"x" * 10_000)[:50], "bomb": None}
    for name, content in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        if name == "bomb":
            assert _read(path).packages == []  # it is an archive: an empty one
        else:
            with pytest.raises(Unreadable, match="the image can't be read: "):
                _read(path)


def test_a_worker_that_is_taken_over_has_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-I", "-S", "-c", HOOK, import_path()]
    monkeypatch.setattr(confined_process, "command", lambda _: command)
    with pytest.raises(Unreadable) as refused:
        _read(_layer(tmp_path / "layer", {"var/lib/dpkg/status": STATUS}))
    told = dict(pair.split("=") for pair in str(refused.value).partition("read: ")[2].split())
    assert set(told) == {"passwd", "here", "proc", "socket", "fork", "exec", "kill", "ptrace", "pipe"}
    assert {name: number for name, number in told.items() if number == "done"} == {}


def test_without_rights_it_reads_the_same(tmp_path: Path) -> None:
    """As a registry does that does not run as root."""
    path = _layer(tmp_path / "layer", {"var/lib/dpkg/status": STATUS})
    program = (
        "import asyncio, os, sys; sys.path[:0] = sys.argv[1].split(':')\n"
        "from onggi.scan.reading import read_inventory\n"
        "from pathlib import Path\n"
        "print(asyncio.run(read_inventory([os.dup(0)], Path(sys.argv[2]))).packages[0].name)"
    )
    with path.open("rb") as layer, tempfile.TemporaryDirectory() as empty:
        os.chmod(empty, 0o755)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program, import_path(), empty], stdin=layer, capture_output=True, text=True,
            check=False, user=65534, group=65534, extra_groups=[], cwd="/", env={}, timeout=60,
        )  # fmt: skip
    assert (done.stdout, done.stderr) == ("a\n", "")


def test_who_is_cancelled_while_a_worker_starts_leaves_none_behind() -> None:
    async def cancelled() -> None:
        process = ConfinedProcess("onggi.scan.worker", (), [])
        starting = asyncio.ensure_future(process.__aenter__())
        await asyncio.sleep(0)  # it has asked the thread to start the worker
        starting.cancel()
        await asyncio.wait({starting})
        assert starting.cancelled()

    def ours() -> tuple[set[str], set[str]]:
        """Children, zombies among them, and descriptors: those of other tests' engines stay."""
        children = {
            pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
        }
        return children, set(os.listdir("/proc/self/fd"))

    before = ours()
    asyncio.run(cancelled())
    assert ours() == before
