"""A directory becomes a tar: a whole tree for `export` and `cp`, or an overlay's upper directory as a layer.

The tree may belong to a running container: whatever is not what it was a moment ago is left out or cut to the size
that its header tells, nothing is followed, and no FIFO or device is opened. Part of the worker's half.
(image-spec layer.md; overlayfs.rst)
"""

import os
import stat

from onggi.images.layer import OPAQUE, WHITEOUT, is_kept_xattr
from onggi.images.tar_reader import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Entry
from onggi.images.tar_writer import END, header, padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_PIECE_BYTES = 1 << 20
_BUFFER_BYTES = 256 << 10
_ZEROS = bytes(_PIECE_BYTES)
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {
    stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK, stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE, stat.S_IFIFO: FIFO,
}  # fmt: skip
MOST_LEVELS = 2000
"""A directory that lies deeper ends the packing with ELOOP: each level costs a descriptor."""


class Packing:
    """Writes the tree below the directory `root` (a descriptor, borrowed) with `write`, in order of names.

    `layer`: `root` is the upper directory of an overlay, and its whiteouts are to be written as a layer has them;
    `opaque` are the paths of its opaque directories, which a confined process can't read.
    """

    def __init__(
        self, root: int, write: "Callable[[bytes], None]", *, layer: bool = False, opaque: "Collection[bytes]" = ()
    ) -> None:
        self._root = root
        self._write = write
        self._layer = layer
        self._opaque = frozenset(opaque)
        self._buffer = bytearray()
        self._linked: dict[tuple[int, int], bytes] = {}
        self.files_bytes = 0
        """Of all files and links, as Docker counts a layer."""

    def run(self) -> None:
        """Write all, and the end of the archive. Raises OSError."""
        # Each level: its descriptor, its path, and the names in it that are still to come, last first.
        levels: list[tuple[int, bytes, list[bytes]]] = []
        self._enter(levels, os.dup(self._root), b"")
        self._finish(levels)

    def _finish(self, levels: list[tuple[int, bytes, list[bytes]]]) -> None:
        try:
            while levels:
                descriptor, path, names = levels[-1]
                if not names:
                    os.close(descriptor)
                    levels.pop()
                    continue
                name = names.pop()
                inner = self._entry(descriptor, name, path + b"/" + name if path else name)
                if inner >= 0:
                    self._enter(levels, inner, path + b"/" + name if path else name)
        finally:
            for descriptor, _, _ in levels:
                os.close(descriptor)
        self._put(END)
        self._flush()

    def _enter(self, levels: list[tuple[int, bytes, list[bytes]]], descriptor: int, path: bytes) -> None:
        if len(levels) > MOST_LEVELS:
            os.close(descriptor)
            raise OSError(40, "too many levels of directories")
        with os.scandir(descriptor) as entries:
            names = sorted((os.fsencode(entry.name) for entry in entries), reverse=True)
        levels.append((descriptor, path, names))
        if path in self._opaque:
            self._marker((path + b"/" if path else b"") + OPAQUE)

    def _put(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            self._write(bytes(self._buffer))
            self._buffer.clear()

    def _marker(self, name: bytes) -> None:
        entry = Entry()
        entry.name = name
        entry.mode = 0o600
        self._put(header(entry))

    def _entry(self, parent: int, name: bytes, path: bytes) -> int:
        """Write one entry; for a directory its descriptor, otherwise -1."""
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return -1  # removed since
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            return -1  # a socket: no archive holds one
        entry = Entry()
        entry.name, entry.kind = path, kind
        if kind == CHARACTER and found.st_rdev == 0 and self._layer:
            parent_path, slash, _ = path.rpartition(b"/")
            self._marker(parent_path + slash + WHITEOUT + name)
            return -1
        if found.st_nlink > 1 and kind != DIRECTORY:
            first = self._linked.setdefault((found.st_dev, found.st_ino), path)
            if first != path:
                entry.kind, entry.target = LINK, first
                self._describe(entry, found)
                self._put(header(entry))
                return -1
        if kind in (FILE, DIRECTORY):
            return self._open(parent, name, entry)
        self._describe(entry, found)
        if kind == SYMLINK:
            try:
                entry.target = os.readlink(name, dir_fd=parent)
            except OSError:
                return -1  # replaced since
            self.files_bytes += len(entry.target)
        elif kind in (CHARACTER, BLOCK_DEVICE):
            entry.device = os.major(found.st_rdev), os.minor(found.st_rdev)
        self._put(header(entry))
        return -1

    def _open(self, parent: int, name: bytes, entry: Entry) -> int:
        try:
            descriptor = os.open(name, _OPEN | (os.O_DIRECTORY if entry.kind == DIRECTORY else 0), dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError):
            return -1
        except OSError as error:
            if error.errno in (6, 40):  # ENXIO, ELOOP: a socket, FIFO or link by now
                return -1
            raise
        keep = False
        try:
            found = os.fstat(descriptor)
            if _KINDS.get(stat.S_IFMT(found.st_mode)) != entry.kind:
                return -1
            self._describe(entry, found)
            for attribute in os.listxattr(descriptor):
                encoded = os.fsencode(attribute)
                if is_kept_xattr(encoded):
                    entry.xattrs[encoded] = os.getxattr(descriptor, attribute)
            if entry.kind == DIRECTORY:
                entry.name += b"/"
                self._put(header(entry))
                keep = True
                return descriptor
            entry.size = found.st_size
            self.files_bytes += found.st_size
            self._put(header(entry))
            self._content(descriptor, found.st_size)
            return -1
        finally:
            if not keep:
                os.close(descriptor)

    def _content(self, descriptor: int, size: int) -> None:
        """Exactly `size` bytes: a file that grows is cut, one that shrinks is filled up with zeros."""
        left = size
        while left:
            data = os.read(descriptor, min(left, _PIECE_BYTES))
            if not data:
                data = _ZEROS[: min(left, _PIECE_BYTES)]
            left -= len(data)
            if len(data) >= _BUFFER_BYTES:
                self._flush()
                self._write(data)
            else:
                self._put(data)
        self._put(padding(size))

    @staticmethod
    def _describe(entry: Entry, found: os.stat_result) -> None:
        entry.mode = stat.S_IMODE(found.st_mode)
        entry.uid, entry.gid = found.st_uid, found.st_gid
        entry.mtime_ns = found.st_mtime_ns
