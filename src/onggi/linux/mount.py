"""The kernel's mount interface by descriptors (fsopen(2), open_tree(2), move_mount(2), mount_setattr(2)).

A mount is made detached, gets its attributes, and becomes visible last, at a place that is a descriptor.
"""

import ctypes
import os

from onggi.linux.fd import Fd
from onggi.linux.syscall import check, function, number_of, system_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2

PROC_SUPER_MAGIC = 0x9FA0
DEVPTS_SUPER_MAGIC = 0x1CD1

_OPEN_TREE_CLONE = 1
_CLOEXEC = os.O_CLOEXEC
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_F_EMPTY_PATH, _T_EMPTY_PATH = 0x4, 0x40
_SET_FLAG, _SET_STRING, _CMD_CREATE = 0, 1, 6


class _MountAttr(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


_int, _text = ctypes.c_int, ctypes.c_char_p
_fsopen = system_call("fsopen", _text, ctypes.c_uint)
_fsconfig = system_call("fsconfig", _int, ctypes.c_uint, _text, _text, _int)
_fsmount = system_call("fsmount", _int, ctypes.c_uint, ctypes.c_uint)
_open_tree = system_call("open_tree", _int, _text, ctypes.c_uint)
_move_mount = system_call("move_mount", _int, _text, _int, _text, ctypes.c_uint)
_mount_setattr = system_call("mount_setattr", _int, _text, ctypes.c_uint, ctypes.POINTER(_MountAttr), ctypes.c_size_t)
_pivot_root = system_call("pivot_root", _text, _text)
_umount2 = function("umount2", _text, _int)
_fstatfs = function("fstatfs", _int, ctypes.c_void_p)


def new(
    kind: str,
    options: "Iterable[tuple[str, str | None]]" = (),
    *,
    source: "str | None" = None,
    attributes: int = 0,
) -> Fd:
    """A new, detached mount of a file system: `kind` as in /proc/filesystems, `options` as (key, value or None).

    Raises OSError whose text ends with the kernel's own words on the matter, where it has any. Source: fsopen(2).
    """
    with Fd(check(_fsopen(kind.encode(), _FSOPEN_CLOEXEC), "fsopen", kind)) as context:
        number = context.fileno()
        if source is not None:
            _configure(context, _SET_STRING, "source", source)
        for key, value in options:
            _configure(context, _SET_FLAG if value is None else _SET_STRING, key, value)
        if _fsconfig(number, _CMD_CREATE, None, None, 0) < 0:
            raise _failure(context, kind)
        result = _fsmount(number, _FSMOUNT_CLOEXEC, attributes)
        if result < 0:
            raise _failure(context, kind)
        return Fd(result)


def _configure(context: Fd, command: int, key: str, value: "str | None") -> None:
    encoded = None if value is None else os.fsencode(value)
    if _fsconfig(context.fileno(), command, key.encode(), encoded, 0) < 0:
        raise _failure(context, key if value is None else f"{key}={value}")


def _failure(context: Fd, subject: str) -> OSError:
    """OSError of errno, with what the kernel wrote into the context's log ("e overlay: …")."""
    code = ctypes.get_errno()
    words = []
    while True:
        try:
            line = os.read(context.fileno(), 512)
        except OSError:  # ENODATA: no more of it
            break
        words.append(line.decode("utf-8", "replace").strip()[2:])
    return OSError(code, ": ".join([os.strerror(code), *words]), subject)


_BELIEVE_NOTHING: "list[tuple[str, str | None]]" = [
    ("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off"),
]  # fmt: skip


def overlay(lower: "Iterable[str]", upper: str, work: str, *, one_by_one: bool = True) -> Fd:
    """A detached overlay of host directories, topmost first.

    Names in the layers' own attributes are not believed: no redirects, no metacopy, no index (CVE class of planted
    `trusted.overlay.*`). `one_by_one`: the kernel takes `lowerdir+` (Linux 6.5); else one string, 4 KiB at most.
    """
    options = _lower(lower, one_by_one=one_by_one)
    options += [("upperdir", upper), ("workdir", work), *_BELIEVE_NOTHING]
    return new("overlay", options, source="overlay")


def view(lower: "Iterable[str]", *, one_by_one: bool = True) -> Fd:
    """As `overlay`, with nothing above the layers: to be read only. Two directories at least."""
    options = [*_lower(lower, one_by_one=one_by_one), *_BELIEVE_NOTHING]
    return new("overlay", options, source="overlay", attributes=MOUNT_ATTR_RDONLY)


def _lower(lower: "Iterable[str]", *, one_by_one: bool) -> "list[tuple[str, str | None]]":
    if one_by_one:
        return [("lowerdir+", directory) for directory in lower]
    return [("lowerdir", ":".join(_escape(directory) for directory in lower))]


def _escape(directory: str) -> str:
    return directory.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def open_tree(
    at: "Fd | int", path: str = "", *, clone: bool = True, recursive: bool = False, follow: bool = True
) -> Fd:
    """A mount as a descriptor: with `clone` a new, detached copy of it (and of those below, if `recursive`)."""
    flags = _CLOEXEC | (_OPEN_TREE_CLONE if clone else 0) | (AT_RECURSIVE if recursive else 0)
    flags |= (AT_EMPTY_PATH if not path else 0) | (0 if follow else AT_SYMLINK_NOFOLLOW)
    return Fd(check(_open_tree(number_of(at), os.fsencode(path), flags), "open_tree", path))


def move_mount(mount: "Fd | int", onto: "Fd | int", *, path: str = "") -> None:
    """Attach a detached mount at what `onto` is (or at `path`, from there)."""
    flags = _F_EMPTY_PATH | (0 if path else _T_EMPTY_PATH)
    check(_move_mount(number_of(mount), b"", number_of(onto), os.fsencode(path), flags), "move_mount", path)


def set_attributes(
    mount: "Fd | int",
    *,
    set: int = 0,
    clear: int = 0,
    propagation: int = 0,
    recursive: bool = False,
    path: str = "",
    id_map: "Fd | None" = None,
) -> None:
    """Change attributes of a mount (and of all below it, if `recursive`). Source: mount_setattr(2)."""
    attributes = _MountAttr(set, clear, propagation, 0)
    if id_map is not None:
        attributes.attr_set |= MOUNT_ATTR_IDMAP
        attributes.userns_fd = id_map.fileno()
    flags = (AT_EMPTY_PATH if not path else 0) | (AT_RECURSIVE if recursive else 0)
    check(
        _mount_setattr(number_of(mount), os.fsencode(path), flags, ctypes.byref(attributes), ctypes.sizeof(_MountAttr)),
        "mount_setattr",
        path,
    )


def pivot_root(root: "Fd | int") -> None:
    """Make the mount whose top is `root` the root of this mount namespace, and let the old one go with all in it.

    Ends with the new root as root and working directory. Source: pivot_root(2), "pivot_root(".", ".")".
    """
    os.fchdir(number_of(root))
    check(_pivot_root(b".", b"."), "pivot_root")
    check(_umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/")


def unmount(path: str) -> None:
    """Detach what is mounted at a path of ours. Source: umount2(2)."""
    check(_umount2(os.fsencode(path), MNT_DETACH), "umount2", path)


def filesystem_type(descriptor: "Fd | int") -> int:
    """The magic number of the file system that a descriptor lies on. Source: fstatfs(2)."""
    buffer = (ctypes.c_long * 32)()
    check(_fstatfs(number_of(descriptor), ctypes.byref(buffer)), "fstatfs")
    return buffer[0] & 0xFFFFFFFF
