"""Paths that others wrote, opened beneath a directory that we hold (openat2(2)).

Nothing here takes an absolute path of the host. A path from an image, a client or a container never becomes a part of
a longer string that the kernel resolves from "/".
"""

import ctypes
import os
import stat

from onggi.linux.fd import Fd
from onggi.linux.syscall import check, function, number_of, system_call

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_LINKS = 40
"""As many symbolic links as the kernel follows (MAXSYMLINKS)."""
_ATTEMPTS = 128
"""Tries after EAGAIN, which says that a rename raced a ".."."""


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


_renameat2 = function(
    "renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint, result=ctypes.c_int
)
_RENAME_EXCHANGE = 2
_openat2 = system_call("openat2", ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_OpenHow), ctypes.c_size_t)
_SIZE = ctypes.sizeof(_OpenHow)


def openat2(root: "Fd | int", path: str, flags: int, *, mode: int = 0, resolve: int = RESOLVE_IN_ROOT) -> Fd:
    """Open `path` as if `root` were "/": no "..", symlink or magic link leads out of it.

    `flags` are open(2) flags; O_CLOEXEC is always added. `mode` counts with O_CREAT only. The caller owns the result.

    Raises OSError with `filename=path`: EXDEV for what leads out (RESOLVE_BENEATH), ELOOP for a link that `resolve`
    excludes, EAGAIN if renames raced ".." without end, ENOSYS before Linux 5.6. Source: openat2(2).
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve | RESOLVE_NO_MAGICLINKS)
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError("a path holds a NUL")
    directory = number_of(root)
    for _ in range(_ATTEMPTS):
        number = _openat2(directory, encoded, ctypes.byref(how), _SIZE)
        if number >= 0:
            return Fd(number)
        if ctypes.get_errno() != 11:  # EAGAIN
            break
    check(-1, "openat2", path)
    raise AssertionError("unreachable")


def exchange(directory: "Fd | int", one: str, other: str) -> None:
    """Two names in a directory change places, at once. Raises OSError: ENOENT when one is missing. (renameat2(2))"""
    number = number_of(directory)
    check(_renameat2(number, os.fsencode(one), number, os.fsencode(other), _RENAME_EXCHANGE), "renameat2", one)


def make_directory(root: "Fd | int", path: str, *, mode: int = 0o755) -> Fd:
    """The directory `path` in `root`, made with all its parents where missing; an O_PATH descriptor, the caller's.

    Raises NotADirectoryError when `path` names something else, otherwise as `openat2`.
    """
    try:
        return openat2(root, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return _walk(root, path, mode, file=False)


def make_file(root: "Fd | int", path: str, *, mode: int = 0o644) -> Fd:
    """What `path` names in `root`, whatever it is; an empty file is made where nothing is. O_PATH, the caller's.

    A dangling symbolic link is followed inside `root`: its target is made. Raises as `openat2`.
    """
    try:
        return openat2(root, path, os.O_PATH)
    except FileNotFoundError:
        return _walk(root, path, mode, file=True)


def _walk(root: "Fd | int", path: str, mode: int, *, file: bool) -> Fd:
    """Component by component, each opened without following, links resolved by text, what is missing made."""
    directories = [Fd(os.dup(number_of(root)))]
    rest = _components(path)
    links = 0
    try:
        while rest:
            name = rest.pop(0)
            if name == "..":
                if len(directories) > 1:
                    directories.pop().close()
                continue
            here = directories[-1].fileno()
            last = file and not rest
            try:
                found = Fd(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here))
            except FileNotFoundError:
                found = _make(here, name, mode if not rest else 0o755, file=last)
            kind = stat.S_IFMT(os.fstat(found.fileno()).st_mode)
            if kind == stat.S_IFLNK:
                with found:
                    target = os.readlink("", dir_fd=found.fileno())
                links += 1
                if links > _LINKS:
                    raise OSError(40, os.strerror(40), path)  # ELOOP
                if target.startswith("/"):
                    while len(directories) > 1:
                        directories.pop().close()
                rest = _components(target) + rest
            elif kind == stat.S_IFDIR or last:
                directories.append(found)
            else:
                found.close()
                raise NotADirectoryError(20, os.strerror(20), path)
        return Fd(directories.pop().take())
    finally:
        for directory in directories:
            directory.close()


def _make(here: int, name: str, mode: int, *, file: bool) -> Fd:
    try:
        if file:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here))
        else:
            os.mkdir(name, mode, dir_fd=here)
    except FileExistsError:
        pass  # somebody made it meanwhile; what it is, the caller looks at
    return Fd(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here))


def _components(path: str) -> "list[str]":
    return [part for part in path.split("/") if part not in {"", "."}]
