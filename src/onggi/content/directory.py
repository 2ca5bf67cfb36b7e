"""A content store in a directory.

    ROOT/                      0700
        blobs/ALGORITHM/HEX    complete and verified, 0400; appears by rename, never changes
        ingest/KEY             the bytes so far; KEY is the SHA-256 of the ingest's ref; flock'ed by its writer

After kill -9 an ingest holds a prefix of its bytes: whoever goes on hashes them again. Before the rename the bytes are
synced, so a power cut can't leave a blob that is not its digest's.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from onggi.content.store import BlobUnknown, Info, IngestBusy, StoreFull, UnexpectedContent
from onggi.oci.digest import Digest, Hash, InvalidDigest

_PIECE_BYTES = 1024 * 1024


class DirectoryStore:
    """See the module. Several processes may share one."""

    def __init__(self, root: Path) -> None:
        self._blobs, self._ingests = root / "blobs", root / "ingest"
        for directory in (root, self._blobs, self._ingests, self._blobs / "sha256"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, digest: Digest) -> Path:
        return self._blobs / digest.algorithm / digest.hex

    def open(self, digest: Digest) -> BinaryIO:
        try:
            return self._path(digest).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise BlobUnknown(digest) from error

    def info(self, digest: Digest) -> Info:
        try:
            status = self._path(digest).stat()
        except FileNotFoundError as error:
            raise BlobUnknown(digest) from error
        return Info(digest, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def ingest(self, ref: str, expected: Digest | None = None, size_bytes: int | None = None) -> "DirectoryIngest":
        path = self._ingests / hashlib.sha256(ref.encode()).hexdigest()
        return DirectoryIngest(self, ref, path, expected, size_bytes)

    def walk(self) -> Iterator[Info]:
        for algorithm in sorted(self._blobs.iterdir()):
            for entry in algorithm.iterdir():
                try:
                    yield self.info(Digest(f"{algorithm.name}:{entry.name}"))
                except (BlobUnknown, InvalidDigest):
                    continue  # deleted since the listing, or no blob of ours

    def delete(self, digest: Digest) -> None:
        try:
            self._path(digest).unlink()
        except FileNotFoundError as error:
            raise BlobUnknown(digest) from error

    def disk_bytes(self) -> Mapping[Digest | None, int]:
        found: dict[Digest | None, int] = {}
        for algorithm in os.scandir(self._blobs):
            for entry in os.scandir(algorithm):
                try:
                    found[Digest(f"{algorithm.name}:{entry.name}")] = entry.stat(follow_symlinks=False).st_blocks * 512
                except (FileNotFoundError, InvalidDigest):
                    continue  # deleted since the listing, or no blob of ours
        found[None] = 0
        for entry in os.scandir(self._ingests):
            try:
                found[None] += entry.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue  # committed or dropped since the listing
        return found

    def expire(self, age: timedelta) -> int:
        expired, oldest = 0, time.time() - age.total_seconds()
        for path in self._ingests.iterdir():
            try:
                if path.stat().st_mtime >= oldest:
                    continue
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
            except (FileNotFoundError, BlockingIOError):
                continue  # committed, dropped or written by somebody in this moment
            expired += 1
        return expired

    def adopt(self, file: int, digest: Digest) -> None:
        temporary = self._ingests / f"adopted-{secrets.token_hex(16)}"
        # With a directory descriptor Python calls linkat(2), which alone follows the link to the open file.
        os.link(f"/proc/self/fd/{file}", temporary, src_dir_fd=file, follow_symlinks=True)
        os.fchown(file, 0, 0)
        os.fchmod(file, 0o400)
        os.fdatasync(file)
        self.keep(temporary, digest)

    def keep(self, path: Path, digest: Digest) -> None:
        """Give the verified file at `path` its name as a blob."""
        target = self._path(digest)
        if digest.algorithm != "sha256":
            target.parent.mkdir(mode=0o700, exist_ok=True)
        path.rename(target)


class DirectoryIngest:
    """`content.store.Ingest` in a file of its own."""

    def __init__(
        self, store: DirectoryStore, ref: str, path: Path, expected: Digest | None, size_bytes: int | None
    ) -> None:
        self._store, self._ref, self._path = store, ref, path
        self._expected, self._size_bytes = expected, size_bytes
        self._file: BinaryIO | None = None
        self._offset = 0
        self._hash: Hash = self._new_hash()

    def _new_hash(self) -> Hash:
        return self._expected.hasher() if self._expected else hashlib.sha256()

    def __enter__(self) -> Self:
        while self._file is None:
            file = open(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "r+b", 0)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Between open and lock its writer may have committed or dropped the file: then it is not the ingest.
                if os.fstat(file.fileno()).st_nlink and os.path.samestat(os.fstat(file.fileno()), self._path.stat()):
                    self._file = file
            except BlockingIOError as error:
                raise IngestBusy(self._ref) from error
            except FileNotFoundError:
                pass
            finally:
                if self._file is None:
                    file.close()
        self._hash_again()
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
            raise ValueError(f"the ingest {self._ref} is not entered, or is committed")
        return self._file

    def _hash_again(self) -> None:
        file = self._open_file
        size = os.fstat(file.fileno()).st_size
        if self._size_bytes is not None and size > self._size_bytes:
            self.restart()
            return
        file.seek(0)
        while piece := file.read(_PIECE_BYTES):
            self._hash.update(piece)
            self._offset += len(piece)

    @property
    def offset(self) -> int:
        return self._offset

    def write(self, data: bytes | bytearray | memoryview) -> int:
        view = memoryview(data)
        if self._size_bytes is not None and self._offset + len(view) > self._size_bytes:
            self._drop()
            raise UnexpectedContent(f"{self._ref} is longer than the {self._size_bytes} bytes that were announced")
        file = self._open_file
        self._hash.update(view)
        self._offset += len(view)
        try:
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            self._give_room(error)
            raise
        return self._offset

    def _give_room(self, error: OSError) -> None:
        """Drop the bytes and raise StoreFull when `error` says that there is no room."""
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            self._drop()
            raise StoreFull(self._ref) from error

    def restart(self) -> None:
        self._open_file.truncate(0)
        self._offset, self._hash = 0, self._new_hash()

    def open(self) -> BinaryIO:
        return self._path.open("rb", buffering=0)

    def commit(self, digest: Digest | None = None) -> Digest:
        file = self._open_file
        wanted = digest or self._expected
        if wanted is not None and self._expected is not None and wanted != self._expected:
            raise ValueError(f"the ingest {self._ref} was begun for {self._expected}, not {wanted}")
        if wanted is not None and self._expected is None and wanted.algorithm != "sha256":
            self._hash = wanted.hasher()
            self._offset = 0
            self._hash_again()
        if self._size_bytes is not None and self._offset != self._size_bytes:
            self._drop()
            raise UnexpectedContent(
                f"{self._ref} has {self._offset} bytes, not the {self._size_bytes} that were announced"
            )
        found = f"{wanted.algorithm if wanted else 'sha256'}:{self._hash.hexdigest()}"
        if wanted is not None and found != wanted:
            self._drop()
            raise UnexpectedContent(f"the bytes of {wanted} have the digest {found}")
        result = wanted or Digest(found)
        try:
            os.fchmod(file.fileno(), 0o400)
            os.fdatasync(file.fileno())
            self._store.keep(self._path, result)
        except OSError as error:
            self._give_room(error)
            raise
        file.close()
        self._file = None
        return result

    def _drop(self) -> None:
        """Forget the bytes; the ingest is at its end."""
        self._path.unlink(missing_ok=True)
        self._open_file.close()
        self._file = None
