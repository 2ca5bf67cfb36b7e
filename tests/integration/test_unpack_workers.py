"""The confined workers that unpack layers: taken over, lying, fed hostile blocks."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onggi.errors import InvalidParameter, System
from onggi.images.worker_process import Integrity, _read_result
from onggi.linux.fd import Fd
from tests.archives import raw
from tests.image_store import opened

_TAKEN_OVER = """
import _socket, errno, json, os, sys
from onggi.images.confine import WRITER, confine
directory, out = int(sys.argv[1]), int(sys.argv[2])
secret = os.open("/etc/passwd", os.O_RDONLY)
confine(directory, [out], WRITER, os.getppid())
found = {}
def probe(name, work):
    try:
        found[name] = str(work())
    except BaseException as error:
        found[name] = type(error).__name__ if not isinstance(error, OSError) else errno.errorcode[error.errno]
probe("root", lambda: os.listdir("/"))
probe("up", lambda: os.listdir("/../.."))
probe("secret", lambda: os.read(secret, 1))
probe("fork", os.fork)
probe("exec", lambda: os.execv("/x", ["x"]))
probe("socket", lambda: _socket.socket())
probe("unix", lambda: _socket.socket(_socket.AF_UNIX))
probe("kill", lambda: os.kill(os.getppid(), 0))
probe("chroot", lambda: os.chroot("."))
probe("setuid", lambda: os.setuid(1))
probe("import", lambda: __import__("colorsys"))
here = os.open("/", os.O_RDONLY)
probe("write", lambda: os.mkdir("made", dir_fd=here))
probe("device", lambda: os.mknod("dev", 0o60600, os.makedev(8, 0), dir_fd=here))
probe("mknod_read", lambda: os.open("/none", os.O_RDONLY))
os.write(out, json.dumps(found).encode())
os._exit(0)
"""


def test_a_worker_that_is_taken_over_reaches_nothing(tmp_path: Path) -> None:
    """Attacker's code where the decoder would be."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "colorsys.py").write_text("raise SystemExit('poison')")
    read, write = os.pipe()
    with Fd(read) as result, Fd(write) as out, Fd(os.open(inside, os.O_RDONLY | os.O_DIRECTORY)) as root:
        run = subprocess.run(
            [sys.executable, "-c", _TAKEN_OVER, str(root.fileno()), str(out.fileno())],
            pass_fds=[root.fileno(), out.fileno()], capture_output=True, text=True, check=False, timeout=60,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        out.close()
        assert run.stderr == ""
        found = json.loads(os.read(result.fileno(), 65536))
    assert found == {
        "root": "['colorsys.py']", "up": "['colorsys.py']", "secret": "EBADF", "fork": "EPERM", "exec": "EPERM",
        "socket": "EPERM", "unix": "EPERM", "kill": "EPERM", "chroot": "EPERM", "setuid": "EPERM",
        "import": "ModuleNotFoundError", "write": "None", "device": "None", "mknod_read": "ENOENT",
    }  # fmt: skip


def test_a_worker_that_lies_is_not_believed(tmp_path: Path) -> None:
    good = "0" * 64
    assert _read_result(f"={good} 1 2".encode(), "work") == (f"sha256:{good}", 1, 2)
    lies = [
        b"", b"=", f"={good} 1".encode(), f"={good} -1 2".encode(), f"={good} 1 2 3".encode(), b"=../../x 1 2",
        f"={good} {'9' * 30} 2".encode(), b"\x80\x04pickle.", b"!machine 99999\0", b"!unknown x\0", b"?",
    ]  # fmt: skip
    for message in lies:
        with pytest.raises((System, InvalidParameter)):
            _read_result(message, "work")
    with pytest.raises(Integrity) as refused:
        _read_result(b"!archive bad\x1b[31m\0name\x1b\xff\n", "work")
    assert str(refused.value) == "failed to work: bad?[31m: 'name\\x1b\\\\xff\\n'"


def test_hostile_tar_blocks_are_refused_in_the_worker(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(tmp_path / "data") as store:
            for data in (raw(b"a", size=b"\xff" * 12), raw(b"../x"), raw(b"d", kind=b"3", device=(4096, 0))):
                blob = tmp_path / "blob"
                blob.write_bytes(data)
                with Fd(os.open(blob, os.O_RDONLY)) as source:
                    with pytest.raises(Integrity):
                        async with store.images.unpack(None, source) as unpacking:
                            await unpacking.finish(len(data))
            assert await store.settled() == set()

    asyncio.run(work())
