"""A tar is laid over a directory that is in use: what stands in the way is replaced, by Docker's rules for `cp`.

Each entry's parent is opened as a descriptor first and the entry made beneath it, so what a process of the container
renames meanwhile changes only where in its own file system the file lands. Part of the worker's half.
(moby: pkg/archive, Unpack)
"""

import os
import stat

from onggi.images.layer import is_kept_xattr
from onggi.images.tar_reader import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Entry, TarReader
from onggi.linux import tree
from onggi.linux.fd import Fd
from onggi.linux.path import openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PARENT = os.O_PATH | os.O_DIRECTORY
_LAST_MOMENT_NS = (1 << 63) - 1
_PASSWD_LIMIT_BYTES = 1 << 20
_MOST_ID = (1 << 31) - 1


class Refusal(Exception):
    """Why the work cannot be done. `kind` is `missing` or `invalid`."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence


class Placing:
    """Lays archives over the directory `target` (borrowed). `strict`: no file replaces a directory, nor the reverse.

    `user`: everything is given to this user of the container, a name or number; "" leaves the archive's owners.
    """

    def __init__(self, target: Fd, *, strict: bool, user: str) -> None:
        self._target = target
        self._strict = strict
        self._owner = _look_up(user) if user else None
        # Directories get their times when nothing more is put into them.
        self._late: dict[str, int] = {}

    def run(self, reader: TarReader) -> None:
        """Place everything. Raises Refusal, MalformedArchive, OSError."""
        makers = {
            FILE: self._file, DIRECTORY: self._directory, SYMLINK: self._symlink, LINK: self._link,
            CHARACTER: self._special, BLOCK_DEVICE: self._special, FIFO: self._special,
        }  # fmt: skip
        while (entry := reader.next()) is not None:
            path = _clean(entry.name)
            above, _, name = path.rpartition("/")
            if not name:
                continue  # the directory itself stays as it is
            if self._owner is not None:
                entry.uid, entry.gid = self._owner
            with self._parent(above) as parent:
                if self._make_way(entry, parent.fileno(), name):
                    makers[entry.kind](entry, parent.fileno(), name, reader)
            if entry.kind == DIRECTORY:
                self._late[path] = _moment(entry.mtime_ns)
        for path, mtime_ns in reversed(self._late.items()):
            above, _, name = path.rpartition("/")
            with self._parent(above) as parent:
                os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent.fileno(), follow_symlinks=False)

    def _parent(self, path: str) -> Fd:
        """The directory `path` from the target on, made where it is missing."""
        if not path:
            return self._target.duplicate()
        try:
            return openat2(self._target, path, _PARENT, resolve=0)
        except FileNotFoundError:
            here = self._target.duplicate()
            for name in path.split("/"):
                with here:
                    try:
                        os.mkdir(name, 0o755, dir_fd=here.fileno())
                    except FileExistsError:
                        pass
                    here = openat2(here, name, _PARENT, resolve=0)
            return here

    def _make_way(self, entry: Entry, parent: int, name: str) -> bool:
        """Remove what an entry replaces. False: a directory is there already, and stays."""
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return True
        is_directory = stat.S_ISDIR(found.st_mode)
        if is_directory and entry.kind == DIRECTORY:
            self._adopt(entry, parent, name)
            return False
        if self._strict and is_directory:
            raise Refusal("invalid", f'cannot overwrite directory "{name}" with non-directory')
        if self._strict and entry.kind == DIRECTORY:
            raise Refusal("invalid", f'cannot overwrite non-directory "{name}" with directory')
        if is_directory:
            tree.remove(parent, name)
        else:
            os.unlink(name, dir_fd=parent)
        return True

    def _file(self, entry: Entry, parent: int, name: str, reader: TarReader) -> None:
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=parent)
        try:
            reader.copy_content(descriptor, entry)
            os.fchown(descriptor, entry.uid, entry.gid)
            os.fchmod(descriptor, entry.mode & 0o7777)
            _set_xattrs(descriptor, entry.xattrs)
            mtime_ns = _moment(entry.mtime_ns)
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(descriptor)

    def _directory(self, entry: Entry, parent: int, name: str, reader: TarReader) -> None:
        os.mkdir(name, 0o700, dir_fd=parent)
        self._adopt(entry, parent, name)

    def _adopt(self, entry: Entry, parent: int, name: str) -> None:
        """A directory takes over the entry's owner and mode, as with Docker also one that was there."""
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.fchown(descriptor, entry.uid, entry.gid)
            os.fchmod(descriptor, entry.mode & 0o7777)
            _set_xattrs(descriptor, entry.xattrs)
        finally:
            os.close(descriptor)

    def _symlink(self, entry: Entry, parent: int, name: str, reader: TarReader) -> None:
        os.symlink(entry.target, os.fsencode(name), dir_fd=parent)
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        self._touch(entry, parent, name)

    def _link(self, entry: Entry, parent: int, name: str, reader: TarReader) -> None:
        above, _, base = _clean(entry.target).rpartition("/")
        try:
            with self._parent(above) as there:
                os.link(base, name, src_dir_fd=there.fileno(), dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError as error:
            raise Refusal("invalid", "a hard link's target is not in the archive") from error

    def _special(self, entry: Entry, parent: int, name: str, reader: TarReader) -> None:
        kind = {FIFO: stat.S_IFIFO, CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK}[entry.kind]
        major, minor = entry.device
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
            raise Refusal("invalid", "a device number is out of range")
        os.mknod(name, kind | (entry.mode & 0o777), os.makedev(major, minor), dir_fd=parent)
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        self._touch(entry, parent, name)

    def _touch(self, entry: Entry, parent: int, name: str) -> None:
        mtime_ns = _moment(entry.mtime_ns)
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)


def _clean(name: bytes) -> str:
    """A name without "", "." and "..", relative. Raises Refusal when it leads out."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise Refusal("invalid", f"invalid entry name {os.fsdecode(name)[:200]!a}")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return os.fsdecode(b"/".join(parts))


def _moment(mtime_ns: int) -> int:
    return mtime_ns if 0 <= mtime_ns <= _LAST_MOMENT_NS else 0


def _set_xattrs(descriptor: int, xattrs: "Mapping[bytes, bytes]") -> None:
    for name, value in xattrs.items():
        if is_kept_xattr(name):
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:
                if error.errno != 95:  # EOPNOTSUPP: a file system without attributes, as in Docker
                    raise


def _look_up(user: str) -> "tuple[int, int]":
    """uid and gid of a user of the container, by its own /etc/passwd: a regular file, read up to a limit."""
    name = user.partition(":")[0]
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 11 else None
    if number is not None and number > _MOST_ID:
        raise Refusal("invalid", f"uids and gids must be in range 0-{_MOST_ID}")
    for line in _passwd().split(b"\n"):
        fields = line.split(b":")
        if len(fields) < 4 or not (fields[2].isdigit() and fields[3].isdigit()):
            continue
        if (number is not None and int(fields[2]) == number) or (number is None and fields[0] == os.fsencode(name)):
            return int(fields[2]), int(fields[3])
    if number is not None:
        return number, 0
    raise Refusal("invalid", f"unable to find user {name[:100]!a}: no matching entries in passwd file")


def _passwd() -> bytes:
    try:
        descriptor = os.open("/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        return os.read(descriptor, _PASSWD_LIMIT_BYTES)
    finally:
        os.close(descriptor)
