"""The process that reads an image's layers for their packages: confined, so that what takes it over has nothing.

    python -I -S -c BOOT SOURCES PARENT CONTROL ROOT REPORT LAYER …    numbers; all but the first are descriptors

    worker → parent   "="                  REPORT, a memory file, holds the inventory as JSON
                      "!" kind " " text    kind: image (its bytes are wrong), machine (an errno)

Its root is an empty directory, it has no network, no capability and no way to make either; where the system does not
let it have namespaces, it still can open no file (RLIMIT_NOFILE) and make no call but those of `images.filter`.
"""

import _socket
import errno
import json
import os
import sys

from onggi.images import confine, filter
from onggi.images.decompress import MAGIC_BYTES, MOST_TIMES, MalformedCompression, bounded, compression, decompressor
from onggi.images.job import carry_out, write_all
from onggi.images.tar_reader import MalformedArchive, TarReader
from onggi.linux.capability import last
from onggi.linux.process import CLONE_NEWUSER, unshare
from onggi.linux.seccomp import load
from onggi.scan.collecting import Collection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE_LIMIT_BYTES = 1024
REPORT_LIMIT_BYTES = 64 << 20
_READ_BYTES = 256 << 10


def _reader(descriptor: int) -> "tuple[Callable[[], bytes], Callable[[], int]]":
    """Pieces of a file, and how many bytes were read so far."""
    consumed = 0

    def read() -> bytes:
        nonlocal consumed
        data = os.read(descriptor, _READ_BYTES)
        consumed += len(data)
        return data

    return read, lambda: consumed


def _confine(root: int, keep: list[int], parent: int) -> None:
    highest = last()
    try:
        if os.geteuid() != 0:
            unshare(CLONE_NEWUSER)
        confine.confine(root, keep, (), parent, descriptors=0)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSPC, errno.EINVAL):
            raise
        # No namespaces here. With no descriptor to be had, and a filter without `socket`, nothing can be opened.
        confine.restrict(keep, (), highest, descriptors=0)
        load(filter.program(os.uname().machine), 0)


def _collect(layers: list[int]) -> bytes:
    collection = Collection()
    for descriptor in layers:
        start = os.pread(descriptor, MAGIC_BYTES, 0)
        read, consumed = _reader(descriptor)
        reader = TarReader(bounded(decompressor(compression(start), read), consumed, MOST_TIMES))
        collection.add(reader)
    return json.dumps(collection.inventory(), ensure_ascii=True).encode()


def _work(control: int, parent: int, root: int, report: int, layers: list[int]) -> bytes:
    for kind in ("gzip", "zstd", "xz", "bzip2"):
        decompressor(kind, lambda: b"")  # loads what each needs: later nothing can be
    _confine(root, [control, report, *layers], parent)
    data = _collect(layers)
    if len(data) > REPORT_LIMIT_BYTES:
        raise MalformedArchive("the image has more packages than are read")
    write_all(report, data)
    return b"="


def _refusal(error: BaseException) -> bytes:
    if isinstance(error, MalformedArchive | MalformedCompression):
        return b"!image " + str(error).encode("ascii", "replace")
    return b""


def main() -> None:
    """Never returns."""
    parent, control_number, root, report, *layers = map(int, sys.argv[2:])
    control = _socket.socket(fileno=control_number)
    carry_out(control, lambda: _work(control_number, parent, root, report, layers), _refusal, MESSAGE_LIMIT_BYTES)
