"""An index of which everything is here: each manifest, and each blob that they name.

An image's name usually stands for its platform's manifest alone, as in Docker's own store. Where the whole index came
(`pull --platform all`, an OCI layout that holds it all), it is kept with the image and sent on as it is: no digest
changes. Only this machine's image of it is unpacked.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from onggi.content.store import BlobUnknown
from onggi.distribution.failure import printable
from onggi.distribution.repository import Document
from onggi.images.image import Image
from onggi.images.unpack import Integrity
from onggi.oci.descriptor import FOREIGN_LAYERS, INDEXES, MANIFESTS, OCI_INDEX, Descriptor
from onggi.oci.digest import Digest
from onggi.oci.manifest import Index, parse_manifest

_DEEPEST = 3
_MOST_DOCUMENTS = 1000
_MOST_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Of all together: they are in memory."""
_MOST_BLOBS = 10_000


class NotWhole(Integrity):
    """An index that can't be kept whole; one image of it may be fit all the same."""


@dataclass(frozen=True, slots=True)
class WholeIndex:
    """Read, and its documents verified; the blobs are only named."""

    top: Document
    documents: Sequence[Document]
    """What it lists, each once; what is listed comes before what lists it, as registries want it."""
    blobs: Sequence[Descriptor]
    """Configurations and layers of all, each once; without layers that are to be had elsewhere, by their URLs."""

    @property
    def digests(self) -> set[Digest]:
        """All that must be kept."""
        return {self.top.digest, *(each.digest for each in self.documents), *(blob.digest for blob in self.blobs)}


async def read_index(top: Document, document: Callable[[Descriptor], Awaitable[bytes]]) -> WholeIndex:
    """Follow an index down. `document` gives the verified bytes of one manifest, and may raise what it likes.

    Raises NotWhole for one that is too deep or too large, or lists what is no manifest; Integrity for a wrong size;
    InvalidManifest.
    """
    size_bytes = len(top.content)
    documents: dict[Digest, Document] = {}
    blobs: dict[Digest, Descriptor] = {}

    async def follow(found: Document, depth: int) -> None:
        nonlocal size_bytes
        parsed = parse_manifest(found.content, found.media_type)
        if not isinstance(parsed, Index):
            for blob in (parsed.config, *parsed.layers):
                if not (blob.media_type in FOREIGN_LAYERS and blob.urls):
                    blobs.setdefault(blob.digest, blob)
            if len(blobs) > _MOST_BLOBS:
                raise NotWhole(f"index {top.digest} names more than {_MOST_BLOBS} blobs")
            return
        if depth == _DEEPEST:
            raise NotWhole(f"index {top.digest} holds indexes more than {_DEEPEST} deep")
        for entry in parsed.manifests:
            if entry.digest in documents:
                continue
            if entry.media_type not in MANIFESTS | INDEXES:
                raise NotWhole(
                    f"index {top.digest} lists {entry.digest} of the type {printable(entry.media_type)}, "
                    "which is no manifest: it can't be kept whole"
                )
            if len(documents) == _MOST_DOCUMENTS:
                raise NotWhole(f"index {top.digest} lists more than {_MOST_DOCUMENTS} manifests")
            size_bytes += entry.size
            if size_bytes > _MOST_DOCUMENT_BYTES:
                raise NotWhole(f"index {top.digest} lists manifests of more than {_MOST_DOCUMENT_BYTES} bytes")
            content = await document(entry)
            if len(content) != entry.size:
                raise Integrity(f"manifest {entry.digest} has {len(content)} bytes, not {entry.size}")
            inner = Document(content, entry.media_type, entry.digest)
            await follow(inner, depth + 1)
            documents[entry.digest] = inner

    await follow(top, 0)
    return WholeIndex(top, list(documents.values()), list(blobs.values()))


async def of_image(
    image: Image, read: Callable[[Digest], Awaitable[bytes]], hold: Callable[[Digest], Awaitable[bool]]
) -> WholeIndex | None:
    """The index that an image came with, all of it held; None when it came without, or something of it has gone.

    `read` gives a document of the store; `hold` keeps a blob, and tells whether it is there. Raises Integrity for a
    document that is damaged.
    """
    if image.index is None:
        return None

    async def document(digest: Digest) -> bytes:
        if not await hold(digest):
            raise BlobUnknown(digest)
        content = await read(digest)
        if not digest.verifies(content):
            raise Integrity(f"content {digest} is damaged: `onggi image verify` tells more")
        return content

    try:
        content = await document(image.index)
        kind = parse_manifest(content).media_type or OCI_INDEX  # which alone may leave it out
        index = await read_index(Document(content, kind, image.index), lambda entry: document(entry.digest))
        for blob in index.blobs:
            if not await hold(blob.digest):
                return None
    except BlobUnknown:
        return None
    return index
