"""Blobs and uploads: which bytes a repository may give out, and bytes on their way.

The rules that keep acknowledged blobs safe while garbage is collected:

1. An upload's row names its key before there are bytes; the bytes become an object, durably, before `adopt`.
2. `adopt` is one transaction: blob row, link, upload row gone. Where the digest is known already, its own key is garbage.
3. A blob that the repository has is touched when a client asks for it (`touch`): a push in progress keeps it young.
4. A manifest is stored only if all that it names is linked in that same transaction; what a manifest names is never
   unlinked (`garbage.py`).
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from onggi.errors import Conflict
from onggi.oci.digest import Digest
from onggi.registry import clock, quotas
from onggi.registry.database import Connection
from onggi.registry.permissions import Subject
from onggi.registry.refusals import BlobNotHere, UploadUnknown
from onggi.registry.repositories import find_or_make

TOUCH_EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Blob:
    digest: Digest
    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class UploadRow:
    id: str
    repository_id: int
    key: str


def _owner(subject: Subject) -> str:
    return f"{subject.kind}:{subject.name}"


def find(connection: Connection, repository: str, digest: Digest) -> Blob:
    """The blob, if this repository has it. Raises BlobNotHere whatever other repositories have."""
    row = connection.execute(
        "SELECT b.key, b.size_bytes FROM repositories r JOIN repository_blobs l ON l.repository_id = r.id"
        " JOIN blobs b ON b.digest = l.digest WHERE r.name = ? AND l.digest = ?",
        (repository, digest),
    ).fetchone()
    if row is None:
        raise BlobNotHere(digest)
    return Blob(digest, row["key"], row["size_bytes"])


def needs_touch(connection: Connection, repository: str, digest: Digest) -> bool:
    """True when a client that relies on the blob now would rely on an old link."""
    return (
        connection.execute(
            "SELECT 1 FROM repositories r JOIN repository_blobs l ON l.repository_id = r.id"
            " WHERE r.name = ? AND l.digest = ? AND l.linked_at < ?",
            (repository, digest, clock.ago(TOUCH_EVERY)),
        ).fetchone()
        is not None
    )


def touch(connection: Connection, repository: str, digest: Digest) -> None:
    """Make the link young again. Raises BlobNotHere when it has just been collected."""
    done = connection.execute(
        "UPDATE repository_blobs SET linked_at = ? WHERE digest = ?"
        " AND repository_id = (SELECT id FROM repositories WHERE name = ?)",
        (clock.stamp(), digest, repository),
    )
    if not done.rowcount:
        raise BlobNotHere(digest)


def _link(connection: Connection, repository_id: int, digest: Digest) -> None:
    connection.execute(
        "INSERT INTO repository_blobs (repository_id, digest, linked_at) VALUES (?, ?, ?)"
        " ON CONFLICT (repository_id, digest) DO UPDATE SET linked_at = excluded.linked_at",
        (repository_id, digest, clock.stamp()),
    )


class BlobInUse(Conflict):
    code = "DENIED"

    def __init__(self, digest: Digest, manifest: str) -> None:
        super().__init__(f"the blob {digest} is named by the manifest {manifest}: delete that first")


def unlink(connection: Connection, repository: str, digest: Digest) -> None:
    """The repository gives the blob out no more. Raises BlobNotHere, and BlobInUse while a manifest names it."""
    find(connection, repository, digest)
    row = connection.execute(
        "SELECT f.manifest FROM manifest_references f JOIN repositories r ON r.id = f.repository_id"
        " JOIN manifests m ON m.repository_id = f.repository_id AND m.digest = f.manifest"
        " WHERE r.name = ? AND f.digest = ? AND m.deleted_at = '' LIMIT 1",
        (repository, digest),
    ).fetchone()
    if row is not None:
        raise BlobInUse(digest, row["manifest"])
    connection.execute(
        "DELETE FROM repository_blobs WHERE digest = ? AND repository_id = (SELECT id FROM repositories WHERE name = ?)",
        (digest, repository),
    )


def mount(connection: Connection, repository: str, source: str, digest: Digest) -> bool:
    """Link a blob of `source` into `repository`; False when `source` does not have it. The caller asked for the right."""
    found = connection.execute(
        "SELECT b.size_bytes FROM repositories r JOIN repository_blobs l ON l.repository_id = r.id"
        " JOIN blobs b ON b.digest = l.digest WHERE r.name = ? AND l.digest = ?",
        (source, digest),
    ).fetchone()
    if found is None:
        return False
    repository_id = find_or_make(connection, repository)
    quotas.check_blob(connection, repository_id, digest, found["size_bytes"])
    _link(connection, repository_id, digest)
    return True


def holders(connection: Connection, digest: Digest, most: int = 20) -> list[str]:
    """Some repositories that have the blob, the latest first."""
    rows = connection.execute(
        "SELECT r.name FROM repository_blobs l JOIN repositories r ON r.id = l.repository_id WHERE l.digest = ?"
        " ORDER BY l.linked_at DESC LIMIT ?",
        (digest, most),
    ).fetchall()
    return [row["name"] for row in rows]


def begin(connection: Connection, repository: str, subject: Subject) -> UploadRow:
    """Note a new upload and the key that its bytes will have."""
    upload = UploadRow(secrets.token_urlsafe(24), find_or_make(connection, repository), secrets.token_hex(16))
    now = clock.stamp()
    connection.execute(
        "INSERT INTO uploads (id, repository_id, subject, key, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
        (upload.id, upload.repository_id, _owner(subject), upload.key, now, now),
    )
    return upload


def upload(connection: Connection, repository: str, upload_id: str, subject: Subject) -> UploadRow:
    """The session, if it is this repository's and this subject's. Raises UploadUnknown."""
    row = connection.execute(
        "SELECT u.id, u.repository_id, u.key FROM uploads u JOIN repositories r ON r.id = u.repository_id"
        " WHERE u.id = ? AND r.name = ? AND u.subject = ?",
        (upload_id, repository, _owner(subject)),
    ).fetchone()
    if row is None:
        raise UploadUnknown
    return UploadRow(row["id"], row["repository_id"], row["key"])


def grown(connection: Connection, upload_id: str, size_bytes: int) -> None:
    """Note how much there is of it: for quotas and for its age."""
    connection.execute(
        "UPDATE uploads SET size_bytes = ?, updated_at = ? WHERE id = ?", (size_bytes, clock.stamp(), upload_id)
    )


def give_up(connection: Connection, upload_id: str) -> None:
    """Forget an upload; the collector deletes its bytes."""
    row = connection.execute("DELETE FROM uploads WHERE id = ? RETURNING key", (upload_id,)).fetchone()
    if row is not None:
        discard(connection, row["key"])


def adopt(connection: Connection, upload: UploadRow, digest: Digest, size_bytes: int) -> None:
    """The object of `upload.key` has been verified and is durable: make it the blob `digest` of the repository.

    Raises UploadUnknown when the session was given up meanwhile, and QuotaExceeded.
    """
    if not connection.execute("DELETE FROM uploads WHERE id = ?", (upload.id,)).rowcount:
        raise UploadUnknown
    quotas.check_blob(connection, upload.repository_id, digest, size_bytes)
    made = connection.execute(
        "INSERT INTO blobs (digest, key, size_bytes, created_at) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING",
        (digest, upload.key, size_bytes, clock.stamp()),
    )
    if not made.rowcount:
        discard(connection, upload.key)
    _link(connection, upload.repository_id, digest)


def discard(connection: Connection, key: str) -> None:
    """Nobody names the key any more."""
    connection.execute(
        "INSERT INTO garbage (key, since) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, clock.stamp())
    )
