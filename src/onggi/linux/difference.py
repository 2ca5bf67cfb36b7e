"""In what two directory trees differ, by descriptor: names, kinds, attributes, links, contents. Never through a link.

Both trees are of the same rank as those of `tree`: names in them may be anything, so nothing is opened but what was seen
to be a file or a directory, beneath the trees' own descriptors.
"""

import os
import stat

from onggi.linux.fd import Fd
from onggi.linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
_PIECE = 1 << 20


def difference(left: Fd, right: Fd, *, ignored_xattr: "Callable[[str], bool]" = lambda _: False) -> str:
    """The first difference, as `PATH: what differs`; "" for trees that are alike. Blocks on the disk.

    The left tree's files are read from the disk, not from the page cache, as far as the kernel lets go of it.
    """
    links: dict[tuple[int, int], tuple[int, int]] = {}
    waiting = ["."]
    while waiting:
        path = waiting.pop()
        with _directory(left, path) as ours, _directory(right, path) as theirs:
            if words := _attributes_differ(ours.fileno(), theirs.fileno(), ignored_xattr):
                return f"{_shown(path)}: {words}"
            names, others = set(os.listdir(ours.fileno())), set(os.listdir(theirs.fileno()))
            if names != others:
                name = min(names ^ others)
                return f"{_shown(f'{path}/{name}')}: {'is too much' if name in names else 'is missing'}"
            for name in sorted(names):
                words = _entry_differs(ours, theirs, name, links, ignored_xattr)
                if words:
                    return f"{_shown(f'{path}/{name}')}: {words}"
                if stat.S_ISDIR(os.stat(name, dir_fd=ours.fileno(), follow_symlinks=False).st_mode):
                    waiting.append(f"{path}/{name}")
    return ""


def _directory(root: Fd, path: str) -> Fd:
    return openat2(root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=_HERE)


def _entry_differs(
    ours: Fd, theirs: Fd, name: str, links: "dict[tuple[int, int], tuple[int, int]]",
    ignored_xattr: "Callable[[str], bool]",
) -> str:  # fmt: skip
    """One name that both directories have; a directory's own attributes are compared when its turn comes."""
    one = os.stat(name, dir_fd=ours.fileno(), follow_symlinks=False)
    other = os.stat(name, dir_fd=theirs.fileno(), follow_symlinks=False)
    if stat.S_IFMT(one.st_mode) != stat.S_IFMT(other.st_mode):
        return "is of another kind"
    if stat.S_ISDIR(one.st_mode):
        return ""
    for field, words in (
        ("st_mode", "mode"), ("st_uid", "owner"), ("st_gid", "group"), ("st_size", "size"), ("st_rdev", "device"),
        ("st_mtime_ns", "time"), ("st_nlink", "number of links"),
    ):  # fmt: skip
        if getattr(one, field) != getattr(other, field):
            return f"its {words} differs"
    if one.st_nlink > 1:
        identity = (one.st_dev, one.st_ino)
        if identity in links:
            return "" if links[identity] == (other.st_dev, other.st_ino) else "is linked to another file"
        links[identity] = (other.st_dev, other.st_ino)
    if stat.S_ISLNK(one.st_mode) and _target(ours, name) != _target(theirs, name):
        return "leads elsewhere"
    if _xattrs(f"/proc/self/fd/{ours.fileno()}/{name}", ignored_xattr) != _xattrs(
        f"/proc/self/fd/{theirs.fileno()}/{name}", ignored_xattr
    ):
        return "its extended attributes differ"
    if stat.S_ISREG(one.st_mode):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with openat2(ours, name, flags, resolve=_HERE) as file, openat2(theirs, name, flags, resolve=_HERE) as like:
            return _contents_differ(file.fileno(), like.fileno())
    return ""


def _target(directory: Fd, name: str) -> str:
    return os.readlink(name, dir_fd=directory.fileno())


def _contents_differ(one: int, other: int) -> str:
    os.posix_fadvise(one, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        while piece := os.read(one, _PIECE):
            if os.read(other, len(piece)) != piece:
                return "its content differs"
    except OSError as error:  # EIO: the disk gives it back no more
        return f"it can't be read: {(error.strerror or str(error)).lower()}"
    return ""


def _attributes_differ(one: int, other: int, ignored_xattr: "Callable[[str], bool]") -> str:
    ours, theirs = os.fstat(one), os.fstat(other)
    for field, words in (("st_mode", "mode"), ("st_uid", "owner"), ("st_gid", "group"), ("st_mtime_ns", "time")):
        if getattr(ours, field) != getattr(theirs, field):
            return f"its {words} differs"
    return "" if _xattrs(one, ignored_xattr) == _xattrs(other, ignored_xattr) else "its extended attributes differ"


def _xattrs(file: "int | str", ignored: "Callable[[str], bool]") -> "dict[str, bytes]":
    """Of a descriptor, or of the last part of a path, which may be a link."""
    follow = isinstance(file, int)
    return {
        name: os.getxattr(file, name, follow_symlinks=follow)
        for name in os.listxattr(file, follow_symlinks=follow)
        if not ignored(name)
    }


def _shown(path: str) -> str:
    return ascii(path.removeprefix("./"))[1:-1]
