"""Manifests: the documents, what they name, who refers to them. They live in the database, with the tags that move."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onggi.errors import Conflict
from onggi.oci.descriptor import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    FOREIGN_LAYERS,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
)
from onggi.oci.digest import Digest
from onggi.oci.manifest import Index, InvalidManifest, Manifest, parse_manifest
from onggi.registry import quotas, tags
from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.refusals import DigestWrong, ManifestUnknown, ReferencesUnknown
from onggi.registry.tags import TagAction


class PartOfIndex(Conflict):
    code = "DENIED"

    def __init__(self, digest: str, index: str) -> None:
        super().__init__(f"the manifest {digest} is part of the index {index}: delete that first")


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest that has been read and checked, about to be stored."""

    digest: Digest
    content: bytes
    media_type: str
    parsed: Manifest | Index

    @property
    def subject(self) -> str:
        return str(self.parsed.subject.digest) if self.parsed.subject is not None else ""

    @property
    def artifact_type(self) -> str:
        """What the referrers list says it is: its own word, else the media type of its configuration."""
        if self.parsed.artifact_type:
            return self.parsed.artifact_type
        return self.parsed.config.media_type if isinstance(self.parsed, Manifest) else ""

    def references(self) -> dict[Digest, str]:
        """What must be there: digest → "blob" or "manifest"."""
        if isinstance(self.parsed, Index):
            return {
                entry.digest: "manifest" if entry.media_type in MANIFESTS | INDEXES else "blob"
                for entry in self.parsed.manifests
            }
        parts = [self.parsed.config, *self.parsed.layers]
        return {part.digest: "blob" for part in parts if part.media_type not in FOREIGN_LAYERS}


@dataclass(frozen=True, slots=True)
class Stored:
    digest: str
    media_type: str
    content: bytes


def read_document(content: bytes, media_type: str, digest: Digest | None) -> Document:
    """Read what a client sent. Raises InvalidManifest, DigestWrong."""
    if digest is not None and not digest.verifies(content):
        raise DigestWrong(f"the manifest's bytes do not have the digest {digest}")
    media_type = media_type.partition(";")[0].strip().lower()
    if media_type and media_type not in MANIFESTS | INDEXES:
        raise InvalidManifest(
            f"unsupported manifest media type: {media_type[:100]}: {OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST} and "
            f"{DOCKER_LIST} are taken"
        )
    parsed = parse_manifest(content, media_type)
    kind = parsed.media_type or media_type or (OCI_INDEX if isinstance(parsed, Index) else OCI_MANIFEST)
    return Document(digest or Digest.of(content), content, kind, parsed)


def _missing(connection: Connection, repository_id: int, references: dict[Digest, str]) -> list[Digest]:
    missing = []
    for digest, kind in references.items():
        if kind == "blob":
            found = connection.execute(
                "SELECT 1 FROM repository_blobs WHERE repository_id = ? AND digest = ?", (repository_id, digest)
            ).fetchone()
        else:
            found = connection.execute(
                "SELECT 1 FROM manifests WHERE repository_id = ? AND digest = ? AND deleted_at = ''",
                (repository_id, digest),
            ).fetchone()
        if found is None:
            missing.append(digest)
    return missing


def store(connection: Connection, repository_id: int, document: Document, by: str, *, whole: bool = True) -> bool:
    """Store a manifest whose references are all there; True when it is new here. Raises ReferencesUnknown, QuotaExceeded.

    The references are looked up in the transaction that stores it: from then on the collector leaves them alone.
    `whole` false: they may be missing; a cache fetches them when they are asked for.
    """
    references = document.references()
    if whole and (missing := _missing(connection, repository_id, references)):
        raise ReferencesUnknown(missing)
    old = connection.execute(
        "SELECT media_type, deleted_at FROM manifests WHERE repository_id = ? AND digest = ?",
        (repository_id, document.digest),
    ).fetchone()
    if old is not None and not old["deleted_at"] and old["media_type"] == document.media_type:
        return False
    if old is None:
        quotas.check(connection, repository_id, len(document.content))
    now = stamp()
    connection.execute(
        "INSERT INTO manifests (repository_id, digest, media_type, artifact_type, subject, size_bytes, content,"
        " pushed_at, pushed_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (repository_id, digest) DO UPDATE SET deleted_at = '', media_type = excluded.media_type,"
        " artifact_type = excluded.artifact_type, pushed_at = excluded.pushed_at,"
        # Nobody makes it theirs by pushing it again as another media type: `signatures` goes by who pushed it.
        " pushed_by = CASE WHEN manifests.deleted_at = '' THEN manifests.pushed_by ELSE excluded.pushed_by END",
        (repository_id, document.digest, document.media_type, document.artifact_type[:500], document.subject,
         len(document.content), document.content, now, by),
    )  # fmt: skip
    for digest, kind in references.items():
        connection.execute(
            "INSERT INTO manifest_references (repository_id, manifest, digest, kind) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (repository_id, manifest, digest) DO NOTHING",
            (repository_id, document.digest, digest, kind),
        )
    connection.execute("UPDATE repositories SET updated_at = ? WHERE id = ?", (now, repository_id))
    return True


def find(connection: Connection, repository: str, reference: str) -> Stored:
    """The manifest of a tag or a digest. Raises ManifestUnknown."""
    if ":" in reference:
        row = connection.execute(
            "SELECT m.digest, m.media_type, m.content FROM repositories r JOIN manifests m ON m.repository_id = r.id"
            " WHERE r.name = ? AND m.digest = ? AND m.deleted_at = ''",
            (repository, reference),
        ).fetchone()
    else:
        row = connection.execute(
            "SELECT m.digest, m.media_type, m.content FROM repositories r JOIN tags t ON t.repository_id = r.id"
            " JOIN manifests m ON m.repository_id = r.id AND m.digest = t.digest"
            " WHERE r.name = ? AND t.name = ? AND m.deleted_at = ''",
            (repository, reference),
        ).fetchone()
    if row is None:
        raise ManifestUnknown(reference)
    return Stored(row["digest"], row["media_type"], row["content"])


def row(connection: Connection, repository_id: int, digest: str) -> Any:
    """All that is stored of one manifest. Raises ManifestUnknown."""
    found = connection.execute(
        "SELECT * FROM manifests WHERE repository_id = ? AND digest = ? AND deleted_at = ''", (repository_id, digest)
    ).fetchone()
    if found is None:
        raise ManifestUnknown(digest)
    return found


def part_of(connection: Connection, repository_id: int, digest: str) -> list[str]:
    """The indexes that name a manifest."""
    rows = connection.execute(
        "SELECT f.manifest FROM manifest_references f JOIN manifests m ON m.repository_id = f.repository_id"
        " AND m.digest = f.manifest WHERE f.repository_id = ? AND f.digest = ? AND m.deleted_at = '' ORDER BY f.manifest",
        (repository_id, digest),
    ).fetchall()
    return [row["manifest"] for row in rows]


def delete(
    connection: Connection, repository_id: int, digest: str, by: str, action: TagAction = TagAction.DELETE
) -> list[str]:
    """Delete a manifest and the tags that name it; gives those. It can be brought back until the window ends.

    Raises ManifestUnknown, PartOfIndex, TagImmutable.
    """
    row = connection.execute(
        "SELECT 1 FROM manifests WHERE repository_id = ? AND digest = ? AND deleted_at = ''", (repository_id, digest)
    ).fetchone()
    if row is None:
        raise ManifestUnknown(digest)
    indexes = part_of(connection, repository_id, digest)
    if indexes:
        raise PartOfIndex(digest, indexes[0])
    named = tags.of_manifest(connection, repository_id, digest)
    for tag in named:
        tags.delete(connection, repository_id, tag, by, action)
    connection.execute(
        "UPDATE manifests SET deleted_at = ? WHERE repository_id = ? AND digest = ?", (stamp(), repository_id, digest)
    )
    return named


def restore(connection: Connection, repository_id: int, digest: str) -> None:
    """Bring a deleted manifest back, and those it is made of; its tags do not come back by themselves.

    Raises ManifestUnknown, and ReferencesUnknown where a blob was deleted by name meanwhile.
    """
    done = connection.execute(
        "UPDATE manifests SET deleted_at = '' WHERE repository_id = ? AND digest = ? AND deleted_at != ''",
        (repository_id, digest),
    )
    if not done.rowcount:
        raise ManifestUnknown(digest)
    rows = connection.execute(
        "SELECT f.digest, f.kind, m.deleted_at FROM manifest_references f LEFT JOIN manifests m"
        " ON m.repository_id = f.repository_id AND m.digest = f.digest WHERE f.repository_id = ? AND f.manifest = ?",
        (repository_id, digest),
    ).fetchall()
    for row in rows:
        if row["kind"] == "manifest" and row["deleted_at"]:
            restore(connection, repository_id, row["digest"])
    missing = _missing(connection, repository_id, {Digest(row["digest"]): row["kind"] for row in rows})
    if missing:
        raise ReferencesUnknown(missing)


def referrers(
    connection: Connection, repository: str, digest: str, last: str, most: int, artifact_type: str
) -> list[Any]:
    """Rows of the manifests whose subject is `digest`, after `last` in the order of their digests; without their bytes."""
    return connection.execute(
        "SELECT m.digest, m.media_type, m.artifact_type, m.size_bytes FROM repositories r"
        " JOIN manifests m ON m.repository_id = r.id WHERE r.name = ? AND m.subject = ? AND m.deleted_at = ''"
        " AND m.digest > ? AND (? = '' OR m.artifact_type = ?) ORDER BY m.digest LIMIT ?",
        (repository, digest, last, artifact_type, artifact_type, most),
    ).fetchall()


def signatures(
    connection: Connection, repository: str, digest: str, artifact_types: Sequence[str], most_bytes: int, most: int
) -> list[Any]:
    """Rows of the signatures of `digest` that are no larger than `most_bytes`: each account's newest, then each one's next.

    So however many an account pushes, before or after, they do not crowd out those of another.
    """
    kinds = ", ".join("?" * len(artifact_types))
    return connection.execute(
        "SELECT t.digest, t.artifact_type, m.content FROM ("  # noqa: S608  # question marks only
        " SELECT s.repository_id, s.digest, s.artifact_type,"
        "   ROW_NUMBER() OVER (PARTITION BY s.pushed_by ORDER BY s.pushed_at DESC, s.digest) AS turn"
        "   FROM repositories r JOIN manifests s ON s.repository_id = r.id WHERE r.name = ? AND s.subject = ?"
        f"   AND s.deleted_at = '' AND s.size_bytes <= ? AND s.artifact_type IN ({kinds})"
        " ) t JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest"
        " ORDER BY t.turn, t.digest LIMIT ?",
        (repository, digest, most_bytes, *artifact_types, most),
    ).fetchall()
