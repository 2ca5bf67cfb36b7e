"""The worker process of `cp`: inside a container's file system it looks, reads or writes, and says how that ended.

    python -I -S -c BOOT SOURCES PARENT CONTROL STREAM PLACE …     the numbers are descriptors, -1 for none

    daemon → worker   one message of JSON: {"job": "stat", "read", "write" or "export", "path": …, and what `_enter` needs}
    worker → daemon   "=" JSON        what lies at the path (stat, read), the end of the work (read, write)
                      "!" kind " " sentence       kind: missing, invalid, machine (sentence: the errno)

STREAM carries the archive, out of the worker or into it. All that is said of paths is said inside the container: the
worker has its root as root, so symlinks lead nowhere else. It runs none of the container's programs, holds no
descriptor of the host's, and imports nothing once it is inside (CVE-2019-14271, CVE-2018-15664, CVE-2021-41089).
"""

import _socket
import os
import stat
import sys

from onggi.engine.copy_placing import Placing, Refusal
from onggi.images.confine import READER, WRITER, restrict
from onggi.images.decompress import MAGIC_BYTES, MalformedCompression, compression, decompressor
from onggi.images.job import carry_out, write_all
from onggi.images.pack import MOST_LEVELS, Packing
from onggi.images.tar_reader import MalformedArchive, TarReader
from onggi.jsontext import dumps, loads
from onggi.linux import capability, mount, process
from onggi.linux.path import RESOLVE_IN_ROOT, make_directory, make_file, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.linux.fd import Fd

MESSAGE_LIMIT_BYTES = 64 << 10
_READ_BYTES = 256 << 10
_MOST_LINKS = 40
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
# Go's os.FileMode, which clients read from X-Docker-Container-Path-Stat.
_GO_KINDS = {
    stat.S_IFDIR: 1 << 31, stat.S_IFLNK: 1 << 27, stat.S_IFBLK: 1 << 26, stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25, stat.S_IFSOCK: 1 << 24,
}  # fmt: skip
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


def go_mode(mode: int) -> int:
    """st_mode as Go writes it."""
    bits = sum(go for unix, go in _GO_BITS if mode & unix)
    return _GO_KINDS.get(stat.S_IFMT(mode), 0) | bits | (mode & 0o777)


def absolute(path: str) -> str:
    """`path` below "/", cleaned by its text, with a final "/" or "/." kept, for these follow a link."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    clean = "/" + "/".join(parts)
    if clean == "/":
        return clean
    if path.endswith("/."):
        return clean + "/."
    return clean + "/" if path.endswith("/") else clean


def shown_name(path: str) -> str:
    """The last element of an absolute path, as Go's filepath.Base."""
    return "." if path.endswith("/.") else path.rstrip("/").rpartition("/")[2] or "/"


# Entering


def _enter(request: "dict[str, Any]", place: "list[int]", parent: int) -> None:
    """Make the container's file system our root. `place` is the pidfd of its first process, or
    the directory to mount on and the source of each volume, when it does not run.
    """
    process.prctl(process.PR_SET_DUMPABLE, 0)
    process.prctl(process.PR_SET_PDEATHSIG, 9)
    if os.getppid() != parent:
        os._exit(1)
    process.join_session_keyring()
    others = process.CLONE_NEWNET | process.CLONE_NEWIPC | process.CLONE_NEWUTS | process.CLONE_NEWCGROUP
    if request["running"]:
        process.unshare(others)
        process.setns(place[0], process.CLONE_NEWNS)  # root and working directory are the container's now
        if request["job"] == "export":
            with mount.open_tree(os.open("/", _DIRECTORY)) as root:  # without what is mounted below
                os.fchdir(root.fileno())
                os.chroot(".")
        return
    # Cloned while they are mounts of our own namespace; only the working directory is taken along into the new one.
    trees = [mount.open_tree(source, recursive=True) for source in place[1:]]
    os.fchdir(place[0])
    process.unshare(process.CLONE_NEWNS | others)
    everything = os.open("/", _DIRECTORY)
    mount.set_attributes(everything, propagation=mount.MS_PRIVATE, recursive=True)
    with _root(request) as root:
        mount.move_mount(root, os.open(".", _DIRECTORY))
        targets = [_mount_point(root, point, tree) for point, tree in zip(request["mounts"], trees, strict=True)]
        if request["read_only"]:
            mount.set_attributes(root, set=mount.MOUNT_ATTR_RDONLY)
        for point, tree, target in zip(request["mounts"], trees, targets, strict=True):
            if not point["writable"]:
                mount.set_attributes(tree, set=mount.MOUNT_ATTR_RDONLY, recursive=True)
            mount.move_mount(tree, target)
        mount.pivot_root(root)


def _root(request: "dict[str, Any]") -> "Fd":
    """The container's overlay. To read it, its upper directory is one more lower one, and what we write ends with us:
    the container may start meanwhile, and no two mounts may write to one upper directory.
    """
    if request["job"] == "write":
        return mount.overlay(request["lower"], request["upper"], request["work"], one_by_one=request["one_by_one"])
    with mount.new("tmpfs", [("mode", "0755")]) as scratch:
        mount.move_mount(scratch, os.open(".", _DIRECTORY))
    here = request["place"]
    os.chdir(here)  # onto what was mounted
    os.mkdir("upper")
    os.mkdir("work")
    lower = [request["upper"], *request["lower"]]
    return mount.overlay(lower, f"{here}/upper", f"{here}/work", one_by_one=request["one_by_one"])


def _mount_point(root: "Fd", point: "dict[str, Any]", tree: "Fd") -> "Fd":
    """Where the container has a volume; made when it has never been started."""
    make = make_directory if stat.S_ISDIR(os.fstat(tree.fileno()).st_mode) else make_file
    return make(root, point["destination"])


# Looking


def _open(path: str, flags: int) -> "Fd":
    """`path` from our own root, by no magic link."""
    here = os.open("/", _DIRECTORY)
    try:
        return openat2(here, path, flags, resolve=RESOLVE_IN_ROOT)
    finally:
        os.close(here)


def _look(path: str) -> "tuple[Fd, bytes, os.stat_result]":
    """Where the last element lies: its parent (or itself, with the name "."), its name, what it is."""
    if path.endswith(("/", "/.")):
        directory = _open(path, _DIRECTORY)
        return directory, b".", os.fstat(directory.fileno())
    above, _, name = path.rpartition("/")
    directory = _open(above or "/", _DIRECTORY)
    base = os.fsencode(name)
    found = os.stat(base, dir_fd=directory.fileno(), follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        # Opened now, so that what follows is about this very directory.
        inner = openat2(directory, name, _DIRECTORY | os.O_NOFOLLOW)
        directory.close()
        return inner, b".", found
    return directory, base, found


def _final_target(path: str) -> str:
    """Where a symlink ends, as far as it leads (moby: FollowSymlinkInScope)."""
    todo = path.split("/")[::-1]
    done = ""
    links = 0
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            done = done.rpartition("/")[0]
            continue
        try:
            target = os.readlink(f"{done}/{name}")
        except OSError:  # not a link, or nothing at all: it stands as it is
            done = f"{done}/{name}"
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(40, os.strerror(40), path)
        done = "" if target.startswith("/") else done
        todo.extend(target.split("/")[::-1])
    return done or "/"


def _time(mtime_ns: int) -> "list[int]":
    return [mtime_ns // 1_000_000_000, mtime_ns % 1_000_000_000]


def _description(path: str, found: os.stat_result) -> "dict[str, Any]":
    return {
        "name": shown_name(path),
        "size": found.st_size,
        "mode": go_mode(found.st_mode),
        "mtime": _time(found.st_mtime_ns),
        "linkTarget": _final_target(path) if stat.S_ISLNK(found.st_mode) else "",
    }


# Reading and writing


class _Copy(Packing):
    """One file, link or directory with all in it, under the name that it has in the archive."""

    def copy(self, parent: int, name: bytes, shown: bytes) -> None:
        levels: list[tuple[int, bytes, list[bytes]]] = []
        inner = self._entry(parent, name, shown)
        if inner >= 0:
            self._enter(levels, inner, shown)
        self._finish(levels)


def _writer(stream: int) -> "Callable[[bytes], None]":
    return lambda data: write_all(stream, data)


def _read(stream: int, directory: "Fd", name: bytes, path: str) -> None:
    shown = shown_name(path)
    here = os.open(b".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory.fileno())
    _Copy(here, _writer(stream)).copy(here, name, b"" if shown == "/" else os.fsencode(shown))


class _Stream:
    """The archive as it comes; its first bytes tell how it is compressed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._start = b""

    def begin(self) -> bytes:
        while len(self._start) < MAGIC_BYTES:
            data = os.read(self._descriptor, _READ_BYTES)
            if not data:
                break
            self._start += data
        return self._start

    def read(self) -> bytes:
        if self._start:
            data, self._start = self._start, b""
            return data
        return os.read(self._descriptor, _READ_BYTES)


def _write(request: "dict[str, Any]", read: "Any") -> None:
    target = _open(request["path"], os.O_PATH)
    with target:
        if not stat.S_ISDIR(os.fstat(target.fileno()).st_mode):
            raise Refusal("invalid", "extraction point is not a directory")
        if os.statvfs(target.fileno()).f_flag & os.ST_RDONLY:
            inside = os.fstat(target.fileno()).st_dev == os.stat("/").st_dev
            what = "container rootfs" if inside else "mounted volume"
            raise Refusal("invalid", f"{what} is marked read-only")
        placing = Placing(target, strict=request["strict"], user=request["user"])
        reader = TarReader(read)
        placing.run(reader)
        reader.drain()


def _work(request: "dict[str, Any]", control: _socket.socket, stream: int, read: "Any") -> bytes:
    if request["job"] == "export":
        control.send(b"={}")
        Packing(os.open("/", os.O_RDONLY | os.O_DIRECTORY), _writer(stream)).run()
        return b"={}"
    path = absolute(request["path"])
    if request["job"] == "write":
        _write({**request, "path": path}, read)
        return b"={}"
    directory, name, found = _look(path)
    with directory:
        description = b"=" + dumps(_description(path, found)).encode()
        if request["job"] == "stat":
            return description
        control.send(description)
        _read(stream, directory, name, path)
        return b"={}"


def _confined(control: _socket.socket, parent: int, stream: int, place: "list[int]") -> bytes:
    """Enter the container's file system and give up all else, then do what the message says; gives the reply."""
    request = loads(control.recv(MESSAGE_LIMIT_BYTES))
    writing = request["job"] == "write"
    read = None
    if writing:
        # Told before we enter, which ends all importing: only the decoder that is needed is loaded.
        source = _Stream(stream)
        read = decompressor(compression(source.begin()), source.read)
    highest = capability.last()
    _enter(request, place, parent)
    keep = [number for number in (control.fileno(), stream) if number >= 0]
    restrict(keep, WRITER if writing else READER, highest, descriptors=MOST_LEVELS + 64)
    return _work(request, control, stream, read)


def _refusal(error: BaseException) -> bytes:
    if isinstance(error, Refusal):
        return f"!{error.kind} {error.sentence}".encode("utf-8", "replace")
    if isinstance(error, MalformedArchive | MalformedCompression):
        return b"!invalid " + str(error).encode("ascii", "replace")
    if isinstance(error, FileNotFoundError):
        return b"!missing -"
    if isinstance(error, NotADirectoryError):
        return b"!invalid not a directory"
    return b""


def main() -> None:
    """Do the one job; never returns."""
    parent, control_number, stream, *place = map(int, sys.argv[2:])
    control = _socket.socket(fileno=control_number)
    carry_out(control, lambda: _confined(control, parent, stream, place), _refusal, MESSAGE_LIMIT_BYTES)
