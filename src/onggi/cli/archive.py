"""Tar archives for `cp`: made of local files, and laid out beneath a local directory.

What comes from a container is hostile: names are walked component by component beneath a descriptor of the target,
no symbolic link is followed, nothing outside is touched (kubectl's CVE-2018-1002100, CVE-2019-1002101, CVE-2019-11246).
"""

import os
import stat
import sys
import tarfile

from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIECE = 1 << 18
_BLOCK = tarfile.BLOCKSIZE


def pack(path: str, name: str) -> "Iterator[bytes]":
    """The file or directory `path` as a tar stream in which it is called `name`."""
    with tarfile.TarFile(fileobj=_Nowhere(), mode="w", format=tarfile.PAX_FORMAT) as builder:  # type: ignore[arg-type]
        yield from _pack(builder, path, name)
    yield bytes(_BLOCK * 2)


class _Nowhere:
    """What tarfile wants to write its end marks to; ours are written by `pack`."""

    @staticmethod
    def tell() -> int:
        return 0

    @staticmethod
    def write(data: bytes) -> int:
        return len(data)


def _pack(builder: tarfile.TarFile, path: str, name: str) -> "Iterator[bytes]":
    try:
        entry = builder.gettarinfo(path, name)
    except OSError as error:
        raise Failure(f"lstat {path}: {(error.strerror or '').lower()}") from None
    if entry is None:
        return  # a socket: it cannot be archived
    if entry.isreg():
        with open(path, "rb") as file:
            entry.size = os.fstat(file.fileno()).st_size
            yield entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            yield from _contents(file, entry.size, path)
        return
    yield entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if entry.isdir():
        for child in sorted(os.listdir(path)):
            yield from _pack(builder, os.path.join(path, child), f"{name}/{child}" if name != "." else child)


def _contents(file: "object", size: int, path: str) -> "Iterator[bytes]":
    left = size
    while left:
        data = file.read(min(left, _PIECE))  # type: ignore[attr-defined]
        if not data:
            raise Failure(f"{path} became shorter while it was read")
        left -= len(data)
        yield data
    yield bytes(-size % _BLOCK)


class Reader:
    """A stream of bytes as the file that tarfile reads from; counts them."""

    def __init__(self, pieces: "Iterable[bytes]") -> None:
        self._pieces = iter(pieces)
        self._rest = b""
        self.count = 0

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0:
            if not self._rest:
                self._rest = next(self._pieces, b"")
                if not self._rest:
                    break
            part, self._rest = self._rest[:size], self._rest[size:]
            size -= len(part)
            parts.append(part)
        data = b"".join(parts)
        self.count += len(data)
        return data


class Extraction:
    """Lays a tar stream out beneath the directory `into`. `rename`: (first name in the archive, what to call it)."""

    def __init__(self, into: str, *, rename: "tuple[str, str] | None" = None, owners: bool = False) -> None:
        if sys.platform == "win32":
            raise Failure("copying out of a container is not supported on Windows: use `cp CONTAINER:PATH -`")
        self._into = into
        self._rename = rename
        self._owners = owners and os.geteuid() == 0
        self._folders: list[tuple[list[str], tarfile.TarInfo]] = []

    def run(self, stream: Reader) -> None:
        """Raises Failure for what an archive must not hold."""
        root = os.open(self._into, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
                for entry in archive:
                    self._lay(root, archive, entry)
            for parts, entry in reversed(self._folders):  # last: writing into a directory changes its time
                folder = self._open(root, parts)
                try:
                    self._finish(folder, entry)
                finally:
                    os.close(folder)
        except tarfile.TarError as error:
            raise Failure(f"the daemon's archive is damaged: {error}") from None
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            raise Failure(f"cannot write below {self._into}:{where} {(error.strerror or str(error)).lower()}") from None
        finally:
            os.close(root)

    def _parts(self, name: str) -> "list[str]":
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise Failure(f"the daemon's archive holds the name {name!r}, which leads out of the target")
        if self._rename and parts and parts[0] == self._rename[0]:
            parts[0] = self._rename[1]
        return parts

    @staticmethod
    def _open(root: int, parts: "list[str]", *, make: bool = False) -> int:
        """The directory at `parts`, no link followed. The caller closes it."""
        current = os.dup(root)
        try:
            for part in parts:
                if make:
                    try:
                        os.mkdir(part, 0o755, dir_fd=current)
                    except FileExistsError:
                        pass
                following = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
                os.close(current)
                current = following
        except BaseException:
            os.close(current)
            raise
        return current

    def _lay(self, root: int, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        parts = self._parts(entry.name)
        if not parts:
            return
        parent = self._open(root, parts[:-1], make=True)
        try:
            name = parts[-1]
            if entry.isdir():
                os.close(self._open(parent, [name], make=True))
                self._folders.append((parts, entry))
                return
            try:
                os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                pass
            if entry.isreg():
                self._file(parent, name, archive, entry)
            elif entry.issym():
                os.symlink(entry.linkname, name, dir_fd=parent)
            elif entry.islnk():
                self._link(root, parent, name, entry)
            elif entry.isfifo():
                os.mkfifo(name, stat.S_IMODE(entry.mode) & 0o777, dir_fd=parent)
            else:
                raise Failure(f"{entry.name} is a device: devices are not copied out of a container")
        finally:
            os.close(parent)

    def _file(self, parent: int, name: str, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=parent)
        with open(descriptor, "wb") as file:
            source = archive.extractfile(entry)
            while source and (data := source.read(_PIECE)):
                file.write(data)
            file.flush()
            self._finish(file.fileno(), entry)

    def _link(self, root: int, parent: int, name: str, entry: tarfile.TarInfo) -> None:
        target = self._parts(entry.linkname)
        if not target:
            raise Failure(f"the daemon's archive links {entry.name!r} to nothing")
        folder = self._open(root, target[:-1])
        try:
            os.link(target[-1], name, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(folder)

    def _finish(self, descriptor: int, entry: tarfile.TarInfo) -> None:
        """Owner, mode and time. Set-uid bits are kept only with the owner they were meant for."""
        if self._owners:
            os.fchown(descriptor, entry.uid, entry.gid)
        os.fchmod(descriptor, stat.S_IMODE(entry.mode) & (0o7777 if self._owners else 0o1777))
        os.utime(descriptor, (entry.mtime, entry.mtime))
