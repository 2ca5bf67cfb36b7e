"""Objects in a directory.

    ROOT/                    0700
        objects/KE/KEY       complete, 0400; appears by rename, never changes
        uploads/KEY          the bytes so far; flock'ed by its writer

Before the rename the bytes are synced, after it the directory: kill -9 and a power cut leave an upload or an object,
never half of one.
"""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from onggi.content.objects import ObjectUnknown, UploadBusy
from onggi.content.store import StoreFull

_KEY = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PIECE_BYTES = 1024 * 1024


class ObjectDirectory:
    """`Objects` in files. Several processes may share one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._objects, self._uploads = root / "objects", root / "uploads"
        for directory in (root, self._objects, self._uploads):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def is_empty(self) -> bool:
        """True before the first object and the first upload."""
        return next(self.walk(), None) is None

    def object_path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!a} is no key")
        return self._objects / key[:2] / key

    def upload_path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!a} is no key")
        return self._uploads / key

    def make_directory(self, path: Path) -> None:
        """Make one of the object directories, durably."""
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._objects)

    def begin(self, key: str) -> None:
        os.close(os.open(self.upload_path(key), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def upload(self, key: str) -> "DirectoryUpload":
        return DirectoryUpload(self, key)

    def upload_size(self, key: str) -> int:
        try:
            return self.upload_path(key).stat().st_size
        except FileNotFoundError as error:
            raise ObjectUnknown(key) from error

    def open(self, key: str) -> BinaryIO:
        try:
            return self.object_path(key).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise ObjectUnknown(key) from error

    def url(self, key: str, media_type: str) -> str | None:  # given out by us
        return None

    def delete(self, key: str) -> None:
        self.upload_path(key).unlink(missing_ok=True)
        self.object_path(key).unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        """True when there is an object or an upload of this key."""
        return self.object_path(key).exists() or self.upload_path(key).exists()

    def walk(self) -> Iterator[str]:
        for directory in (self._uploads, *self._objects.iterdir()):
            yield from (entry.name for entry in directory.iterdir() if _KEY.fullmatch(entry.name))


def sync_directory(path: Path) -> None:
    """What was made or renamed in `path` outlasts a power cut."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class DirectoryUpload:
    """`content.objects.Upload` in a file."""

    def __init__(self, store: ObjectDirectory, key: str) -> None:
        self._store, self._key = store, key
        self._path = store.upload_path(key)
        self._file: BinaryIO | None = None
        self._offset = 0

    def __enter__(self) -> Self:
        try:
            file = open(os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC), "r+b", 0)
        except FileNotFoundError as error:
            raise ObjectUnknown(self._key) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink == 0 or not self._path.exists():
                raise ObjectUnknown(self._key)  # committed or deleted between open and lock
        except BlockingIOError as error:
            file.close()
            raise UploadBusy from error
        except BaseException:
            file.close()
            raise
        self._file = file
        self._offset = os.fstat(file.fileno()).st_size
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _open_file(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("the upload is not entered, or is committed")
        return self._file

    @property
    def offset(self) -> int:
        return self._offset

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view, file = memoryview(data), self._open_file
        self._offset += len(view)
        try:
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            self._give_room(error)
            raise

    def _give_room(self, error: OSError) -> None:
        """Drop the bytes and raise StoreFull when `error` says that there is no room."""
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            self._path.unlink(missing_ok=True)
            raise StoreFull(self._key) from error

    def pieces(self) -> Iterator[bytes]:
        with self._path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def reader(self) -> BinaryIO:
        return self._path.open("rb", buffering=0)

    def commit(self) -> None:
        file = self._open_file
        target = self._store.object_path(self._key)
        try:
            os.fchmod(file.fileno(), 0o400)
            os.fdatasync(file.fileno())
            self._store.make_directory(target.parent)
            self._path.rename(target)
        except FileNotFoundError as error:
            raise ObjectUnknown(self._key) from error  # deleted meanwhile
        except OSError as error:
            self._give_room(error)
            raise
        sync_directory(target.parent)
        self.__exit__(None, None, None)
