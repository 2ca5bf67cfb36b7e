"""A layer's tar becomes a directory as overlayfs wants it: exact names, owners, modes, times, links, devices, holes.

    .wh.NAME         → a character device 0:0 at NAME: NAME is deleted from the layers below
    .wh..wh..opq     → reported as opaque: nothing of the directory below shows through
    implied parents  → made 0755 root:root, and reported: where a lower layer has such a directory, its attributes count

The tree is a function of the tar's bytes alone; nothing outside the directory plays a part. Parents are made by us or
found to be real directories before anything is opened through them; links are resolved as if the directory were "/".
A worker also has the directory as its root, so a mistake here reaches nothing else. Part of the worker's half.
(image-spec layer.md; overlayfs.rst; the decisions of moby pkg/archive/diff.go)
"""

import errno
import os
import stat

from onggi.images.tar_reader import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    LINK,
    SYMLINK,
    Entry,
    MalformedArchive,
    TarReader,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_METADATA = b".wh..wh."
MOST_LINKS = 40
PATH_LIMIT_BYTES = 4000
"""Below PATH_MAX, so that every path in a layer can be named in one system call."""
_SMALL_XATTRS_BYTES = 2048
"""Fewer have room in every file: ext4 gives them a block of 4 KiB."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IMPLIED_MODE = 0o755
_LAST_MOMENT_NS = (1 << 63) - 1

# Refusals of the file system that the archive's content causes, not the machine.
_ARCHIVES_FAULT = frozenset(
    {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EINVAL, errno.ENOENT,
     errno.EMLINK, errno.EFBIG, errno.ERANGE, errno.E2BIG, errno.ENOTEMPTY}
)  # fmt: skip


class LayerFailure(Exception):
    """The archive can't become a layer. `path` is the entry, as bytes of the archive."""

    def __init__(self, sentence: str, path: bytes) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.path = path


class _Directory:
    """What a directory gets at the end, when nothing more is put into it."""

    __slots__ = ("gid", "implied", "mode", "mtime_ns", "opaque", "uid", "xattrs")

    def __init__(self, mtime_ns: int) -> None:
        self.mode = _IMPLIED_MODE
        self.uid = self.gid = 0
        self.mtime_ns = mtime_ns
        self.xattrs: dict[bytes, bytes] = {}
        self.implied = True
        self.opaque = False


class Extraction:
    """Extracts one archive into the empty directory `root`, a descriptor that the caller keeps open.

    `overlay=False` is for archives that are no layers: names are taken literally, and only files, directories and
    links are accepted. The caller has set umask 0.
    """

    def __init__(self, root: int, *, overlay: bool = True) -> None:
        self._root = root
        self._overlay = overlay
        self._directories: dict[bytes, _Directory] = {b"": _Directory(0)}
        self._parents: dict[bytes, bytes] = {b"": b""}  # parent as written → where that really is
        self._whiteouts: set[bytes] = set()
        self.size_bytes = 0
        """Of all files and links, as Docker counts a layer."""

    @property
    def implied(self) -> list[bytes]:
        """Directories that no entry describes; the root is b""."""
        return [path for path, directory in self._directories.items() if directory.implied]

    @property
    def opaque(self) -> list[bytes]:
        """Directories that hide what is below them."""
        return [path for path, directory in self._directories.items() if directory.opaque]

    def run(self, reader: TarReader) -> None:
        """Extract all. Raises LayerFailure, MalformedArchive, and OSError for what is the machine's fault."""
        makers = {
            FILE: self._file, DIRECTORY: self._directory, SYMLINK: self._symlink, LINK: self._link,
            CHARACTER: self._special, BLOCK_DEVICE: self._special, FIFO: self._special,
        }  # fmt: skip
        while (entry := reader.next()) is not None:
            self._blame(entry.name, self._place, entry, reader, makers[entry.kind])
        # Inner directories first: some are closed even to their owner then.
        for path, directory in reversed(self._directories.items()):
            self._blame(path, self._settle, path, directory)

    @staticmethod
    def _blame(path: bytes, work: "Callable[..., None]", *arguments: object) -> None:
        """Do the work. What goes wrong is the fault of the archive's entry `path`, unless it is the machine's."""
        try:
            work(*arguments)
        except LayerFailure as failure:
            failure.path = path
            raise
        except OSError as error:
            if error.errno in _ARCHIVES_FAULT:
                raise LayerFailure(os.strerror(error.errno or 0), path) from error
            raise
        except MalformedArchive as error:
            raise LayerFailure(str(error), path) from error

    # Names

    def _place(self, entry: Entry, reader: TarReader, make: "Callable[[Entry, bytes, TarReader], None]") -> None:
        raw_parent, _, base = entry.name.rpartition(b"/")
        if base in (b"", b".", b".."):
            path = _clean(entry.name)
            raw_parent, _, base = path.rpartition(b"/")
            if not base:
                if entry.kind != DIRECTORY:
                    raise LayerFailure("the root of the layer is not a directory", entry.name)
                self._describe(self._directories[b""], entry)
                return
        if base.startswith(WHITEOUT) and self._overlay:
            self._whiteout(entry, raw_parent, base)
            return
        parent = self._parents.get(raw_parent)
        if parent is None:
            parent = self._resolve(raw_parent, entry)
        path = parent + b"/" + base if parent else base
        if len(path) > PATH_LIMIT_BYTES:
            raise LayerFailure("the path is too long", entry.name)
        make(entry, path, reader)

    def _resolve(self, raw: bytes, entry: Entry) -> bytes:
        """The real directory behind a parent as the archive writes it, made where it is lacking."""
        todo = _clean(raw).split(b"/")[::-1]
        path = b""
        links = 0
        while todo:
            name = todo.pop()
            if name == b"..":  # only from a link's target; the archive's own are cleaned away
                path = path.rpartition(b"/")[0]
                continue
            if name in (b"", b"."):
                continue
            if name.startswith(WHITEOUT) and self._overlay:
                raise LayerFailure("a directory's name is that of a whiteout", entry.name)
            step = path + b"/" + name if path else name
            if step in self._directories:
                path = step
                continue
            if len(step) > PATH_LIMIT_BYTES:
                raise LayerFailure("the path is too long", entry.name)
            target = self._link_target(step)
            if target is not None:
                links += 1
                if links > MOST_LINKS or len(todo) > PATH_LIMIT_BYTES:
                    raise LayerFailure("too many levels of symbolic links", entry.name)
                path = b"" if target[:1] == b"/" else path
                todo.extend(target.split(b"/")[::-1])
                continue
            self._make_directory(step, _Directory(_moment(entry.mtime_ns)))
            path = step
        self._parents[raw] = path
        return path

    def _link_target(self, path: bytes) -> bytes | None:
        """The target of a symlink at `path`; None when nothing is there, or what a directory may replace."""
        try:
            return os.readlink(path, dir_fd=self._root)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        if path in self._whiteouts:
            return None
        raise LayerFailure("a file of the layer is used as a directory", path)

    def _make_directory(self, path: bytes, directory: _Directory) -> None:
        if path in self._whiteouts:
            # What was deleted below must not show through the new directory.
            self._whiteouts.discard(path)
            os.unlink(path, dir_fd=self._root)
            directory.opaque = True
        # Closed until the end: the final mode could make it set-group-ID, and pass its group on to new entries.
        os.mkdir(path, 0o700, dir_fd=self._root)
        self._directories[path] = directory

    def _clear(self, path: bytes) -> None:
        """Remove what an earlier entry put at `path`: the last one counts."""
        self._parents = {b"": b""}  # a parent may have led through what goes now
        self._whiteouts.discard(path)
        if path not in self._directories:
            os.unlink(path, dir_fd=self._root)
            return
        # Without recursion; nobody else writes here, and paths are bounded.
        todo, emptied = [path], []
        while todo:
            at = todo.pop()
            emptied.append(at)
            descriptor = os.open(at, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root)
            try:
                with os.scandir(descriptor) as entries:
                    names = [os.fsencode(entry.name) for entry in entries]
            finally:
                os.close(descriptor)
            for name in names:
                inner = at + b"/" + name
                if inner in self._directories:
                    todo.append(inner)
                else:
                    self._whiteouts.discard(inner)
                    os.unlink(inner, dir_fd=self._root)
        for at in reversed(emptied):
            del self._directories[at]
            os.rmdir(at, dir_fd=self._root)

    # Entries

    def _file(self, entry: Entry, path: bytes, reader: TarReader) -> None:
        mode = entry.mode & 0o7777
        try:
            descriptor = os.open(path, _CREATE, mode, dir_fd=self._root)
        except FileExistsError:
            self._clear(path)
            descriptor = os.open(path, _CREATE, mode, dir_fd=self._root)
        try:
            reader.copy_content(descriptor, entry)
            if entry.uid or entry.gid:
                os.fchown(descriptor, entry.uid, entry.gid)
            if mode & 0o7000:  # writing and changing the owner clear these bits
                os.fchmod(descriptor, mode)
            if entry.xattrs:
                _set_xattrs(descriptor, entry.xattrs)
            mtime_ns = _moment(entry.mtime_ns)
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(descriptor)
        self.size_bytes += entry.size

    def _directory(self, entry: Entry, path: bytes, reader: TarReader) -> None:
        directory = self._directories.get(path)
        if directory is None:
            directory = _Directory(0)
            try:
                self._make_directory(path, directory)
            except FileExistsError:
                self._clear(path)
                self._make_directory(path, directory)
        self._describe(directory, entry)

    def _describe(self, directory: _Directory, entry: Entry) -> None:
        directory.mode = entry.mode & 0o7777
        directory.uid, directory.gid = entry.uid, entry.gid
        directory.mtime_ns = _moment(entry.mtime_ns)
        directory.xattrs = entry.xattrs
        directory.implied = False

    def _symlink(self, entry: Entry, path: bytes, reader: TarReader) -> None:
        if not entry.target:
            raise LayerFailure("a symbolic link has no target", entry.name)
        try:
            os.symlink(entry.target, path, dir_fd=self._root)
        except FileExistsError:
            self._clear(path)
            os.symlink(entry.target, path, dir_fd=self._root)
        if entry.uid or entry.gid:
            os.chown(path, entry.uid, entry.gid, dir_fd=self._root, follow_symlinks=False)
        self._touch(path, entry)
        self.size_bytes += len(entry.target)

    def _link(self, entry: Entry, path: bytes, reader: TarReader) -> None:
        """A hard link keeps the attributes of its first name, whatever this entry says of them."""
        target = _clean(entry.target)
        raw_parent, _, base = target.rpartition(b"/")
        parent = self._parents.get(raw_parent)
        if parent is None:
            parent = self._resolve(raw_parent, entry)
        target = parent + b"/" + base if parent else base
        if not base or target in self._directories or target in self._whiteouts:
            raise LayerFailure("a hard link's target is not a file of the layer", entry.name)
        if target == path:
            return
        try:
            os.link(target, path, src_dir_fd=self._root, dst_dir_fd=self._root, follow_symlinks=False)
        except FileExistsError:
            os.stat(target, dir_fd=self._root, follow_symlinks=False)
            self._clear(path)
            os.link(target, path, src_dir_fd=self._root, dst_dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError as error:
            raise LayerFailure("a hard link's target is not in the layer", entry.name) from error

    def _special(self, entry: Entry, path: bytes, reader: TarReader) -> None:
        if not self._overlay:
            raise LayerFailure("a device or FIFO is not expected in this archive", entry.name)
        major, minor = entry.device
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
            raise LayerFailure("a device number is out of range", entry.name)
        if entry.kind == CHARACTER and entry.device == (0, 0):
            self._hide(path)  # overlayfs reads such a device as a whiteout, and so does Docker
            return
        kind = {FIFO: stat.S_IFIFO, CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK}[entry.kind]
        device = os.makedev(major, minor)
        try:
            os.mknod(path, kind | (entry.mode & 0o7777), device, dir_fd=self._root)
        except FileExistsError:
            self._clear(path)
            os.mknod(path, kind | (entry.mode & 0o7777), device, dir_fd=self._root)
        if entry.uid or entry.gid:
            os.chown(path, entry.uid, entry.gid, dir_fd=self._root, follow_symlinks=False)
            if entry.mode & 0o7000:
                os.chmod(path, entry.mode & 0o7777, dir_fd=self._root)
        self._touch(path, entry)

    def _touch(self, path: bytes, entry: Entry) -> None:
        mtime_ns = _moment(entry.mtime_ns)
        os.utime(path, ns=(mtime_ns, mtime_ns), dir_fd=self._root, follow_symlinks=False)

    # Whiteouts

    def _whiteout(self, entry: Entry, raw_parent: bytes, base: bytes) -> None:
        if base.startswith(_METADATA) and base != OPAQUE:
            return  # the bookkeeping of AUFS, which Docker skips too
        parent = self._parents.get(raw_parent)
        if parent is None:
            parent = self._resolve(raw_parent, entry)
        if base == OPAQUE:
            self._directories[parent].opaque = True
            return
        name = base[len(WHITEOUT) :]
        if name in (b"", b".", b".."):
            raise LayerFailure("a whiteout names nothing that can be deleted", entry.name)
        self._hide(parent + b"/" + name if parent else name)

    def _hide(self, path: bytes) -> None:
        """Delete `path` from the layers below. What this layer itself has there stays. (layer.md, "Whiteouts")"""
        if len(path) > PATH_LIMIT_BYTES:
            raise LayerFailure("the path is too long", path)
        directory = self._directories.get(path)
        if directory is not None:
            directory.opaque = True
            return
        try:
            os.mknod(path, stat.S_IFCHR, 0, dir_fd=self._root)
        except FileExistsError:
            return
        self._whiteouts.add(path)

    # The end

    def _settle(self, path: bytes, directory: _Directory) -> None:
        """Give a directory its attributes."""
        at, above = (path, self._root) if path else (self._root, None)
        if directory.xattrs:
            descriptor = os.open(path or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._root)
            try:
                _set_xattrs(descriptor, directory.xattrs)
            finally:
                os.close(descriptor)
        if directory.uid or directory.gid:
            os.chown(at, directory.uid, directory.gid, dir_fd=above)
        os.chmod(at, directory.mode, dir_fd=above)
        os.utime(at, ns=(directory.mtime_ns, directory.mtime_ns), dir_fd=above)


def _clean(name: bytes) -> bytes:
    """A name without "", "." and "..", as Go's path.Clean makes it below "/". Raises LayerFailure when it leads out."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise LayerFailure("the path leads out of the layer", name)
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def _moment(mtime_ns: int) -> int:
    """A time that every file system keeps; others become the epoch, as Docker's do."""
    return mtime_ns if 0 <= mtime_ns <= _LAST_MOMENT_NS else 0


def is_kept_xattr(name: bytes) -> bool:
    """Extended attributes that a layer may set. `trusted.*` is overlayfs's own, as is `user.overlay.*`
    in some mounts; of `security.*` only file capabilities mean the same on another machine.
    """
    if name.startswith(b"user."):
        return not name.startswith(b"user.overlay.")
    return name in (b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default")


def _set_xattrs(descriptor: int, xattrs: dict[bytes, bytes]) -> None:
    size = sum(len(name) + len(value) for name, value in xattrs.items())
    for name, value in xattrs.items():
        if not is_kept_xattr(name):
            continue
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:  # a file system without them: Docker goes on, too
                continue
            # File systems say ENOSPC for a full file, too; what is small would fit if there were room.
            if error.errno in (errno.E2BIG, errno.ERANGE) or (
                error.errno == errno.ENOSPC and size > _SMALL_XATTRS_BYTES
            ):
                raise LayerFailure("an entry has more extended attributes than a file can hold", b"") from error
            raise
