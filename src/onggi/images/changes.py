"""What a container changed: its upper directory against the layers below, as `docker diff` and a commit see it.

All functions block on the disk. The upper directory may be written meanwhile; nothing in it is followed.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import IntEnum

from onggi.errors import TooLarge
from onggi.images.layers import is_opaque
from onggi.linux.fd import Fd
from onggi.linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
MOST_LEVELS = 400
"""Deeper trees are refused: each level of them costs descriptors."""


class Kind(IntEnum):
    """As the API numbers them."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Change:
    path: bytes
    """From the root: b"/etc/hosts"."""
    kind: Kind


def open_directory(path: str) -> Fd:
    """A directory of ours, by its name."""
    return Fd(os.open(path, _DIRECTORY))


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _names(directory: Fd) -> list[str]:
    with os.scandir(directory.fileno()) as entries:
        return sorted((entry.name for entry in entries), key=os.fsencode)


def _status(directory: Fd, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory.fileno(), follow_symlinks=False)
    except FileNotFoundError:
        return None


def _inner(directory: Fd, name: str) -> Fd | None:
    """A directory in a directory; None when it is none (any more)."""
    try:
        return openat2(directory, name, _DIRECTORY, resolve=_BENEATH)
    except OSError:
        return None


class Merged:
    """One directory as overlayfs shows it: the directories of this path in several layers, topmost first."""

    def __init__(self, parts: Sequence[Fd]) -> None:
        self.parts = parts

    def close(self) -> None:
        for part in self.parts:
            part.close()

    def status(self, name: str) -> os.stat_result | None:
        """What is visible by that name."""
        for part in self.parts:
            found = _status(part, name)
            if found is not None:
                return None if _is_whiteout(found) else found
        return None

    def names(self) -> list[str]:
        """All visible names, sorted."""
        visible: dict[str, bool] = {}
        for part in self.parts:
            for name in _names(part):
                if name not in visible:
                    found = _status(part, name)
                    visible[name] = found is not None and not _is_whiteout(found)
        return sorted((name for name, seen in visible.items() if seen), key=os.fsencode)

    def enter(self, name: str) -> "Merged":
        """The directory `name` in it; of no parts when there is none."""
        parts: list[Fd] = []
        for part in self.parts:
            found = _status(part, name)
            if found is None:
                continue
            inner = _inner(part, name) if stat.S_ISDIR(found.st_mode) else None
            if inner is None:
                break  # a file, or a whiteout: what is below is hidden
            parts.append(inner)
            if is_opaque(inner):
                break
        return Merged(parts)


def changes(upper: str, lower: Sequence[str]) -> list[Change]:
    """All changes, in order of their paths; a directory that holds some counts as modified. (moby: pkg/archive/changes)

    `lower` topmost first.
    """
    found: list[Change] = []
    with ExitStack() as stack:
        top = stack.enter_context(open_directory(upper))
        below = Merged([stack.enter_context(open_directory(path)) for path in lower])
        _compare(top, below, b"", found, 0)
    return found


def _compare(upper: Fd, lower: Merged, path: bytes, found: list[Change], depth: int) -> None:
    if depth > MOST_LEVELS:
        raise TooLarge(f"the container's directories lie more than {MOST_LEVELS} levels deep")
    names = _names(upper)
    hidden = set(lower.names()) if is_opaque(upper) else set()
    for name in sorted({*names, *hidden}, key=os.fsencode):
        here = path + b"/" + os.fsencode(name)
        now, before = _status(upper, name), lower.status(name)
        if now is None or _is_whiteout(now):
            if before is not None and (now is not None or name in hidden):
                found.append(Change(here, Kind.DELETED))
            continue
        at = len(found)
        if before is None:
            found.append(Change(here, Kind.ADDED))
        elif _differs(now, before):
            found.append(Change(here, Kind.MODIFIED))
        if not stat.S_ISDIR(now.st_mode):
            continue
        inner = _inner(upper, name)
        if inner is None:
            continue
        with inner:
            below = lower.enter(name)
            try:
                _compare(inner, below, here, found, depth + 1)
            finally:
                below.close()
        if len(found) > at and found[at].path != here:
            found.insert(at, Change(here, Kind.MODIFIED))


def _differs(now: os.stat_result, before: os.stat_result) -> bool:
    """A file that was only opened for writing was copied, but not changed."""
    if (now.st_mode, now.st_uid, now.st_gid, now.st_rdev) != (
        before.st_mode,
        before.st_uid,
        before.st_gid,
        before.st_rdev,
    ):
        return True
    if stat.S_ISDIR(now.st_mode):
        return False
    return now.st_size != before.st_size or now.st_mtime_ns != before.st_mtime_ns


def walk(root: Fd) -> Iterator[tuple[bytes, Fd]]:
    """Every directory below and with `root`, itself first; each is closed when the next one comes."""
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        try:
            directory = openat2(root, os.fsdecode(path) or ".", _DIRECTORY, resolve=_BENEATH)
        except OSError:
            continue  # removed or replaced since, or too long a path to be named
        with directory:
            yield path, directory
            with os.scandir(directory.fileno()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((path + b"/" if path else b"") + os.fsencode(entry.name))


def opaque_directories(upper: Fd) -> list[bytes]:
    """Paths of all opaque directories, without a slash at their start."""
    return [path for path, directory in walk(upper) if is_opaque(directory)]


def written_bytes(upper: str) -> int:
    """Of all regular files and links, each inode once, as Docker's `SizeRw`."""
    total = 0
    seen: set[int] = set()
    with open_directory(upper) as root:
        for _, directory in walk(root):
            for name in _names(directory):
                found = _status(directory, name)
                if found is not None and not stat.S_ISDIR(found.st_mode) and found.st_ino not in seen:
                    seen.add(found.st_ino)
                    total += found.st_size
    return total
