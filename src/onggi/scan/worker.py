"""The process that reads an image's layers for their packages: confined, so that what takes it over has nothing.

    python -I -S -c BOOT SOURCES PARENT CONTROL ROOT REPORT LAYER …    numbers; all but the first are descriptors

    worker → parent   "="                  REPORT, a memory file, holds the inventory as JSON
                      "!" kind " " text    kind: image (its bytes are wrong), machine (an errno)

Its root is an empty directory, it has no network, no capability and no way to make either; where the system does not
let it have namespaces, it still can open no file (RLIMIT_NOFILE) and make no call but those of `images.filter`.
"""

import _socket
import errno
import gc
import json
import os
import sys

from onggi.images import confine, filter
from onggi.images.decompress import MAGIC_BYTES, MOST_TIMES, MalformedCompression, bounded, compression, decompressor
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


def main() -> None:
    """Never returns."""
    parent, control_number, root, report, *layers = map(int, sys.argv[2:])
    control = _socket.socket(fileno=control_number)
    reply = b"!machine 5"
    try:
        for kind in ("gzip", "zstd", "xz", "bzip2"):
            decompressor(kind, lambda: b"")  # loads what each needs: later nothing can be
        gc.freeze()
        _confine(root, [control_number, report, *layers], parent)
        data = _collect(layers)
        if len(data) > REPORT_LIMIT_BYTES:
            raise MalformedArchive("the image has more packages than are read")
        left = memoryview(data)
        while left:
            left = left[os.write(report, left) :]
        reply = b"="
    except (MalformedArchive, MalformedCompression) as error:
        reply = b"!image " + str(error).encode("ascii", "replace")
    except OSError as error:
        reply = b"!machine %d" % (error.errno or errno.EIO)
    except MemoryError:
        reply = b"!machine %d" % errno.ENOMEM
    except BaseException:  # nothing may be printed here: a traceback would open files
        reply = b"!machine %d" % errno.EIO
    finally:
        try:
            control.send(reply[:MESSAGE_LIMIT_BYTES])
        finally:
            os._exit(0)
