"""Images and their names, in the tables `images`, `image_names` and `image_blobs`.

A name is a reference in canonical form, with a tag or a digest; it belongs to one image. An image may have many, or
none ("dangling"). All functions run inside a caller's read or transaction.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from onggi.errors import InvalidParameter
from onggi.images.image import Image, NoSuchImage
from onggi.oci.digest import Digest
from onggi.oci.image import ImageConfig, parse_image_config
from onggi.oci.manifest import Manifest, parse_manifest
from onggi.oci.reference import InvalidReference, Reference

_HEX = frozenset("0123456789abcdef")
_ID_PREFIX = "sha256:"


class AmbiguousId(InvalidParameter):
    """Docker answers 404 to this as well; its sentence says what to do."""


@lru_cache(512)
def _config(image_id: str, data: bytes) -> ImageConfig:
    return parse_image_config(data)


@lru_cache(512)
def _manifest(data: bytes, media_type: str) -> Manifest:
    manifest = parse_manifest(data, media_type)
    assert isinstance(manifest, Manifest), "an image's own manifest is recorded, never an index"
    return manifest


def _time(text: str) -> datetime | None:
    """A time as image configurations write it (RFC 3339, up to nanoseconds); None for none or nonsense."""
    try:
        moment = datetime.fromisoformat(_to_microseconds(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _to_microseconds(text: str) -> str:
    whole, dot, rest = text.partition(".")
    if not dot:
        return text
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{whole}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"


def parse_time(text: str | None) -> datetime | None:
    return _time(text) if text else None


def _image(connection: sqlite3.Connection, row: sqlite3.Row) -> Image:
    names = [
        Reference.parse(name["reference"])
        for name in connection.execute(
            "SELECT reference FROM image_names WHERE image_id = ? ORDER BY reference", (row["id"],)
        )
    ]
    return Image(
        id=Digest(row["id"]),
        config=_config(row["id"], row["config"]),
        config_bytes=row["config"],
        manifest=_manifest(row["manifest"], row["media_type"]),
        manifest_bytes=row["manifest"],
        manifest_media_type=row["media_type"],
        names=tuple(name for name in names if name.digest is None),
        digests=tuple(name for name in names if name.digest is not None),
        size_bytes=row["size_bytes"],
        parent=row["parent"],
        created_at=parse_time(row["created_at"]),
        tagged_at=parse_time(row["tagged_at"]),
        last_used_at=parse_time(row["last_used_at"]),
        index=Digest(row["index_digest"]) if row["index_digest"] else None,
    )


def by_id(connection: sqlite3.Connection, image_id: str) -> Image | None:
    row = connection.execute("SELECT * FROM images WHERE id = ?", (image_id,)).fetchone()
    return _image(connection, row) if row else None


def exists(connection: sqlite3.Connection, image_id: str) -> bool:
    return connection.execute("SELECT 1 FROM images WHERE id = ?", (image_id,)).fetchone() is not None


def every(connection: sqlite3.Connection) -> list[Image]:
    """All images, in no order."""
    return [_image(connection, row) for row in connection.execute("SELECT * FROM images")]


def find(connection: sqlite3.Connection, text: str) -> Image:
    """By what a user writes. A name comes before the start of an ID, as in Docker. Raises NoSuchImage and others."""
    return find_named(connection, text)[0]


def find_named(connection: sqlite3.Connection, text: str) -> tuple[Image, Reference | None]:
    """As `find`; second the name that `text` was, None for an ID."""
    bare = text.removeprefix(_ID_PREFIX)
    is_hex = bool(bare) and not set(bare) - _HEX
    if is_hex and (len(bare) == 64 or bare != text):
        return _by_prefix(connection, text, bare), None
    try:
        reference = Reference.parse(text).with_default_tag()
    except InvalidReference:
        if is_hex:
            return _by_prefix(connection, text, bare), None
        raise
    image = named(connection, reference)
    if image is not None:
        return image, reference
    if is_hex:
        return _by_prefix(connection, text, bare), None
    raise NoSuchImage(reference.familiar)


def tags_of(connection: sqlite3.Connection, repository: str) -> list[Reference]:
    """All names with a tag in a repository, sorted."""
    rows = connection.execute(
        "SELECT reference FROM image_names WHERE repository = ? ORDER BY reference", (repository,)
    ).fetchall()
    return [name for row in rows if (name := Reference.parse(row["reference"])).digest is None]


def named(connection: sqlite3.Connection, reference: Reference) -> Image | None:
    """The image with exactly this name. A tag beside a digest says nothing more: the digest decides."""
    if reference.digest is not None:
        reference = reference.with_digest(reference.digest)
    row = connection.execute(
        "SELECT images.* FROM image_names JOIN images ON images.id = image_id WHERE reference = ?",
        (reference.canonical,),
    ).fetchone()
    if row is None and reference.digest is not None:
        # Docker also takes NAME@ID.
        row = connection.execute(
            "SELECT images.* FROM images JOIN image_names ON images.id = image_id WHERE id = ? AND repository = ?",
            (reference.digest, reference.name),
        ).fetchone()
    return _image(connection, row) if row else None


def _by_prefix(connection: sqlite3.Connection, text: str, start: str) -> Image:
    rows = connection.execute(
        "SELECT * FROM images WHERE id >= ? AND id < ? LIMIT 2", (f"{_ID_PREFIX}{start}", f"{_ID_PREFIX}{start}g")
    ).fetchall()
    if len(rows) > 1:
        raise AmbiguousId(f"ambiguous reference: more than one image ID starts with {text}")
    if not rows:
        raise NoSuchImage(_with_latest(text))
    return _image(connection, rows[0])


def _with_latest(text: str) -> str:
    """What Docker calls an image it did not find."""
    return text if text.startswith(_ID_PREFIX) or len(text) == 64 else f"{text}:latest"


def insert(
    connection: sqlite3.Connection, *, image_id: Digest, config: bytes, manifest: bytes, media_type: str,
    size_bytes: int, parent: str, blobs: Iterable[Digest], index: Digest | None, now: str,
) -> bool:  # fmt: skip
    """Record an image; False when it is known: then the new manifest counts, since its blobs are here.

    `index`: what it came with, whole. Without one an earlier one stays, since all of it is still here.
    """
    row = connection.execute("SELECT index_digest FROM images WHERE id = ?", (image_id,)).fetchone()
    known = row is not None
    if known:
        connection.execute(
            "UPDATE images SET manifest = ?, media_type = ?, last_used_at = ?, index_digest = ? WHERE id = ?",
            (manifest, media_type, now, index or row["index_digest"], image_id),
        )
    else:
        created = parse_image_config(config).created or ""
        connection.execute(
            "INSERT INTO images (id, manifest, media_type, created_at, last_used_at, tagged_at, size_bytes, parent, "
            "config, index_digest) VALUES (?, ?, ?, ?, ?, '', ?, ?, ?, ?)",
            (image_id, manifest, media_type, created, now, size_bytes, parent, config, index or ""),
        )
    connection.executemany(
        "INSERT OR IGNORE INTO image_blobs (image_id, digest) VALUES (?, ?)", ((image_id, blob) for blob in blobs)
    )
    return not known


def give_name(connection: sqlite3.Connection, reference: Reference, image_id: Digest, now: str | None) -> Digest | None:
    """Give the image a name; the ID of another image that loses it, if there is one. `now`: it was tagged now."""
    holder = connection.execute(
        "SELECT image_id FROM image_names WHERE reference = ?", (reference.canonical,)
    ).fetchone()
    connection.execute(
        "INSERT INTO image_names (reference, repository, image_id) VALUES (?, ?, ?) "
        "ON CONFLICT (reference) DO UPDATE SET image_id = excluded.image_id",
        (reference.canonical, reference.name, image_id),
    )
    if now is not None:
        connection.execute("UPDATE images SET tagged_at = ? WHERE id = ?", (now, image_id))
    return Digest(holder["image_id"]) if holder and holder["image_id"] != image_id else None


def take_name(connection: sqlite3.Connection, reference: Reference) -> None:
    connection.execute("DELETE FROM image_names WHERE reference = ?", (reference.canonical,))


def note_use(connection: sqlite3.Connection, image_id: str, now: str) -> None:
    """A container was made of the image, or removed."""
    connection.execute("UPDATE images SET last_used_at = ? WHERE id = ?", (now, image_id))


def delete(connection: sqlite3.Connection, image_id: Digest) -> list[Digest]:
    """Forget an image without names; gives those of its blobs that no other image needs and no lease holds."""
    blobs = [
        Digest(row["digest"])
        for row in connection.execute(
            "SELECT digest FROM image_blobs AS mine WHERE image_id = ? "
            "AND NOT EXISTS (SELECT 1 FROM image_blobs WHERE digest = mine.digest AND image_id != mine.image_id) "
            "AND NOT EXISTS (SELECT 1 FROM leases WHERE resource = 'blob:' || mine.digest)",
            (image_id,),
        )
    ]
    connection.execute("DELETE FROM images WHERE id = ?", (image_id,))
    return blobs


def with_blob(connection: sqlite3.Connection, digest: Digest) -> list[Image]:
    """Every image that needs a blob, in no order."""
    rows = connection.execute(
        "SELECT images.* FROM images JOIN image_blobs ON image_id = images.id WHERE digest = ?", (digest,)
    )
    return [_image(connection, row) for row in rows]


def children(connection: sqlite3.Connection, image_id: str) -> Sequence[str]:
    """Images that were built or committed on this one, here."""
    return [row["id"] for row in connection.execute("SELECT id FROM images WHERE parent = ?", (image_id,))]


def blobs_of(connection: sqlite3.Connection, image_id: str) -> list[Digest]:
    """All that the image needs in the content store."""
    rows = connection.execute("SELECT digest FROM image_blobs WHERE image_id = ? ORDER BY digest", (image_id,))
    return [Digest(row["digest"]) for row in rows]


def used_blobs(connection: sqlite3.Connection) -> set[str]:
    """Every blob that an image needs or a lease holds."""
    rows = connection.execute(
        "SELECT digest FROM image_blobs UNION SELECT substr(resource, 6) FROM leases WHERE resource LIKE 'blob:%'"
    )
    return {row["digest"] for row in rows}
