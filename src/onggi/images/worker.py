"""The worker process: it reads one blob, confined, does one thing with it, and says how that ended in fixed messages.

    python -I -S -c BOOT SOURCES JOB PARENT CONTROL TIMES BLOB …   the other numbers are descriptors; TIMES: so many
                                           times its size a blob may grow, 0: any. JOB and what follows:
        unpack ROOT REPORT COPY OVERLAY    extract the blob into ROOT; COPY takes the tar itself, or is -1; OVERLAY 0: it
                                           is no layer, and no digest is wanted
        expand ROOT COPY HASHED            decompress the blob into COPY; ROOT is an empty directory; HASHED 0: no digest
                                           is wanted
        pack ROOT COPY LAYER OPAQUE        write the tree BLOB, a directory, into COPY; LAYER: it is an upper directory;
                                           OPAQUE, a file: the paths of its opaque directories, NUL after each

    daemon → worker   "a" + 8 bytes   so many bytes of the blob are written
                      "f" + 8 bytes   and these are all; for a blob that is a socket: it ended well
    worker → daemon   "=" sha256 of the tar, its size, size of the files, all as text with spaces
                      "!" kind " " sentence NUL path      kind: archive, compression, machine (sentence: the errno)

REPORT, a memory file, gets "I" PATH NUL for each implied directory and "O" PATH NUL for each opaque one.
"""

import _socket
import os
import stat
import sys
from hashlib import sha256

from onggi.images.confine import READER, WRITER, confine
from onggi.images.decompress import MAGIC_BYTES, MalformedCompression, bounded, compression, decompressor
from onggi.images.job import carry_out, write_all
from onggi.images.layer import Extraction, LayerFailure
from onggi.images.pack import MOST_LEVELS, Packing
from onggi.images.tar_reader import MalformedArchive, TarReader
from onggi.linux.mount import open_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE_LIMIT_BYTES = 8192
REPORT_LIMIT_BYTES = 64 << 20
_READ_BYTES = 256 << 10


class _Stream:
    """A blob that comes through a socket. Its end counts when the daemon has said that it was whole."""

    def __init__(self, control: _socket.socket, descriptor: int) -> None:
        self._control = control
        self._descriptor = descriptor
        self._start = b""
        self._ended = False
        self.consumed = 0
        """Bytes that came."""

    def wait(self, size: int) -> bytes:
        while len(self._start) < size and (data := self._receive()):
            self._start += data
        return self._start

    def read(self) -> bytes:
        if self._start:
            data, self._start = self._start, b""
            return data
        return self._receive()

    def _receive(self) -> bytes:
        data = b"" if self._ended else os.read(self._descriptor, _READ_BYTES)
        if not data and not self._ended:
            if self._control.recv(16)[:1] != b"f":
                os._exit(1)  # the client hung up before its end
            self._ended = True
        self.consumed += len(data)
        return data


class _Blob:
    """The growing file, read in order."""

    def __init__(self, control: _socket.socket, descriptor: int) -> None:
        self._control = control
        self._descriptor = descriptor
        self._available = 0
        self.consumed = 0
        """Bytes that were read, in order."""
        self._whole = False

    def wait(self, size: int) -> bytes:
        """The first `size` bytes, or fewer of a short blob, without reading past them."""
        while self._available < size and not self._whole:
            self._listen()
        return os.pread(self._descriptor, min(size, self._available), 0)

    def _listen(self) -> None:
        message = self._control.recv(16)
        if len(message) != 9:
            os._exit(1)  # the daemon is gone, or gave this up
        self._available = int.from_bytes(message[1:], "little")
        self._whole = message[:1] == b"f"

    def read(self) -> bytes:
        """The next piece; b"" at the end."""
        while self.consumed >= self._available:
            if self._whole:
                return b""
            self._listen()
        data = os.pread(self._descriptor, min(_READ_BYTES, self._available - self.consumed), self.consumed)
        if not data:
            raise MalformedCompression("the blob is shorter than announced")
        self.consumed += len(data)
        return data


class _Tar:
    """The decompressed stream, counted, hashed and copied when asked."""

    def __init__(self, read: "Callable[[], bytes]", copy: int, *, hashed: bool = True) -> None:
        self._read = read
        self._copy = copy
        self._hashed = hashed
        self._hash = sha256()
        self.size_bytes = 0

    def read(self) -> bytes:
        data = self._read()
        if self._hashed:
            self._hash.update(data)
        self.size_bytes += len(data)
        if self._copy >= 0:
            write_all(self._copy, data)
        return data

    def result(self, files_bytes: int) -> bytes:
        return f"={self._hash.hexdigest()} {self.size_bytes} {files_bytes}".encode()


def _unpack(tar: _Tar, root: int, report: int, *, overlay: bool) -> bytes:
    reader = TarReader(tar.read)
    extraction = Extraction(root, overlay=overlay)
    extraction.run(reader)
    reader.drain()
    records = [b"I" + path for path in extraction.implied] + [b"O" + path for path in extraction.opaque]
    if records:
        listed = b"\0".join(records) + b"\0"
        if len(listed) > REPORT_LIMIT_BYTES:
            raise LayerFailure("the layer has too many directories without entries", b"")
        write_all(report, listed)
    return tar.result(extraction.size_bytes)


def _pack(tree: int, copy: int, opaque: bytes, *, layer: bool) -> bytes:
    digest = sha256()
    size = 0

    def write(data: bytes) -> None:
        nonlocal size
        digest.update(data)
        size += len(data)
        write_all(copy, data)

    packing = Packing(tree, write, layer=layer, opaque=opaque.split(b"\0")[:-1])
    packing.run()
    return f"={digest.hexdigest()} {size} {packing.files_bytes}".encode()


def _expand(tar: _Tar) -> bytes:
    while tar.read():
        pass
    return tar.result(0)


def _work(control: _socket.socket, job: str, parent: int, times: int, blob_number: int, root: int, *rest: int) -> bytes:
    """Confine this process, then do the job; gives the reply."""
    if job == "pack":
        copy, layer, listed = rest
        opaque = os.pread(listed, REPORT_LIMIT_BYTES, 0) if listed >= 0 else b""
        # A mount of its own, attached nowhere: its ".." leads nowhere either.
        with open_tree(blob_number) as top:
            tree = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=top.fileno())
        confine(root, (control.fileno(), copy, tree), READER, parent, descriptors=MOST_LEVELS + 64)
        return _pack(tree, copy, opaque, layer=bool(layer))
    is_socket = stat.S_ISSOCK(os.fstat(blob_number).st_mode)
    blob = _Stream(control, blob_number) if is_socket else _Blob(control, blob_number)
    # Told before the confinement, which ends all importing: only the decoder that is needed is loaded.
    decode = decompressor(compression(blob.wait(MAGIC_BYTES)), blob.read)
    decode = bounded(decode, lambda: blob.consumed, times)
    report, copy, hashed = rest if job == "unpack" else (-1, *rest)
    confine(root, [number for number in (control.fileno(), blob_number, report, copy) if number >= 0],
            WRITER if job == "unpack" else (), parent)  # fmt: skip
    # Of an archive of images, which is no layer, each part is verified by itself.
    tar = _Tar(decode, copy, hashed=bool(hashed))
    if job == "expand":
        return _expand(tar)
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    return _unpack(tar, here, report, overlay=bool(hashed))


def _refusal(error: BaseException) -> bytes:
    if isinstance(error, LayerFailure):
        return b"!archive " + error.sentence.encode("ascii", "replace") + b"\0" + error.path[:4096]
    if isinstance(error, MalformedArchive):
        return b"!archive " + str(error).encode("ascii", "replace")
    if isinstance(error, MalformedCompression):
        return b"!compression " + str(error).encode("ascii", "replace")
    return b""


def main() -> None:
    """Run the job in `sys.argv`; never returns."""
    _, job, *numbers = sys.argv[1:]
    parent, control_number, *rest = map(int, numbers)
    control = _socket.socket(fileno=control_number)
    carry_out(control, lambda: _work(control, job, parent, *rest), _refusal, MESSAGE_LIMIT_BYTES)
