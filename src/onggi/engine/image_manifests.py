"""The manifests of an image: its own, and the others of the index that it was pulled by (API 1.47: `manifests=1`).

Unless the whole index came, only the image for one platform is here, and the others, attestations among them, are listed
as not available.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from onggi.content.store import BlobUnknown
from onggi.oci.descriptor import INDEXES, OCI_INDEX, Descriptor
from onggi.oci.digest import Digest
from onggi.oci.manifest import MANIFEST_LIMIT_BYTES, Index, parse_manifest

if TYPE_CHECKING:
    from onggi.images.image import Image
    from onggi.images.images import Images

_KIND = "vnd.docker.reference.type"
_SUBJECT = "vnd.docker.reference.digest"


class Kind(StrEnum):
    """What a manifest is of."""

    IMAGE = "image"
    ATTESTATION = "attestation"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ListedManifest:
    """One manifest, here or not."""

    descriptor: Descriptor
    kind: Kind
    available: bool
    subject: str = ""
    """Of an attestation: the digest of the manifest that it is about."""


def target(images: "Images", image: "Image") -> Descriptor:
    """What the image's name stands for at its registry: an index, or its manifest."""
    for digest in _tops(image):
        document = _document(images, digest)
        if document is not None:
            parsed = parse_manifest(document)
            kind = parsed.media_type or (OCI_INDEX if isinstance(parsed, Index) else image.manifest_media_type)
            return Descriptor(media_type=kind, digest=digest, size=len(document))
    return _own(image)


def listed(images: "Images", image: "Image") -> Sequence[ListedManifest]:
    """All manifests of the index, in its order; without an index the image's own. Blocks on the disk: small files."""
    own = _own(image)
    for digest in _tops(image):
        document = _document(images, digest)
        parsed = parse_manifest(document) if document is not None else None
        if isinstance(parsed, Index) and any(entry.digest == own.digest for entry in parsed.manifests):
            return [_entry(entry, own.digest, whole=digest == image.index) for entry in parsed.manifests]
    return [ListedManifest(own, Kind.IMAGE, available=True)]


def _tops(image: "Image") -> Sequence[Digest]:
    """What the image may have come as: by the index that is here whole first."""
    return [*([image.index] if image.index else []), *(name.digest for name in image.digests if name.digest)]


def _own(image: "Image") -> Descriptor:
    return Descriptor(
        media_type=image.manifest_media_type, digest=Digest.of(image.manifest_bytes), size=len(image.manifest_bytes)
    )


def _entry(entry: Descriptor, own: Digest, *, whole: bool) -> ListedManifest:
    annotations = entry.annotations or {}
    if annotations.get(_KIND) == "attestation-manifest":
        return ListedManifest(entry, Kind.ATTESTATION, available=whole, subject=annotations.get(_SUBJECT, ""))
    known = entry.media_type not in INDEXES and entry.platform is not None and entry.platform.os not in ("", "unknown")
    kind = Kind.IMAGE if known or entry.digest == own else Kind.UNKNOWN
    return ListedManifest(entry, kind, available=whole or entry.digest == own)


def _document(images: "Images", digest: Digest) -> bytes | None:
    try:
        with images.blobs.open(digest) as file:
            return file.read(MANIFEST_LIMIT_BYTES + 1)
    except BlobUnknown:
        return None  # of an image that an older engine pulled
