"""Whole directory trees by descriptor: removing one, copying one, measuring one. Never through a link or a mount.

Trees may belong to containers: any name in them may be a link, a pipe or a device, may be swapped while we look, and
may lie thousands of directories deep. So nothing is opened but what was first seen to be a file or a directory, by
O_NOFOLLOW, from its parent's descriptor; and the depth is kept in a list, not on Python's stack.
"""

import ctypes
import errno
import fcntl
import os
import stat
import sys

from onggi.linux.fd import Fd
from onggi.linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2
from onggi.linux.syscall import check, function

_HERE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
_PIECE = 1 << 20
_syncfs = function("syncfs", ctypes.c_int)
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_TOPDIR_FL = 0x20000


def open_directory(parent: "Fd | int", name: str) -> Fd:
    """A directory in `parent`, to be read. Raises OSError: ELOOP or ENOTDIR when it is none, EXDEV when a mount."""
    return openat2(parent, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=_HERE)


def sync_file_system(directory: "str | os.PathLike[str]") -> None:
    """Write all that the directory's file system has not yet written to the disk, and wait for that. (syncfs(2))"""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        check(_syncfs(descriptor), "syncfs", os.fspath(directory))
    finally:
        os.close(descriptor)


def mark_top_directory(directory: "str | os.PathLike[str]") -> None:
    """Say that the subdirectories have nothing to do with each other: `chattr +T` (FS_TOPDIR_FL, ioctl_iflags(2)).

    ext4 then puts each where there is room, not all beside each other. Left to itself it puts a new tree where one was
    just removed, and there passes over every inode freed in the last minute, for each inode that it makes: 8 of the
    10 seconds of a pull that came after an `rmi`. Other file systems don't know the flag: nothing happens.

    Raises OSError when one that does refuses it.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = int.from_bytes(fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, bytes(8))[:4], sys.byteorder)
        if not flags & _FS_TOPDIR_FL:
            fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, (flags | _FS_TOPDIR_FL).to_bytes(8, sys.byteorder))
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
            raise
    finally:
        os.close(descriptor)


def remove(parent: "Fd | int", name: str) -> None:
    """Remove `name`, a directory with all in it or anything else. Nothing happens when it is not there.

    Raises OSError: EXDEV or EBUSY when something is mounted in it; what was below may be gone by then.
    """
    top = parent if isinstance(parent, int) else parent.fileno()
    try:
        os.unlink(name, dir_fd=top)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass  # EISDIR on Linux, EPERM by POSIX
    # What was passed on the way down: name, the identity of the directory it was found in, and what is left to do
    # there. Only the end of the way is open: a tree can be deeper than there are descriptors.
    way: list[tuple[str, tuple[int, int], list[str]]] = []
    here = open_directory(top, name)
    try:
        left = _empty(here)
        while True:
            if left:
                below = left.pop()
                way.append((below, _identity(here), left))
                next_here = open_directory(here, below)
                here.close()
                here = next_here
                left = _empty(here)
                continue
            if not way:
                break
            last, parent_identity, left = way.pop()
            up = Fd(os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here.fileno()))
            here.close()
            here = up
            if _identity(here) != parent_identity:
                raise OSError(errno.ESTALE, "the tree was moved while it was removed", name)
            os.rmdir(last, dir_fd=here.fileno())
    finally:
        here.close()
    os.rmdir(name, dir_fd=top)


def _identity(directory: Fd) -> tuple[int, int]:
    found = os.fstat(directory.fileno())
    return found.st_dev, found.st_ino


def _empty(here: Fd) -> list[str]:
    """Unlink all but directories; the names of directories that are not empty."""
    with os.scandir(here.fileno()) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    left = []
    for name, is_directory in names:
        if not is_directory:
            try:
                os.unlink(name, dir_fd=here.fileno())
            except FileNotFoundError:
                pass  # somebody else was quicker
            continue
        try:
            os.rmdir(name, dir_fd=here.fileno())
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            left.append(name)
    return left


def size(directory: Fd) -> int:
    """Bytes on disk of all below, each file once however many names it has."""
    seen: set[tuple[int, int]] = set()
    total = 0
    waiting = ["."]
    while waiting:
        path = waiting.pop()
        try:
            here = _below(directory, path)
        except OSError:
            continue  # replaced, moved or mounted over since: not ours to count
        with here, os.scandir(here.fileno()) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if (found.st_dev, found.st_ino) in seen:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(f"{path}/{entry.name}")
                elif found.st_nlink > 1:
                    seen.add((found.st_dev, found.st_ino))
                total += found.st_blocks * 512
    return total


def _below(root: Fd, path: str) -> Fd:
    return openat2(root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=_HERE)


def copy(source: Fd, target: Fd) -> None:
    """Copy all in one directory into another, empty one, and the first one's own owner, mode and times onto it.

    Kept are owners, modes, times, links, hard links among the files, devices, pipes and extended attributes; sockets
    are left out. Raises OSError.
    """
    linked: dict[tuple[int, int], tuple[str, str]] = {}
    waiting = ["."]
    while waiting:
        path = waiting.pop()
        with _below(source, path) as here, _below(target, path) as there:
            with os.scandir(here.fileno()) as entries:
                names = [entry.name for entry in entries]
            for name in names:
                found = os.stat(name, dir_fd=here.fileno(), follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    os.mkdir(name, 0o700, dir_fd=there.fileno())
                    waiting.append(f"{path}/{name}")
                    continue
                first = linked.get((found.st_dev, found.st_ino)) if found.st_nlink > 1 else None
                if first is not None:
                    with _below(target, first[0]) as first_parent:
                        os.link(
                            first[1],
                            name,
                            src_dir_fd=first_parent.fileno(),
                            dst_dir_fd=there.fileno(),
                            follow_symlinks=False,
                        )
                    continue
                _copy_entry(here.fileno(), there.fileno(), name, found)
                if found.st_nlink > 1:
                    linked[found.st_dev, found.st_ino] = (path, name)
            # All that is made in it is made: its times stay from now on.
            _adopt(here.fileno(), there.fileno(), os.fstat(here.fileno()))


def _copy_entry(source: int, target: int, name: str, found: os.stat_result) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFREG:
        _copy_file(source, target, name)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
        os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)
    elif kind in {stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK}:
        os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
        # Opened as a mere place: chmod by name would follow a link that took its place.
        with openat2(target, name, os.O_PATH | os.O_NOFOLLOW, resolve=_HERE) as node:
            os.chown(f"/proc/self/fd/{node.fileno()}", found.st_uid, found.st_gid)
            os.chmod(f"/proc/self/fd/{node.fileno()}", stat.S_IMODE(found.st_mode))


def _copy_file(source: int, target: int, name: str) -> None:
    # O_NONBLOCK: should it be a pipe by now, opening must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with Fd(os.open(name, flags, dir_fd=source)) as old:
        found = os.fstat(old.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.ESTALE, "the file was replaced while it was copied", name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with Fd(os.open(name, flags, 0o600, dir_fd=target)) as new:
            # Never more than it had: a file that grows while it is read would be read for ever.
            offset = 0
            while offset < found.st_size:
                copied = os.sendfile(new.fileno(), old.fileno(), offset, min(found.st_size - offset, _PIECE))
                if copied == 0:
                    break
                offset += copied
            _adopt(old.fileno(), new.fileno(), found)


def _adopt(source: int, target: int, found: os.stat_result) -> None:
    """Owner, attributes, mode and times: in this order, since a new owner clears capabilities and set-user-ID bits."""
    os.fchown(target, found.st_uid, found.st_gid)
    try:
        names = os.listxattr(source)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        names = []
    for name in names:
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            # The target's file system has no such attributes, or not for us (another's security module).
            if error.errno not in {errno.ENOTSUP, errno.EPERM}:
                raise
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
