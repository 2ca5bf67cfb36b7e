"""The inventory of an image: start `scan.worker` on its layers, believe nothing but the form of its answer."""

import asyncio
import errno
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

import onggi
from onggi.errors import InvalidParameter, System
from onggi.scan import inventory
from onggi.scan.inventory import Inventory

TIME_LIMIT_S = 600.0
REPORT_LIMIT_BYTES = 64 << 20
_BOOT = "import sys; sys.path[:0] = sys.argv[1].split(':'); from onggi.scan.worker import main; main()"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
_REPLY = re.compile(rb"!(?:image (?P<sentence>[ -~]{1,500})|machine (?P<errno>\d{1,4}))")


class Unreadable(InvalidParameter):
    """The image's layers are no archives, or hold more than is read."""


def _import_path() -> str:
    ours = str(Path(onggi.__path__[0]).resolve().parent)
    return ":".join([ours, *(entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages")))])


async def read_inventory(layers: Sequence[int]) -> Inventory:
    """`layers`, lowest first: descriptors of files at their start, borrowed. Compressed or not.

    Raises Unreadable when the image is to blame, System when the machine is.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with (
        ours,
        os.fdopen(os.memfd_create("inventory"), "rb") as answer,
        tempfile.TemporaryDirectory(prefix="onggi-scan-") as empty,
    ):
        with theirs:
            process = await asyncio.to_thread(_start, theirs.fileno(), empty, answer.fileno(), layers)
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                reply = await asyncio.get_running_loop().sock_recv(ours, 4096)
        except TimeoutError as error:
            raise Unreadable(f"the image's layers could not be read within {TIME_LIMIT_S:.0f} seconds") from error
        finally:
            process.kill()
            await asyncio.shield(asyncio.to_thread(process.wait))
        if reply == b"=":
            return await asyncio.to_thread(_decode, answer.fileno())
        match = _REPLY.fullmatch(reply)
        if match is not None and match["sentence"]:
            raise Unreadable(f"the image can't be read: {match['sentence'].decode('ascii')}")
        number = int(match["errno"]) if match is not None else errno.EIO
        raise System(f"the scan's worker ended: {os.strerror(number)}")


def _start(control: int, empty: str, report: int, layers: Sequence[int]) -> "subprocess.Popen[bytes]":
    root = os.open(empty, os.O_RDONLY | os.O_DIRECTORY)
    passed = [control, root, report, *layers]
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, _import_path(), str(os.getpid()), *map(str, passed)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=_ENVIRONMENT, cwd="/", pass_fds=passed,
        )  # fmt: skip
    finally:
        os.close(root)


def _decode(report: int) -> Inventory:
    size = os.fstat(report).st_size
    if size > REPORT_LIMIT_BYTES:
        raise Unreadable("the image has more packages than are read")
    try:
        return inventory.decode(os.pread(report, size, 0))
    except msgspec.ValidationError as error:
        raise System(f"the scan's worker gave a malformed report: {error}") from error
