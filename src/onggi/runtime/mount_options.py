"""Mount options of the runtime specification as attributes, propagation and file-system data (config.md, Mounts)."""

from dataclasses import dataclass, field

from onggi.errors import InvalidParameter, Unsupported
from onggi.linux import mount

_RDONLY, _ATIME = mount.MOUNT_ATTR_RDONLY, mount.MOUNT_ATTR_ATIME

_ATTRIBUTES: dict[str, tuple[int, int]] = {  # word: (set, clear)
    "ro": (_RDONLY, 0),
    "rw": (0, _RDONLY),
    "nosuid": (mount.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, mount.MOUNT_ATTR_NOSUID),
    "nodev": (mount.MOUNT_ATTR_NODEV, 0),
    "dev": (0, mount.MOUNT_ATTR_NODEV),
    "noexec": (mount.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, mount.MOUNT_ATTR_NOEXEC),
    "noatime": (mount.MOUNT_ATTR_NOATIME, _ATIME),
    "atime": (mount.MOUNT_ATTR_RELATIME, _ATIME),
    "relatime": (mount.MOUNT_ATTR_RELATIME, _ATIME),
    "norelatime": (mount.MOUNT_ATTR_STRICTATIME, _ATIME),
    "strictatime": (mount.MOUNT_ATTR_STRICTATIME, _ATIME),
    "nostrictatime": (mount.MOUNT_ATTR_RELATIME, _ATIME),
    "nodiratime": (mount.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, mount.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (mount.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, mount.MOUNT_ATTR_NOSYMFOLLOW),
}
PROPAGATIONS = frozenset({"private", "slave", "shared", "unbindable", "rprivate", "rslave", "rshared", "runbindable"})
_IGNORED = frozenset({"defaults", "loud", "iversion", "noiversion", "nolazytime", "async"})
"""They name what is so anyway."""
_UNSUPPORTED = frozenset({"remount", "idmap", "ridmap", "mand"})


@dataclass(slots=True)
class Options:
    """One mount's options, sorted by what they are about."""

    bind: bool = False
    recursive: bool = False
    """`rbind`."""
    set: int = 0
    clear: int = 0
    set_all: int = 0
    """By the recursive words: `rro` and so on."""
    clear_all: int = 0
    propagation: list[str] = field(default_factory=list)
    data: list[tuple[str, str | None]] = field(default_factory=list)
    copy_up: bool = False


def parse(words: tuple[str, ...]) -> Options:
    """Sort options; a later word wins over an earlier one. Raises Unsupported, InvalidParameter."""
    found = Options()
    for word in words:
        if word in _IGNORED:
            continue
        if word in _UNSUPPORTED:
            raise Unsupported(f"mount option {word!r} is not offered")
        if word in {"bind", "rbind"}:
            found.bind = True
            found.recursive = found.recursive or word == "rbind"
        elif word in _ATTRIBUTES:
            found.set, found.clear = _merged(found.set, found.clear, _ATTRIBUTES[word])
        elif word[:1] == "r" and word[1:] in _ATTRIBUTES:
            found.set_all, found.clear_all = _merged(found.set_all, found.clear_all, _ATTRIBUTES[word[1:]])
        elif word in PROPAGATIONS:
            found.propagation.append(word)
        elif word == "tmpcopyup":
            found.copy_up = True
        elif not word or "\0" in word:
            raise InvalidParameter(f"invalid mount option {word!r}")
        else:
            key, separator, value = word.partition("=")
            found.data.append((key, value if separator else None))
    return found


def known() -> set[str]:
    """Every option that `parse` knows by name."""
    recursive = {f"r{word}" for word in _ATTRIBUTES}
    return {*_ATTRIBUTES, *recursive, *PROPAGATIONS, *_IGNORED, "bind", "rbind", "tmpcopyup"}


def _merged(set: int, clear: int, change: tuple[int, int]) -> tuple[int, int]:
    adds, drops = change
    if drops == _ATIME:
        return set & ~_ATIME | adds, clear | _ATIME
    return set & ~drops | adds, clear & ~adds | drops
