"""What belongs to an image and is copied with it, whatever the direction.

the manifest, or the index and all that it names     blobs first, so that whoever reads the target finds a whole image
its referrers, and theirs                            signatures, bills of materials, attestations (distribution-spec)
cosign's tags sha256-HEX.sig, .att, .sbom            the same, as older tools keep them

A digest that the target has is not copied again: that makes a run that broke off cheap to begin anew, and ends every loop.
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from onggi.distribution.repository import Document
from onggi.errors import NotFound, TooLarge
from onggi.oci.descriptor import FOREIGN_LAYERS, INDEXES, MANIFESTS, Descriptor
from onggi.oci.digest import Digest
from onggi.oci.manifest import Index
from onggi.registry.manifests import read_document

_AT_ONCE = 4
"""Blobs of one manifest."""
_DEPTH = 4
"""Of referrers of referrers, and of indexes in indexes."""
_MOST_DOCUMENTS = 5000
_COSIGN = (".sig", ".att", ".sbom")
_COSIGN_TAG = re.compile(r"(sha256)-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?", re.ASCII)


def about(tag: str) -> Digest | None:
    """The digest that a tag of cosign's, or one that stands in for a list of referrers, is about."""
    match = _COSIGN_TAG.fullmatch(tag)
    return Digest(f"{match[1]}:{match[2]}") if match is not None else None


class Ends(Protocol):
    """One repository at the source and one at the target."""

    async def manifest(self, reference: str) -> Document:
        """From the source; by digest verified. Raises NotFound and what its registry refuses."""

    async def referrers(self, digest: Digest) -> list[Digest]:
        """At the source."""

    async def tagged(self, tag: str) -> bool:
        """At the source."""

    async def there(self, reference: str) -> str:
        """The digest that a tag has at the target, or a digest that the target has; "" for nothing."""

    async def copy_blob(self, blob: Descriptor) -> int:
        """Gives how many bytes were sent: 0 where the target has it."""

    async def put(self, document: Document, tag: str) -> None:
        """Store at the target, under `tag` where that is not ""."""


@dataclass(slots=True)
class Tally:
    """What was done for one image."""

    digest: str = ""
    documents: int = 0
    """Manifests and indexes that were stored."""
    size_bytes: int = 0


class Copier:
    """Copies images between two ends."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._seen: set[tuple[str, str]] = set()

    async def copy(self, tag: str) -> Tally:
        """The image of `tag`, with what belongs to it. Raises what either end refuses."""
        self._seen.clear()
        tally = Tally()
        document = await self._ends.manifest(tag)
        tally.digest = document.digest
        images = await self._document(document, tag, tally, 0)
        for image in images:
            await self._attached(image, tally, 0)
            for suffix in _COSIGN:
                name = f"{image.algorithm}-{image.hex}{suffix}"
                if await self._ends.tagged(name):
                    await self._document(await self._ends.manifest(name), name, tally, 0)
        return tally

    async def _document(self, document: Document, tag: str, tally: Tally, depth: int) -> list[Digest]:
        """Copy a manifest or index; gives its digest and those of the images in it."""
        read = read_document(document.content, document.media_type, document.digest)
        digests = [document.digest]
        key = document.digest, tag
        new = key not in self._seen
        self._seen.add(key)
        if len(self._seen) > _MOST_DOCUMENTS:
            raise TooLarge(f"more than {_MOST_DOCUMENTS} manifests belong to the image")
        complete = not new or await self._ends.there(document.digest) == document.digest
        if isinstance(read.parsed, Index):
            digests += await self._entries(read.parsed, tally, depth, complete=complete)
        elif not complete:
            blobs = [read.parsed.config, *read.parsed.layers]
            await self._blobs((blob for blob in blobs if blob.media_type not in FOREIGN_LAYERS), tally)
        if new and (not complete or (tag and await self._ends.there(tag) != document.digest)):
            await self._ends.put(document, tag)
            tally.documents += 1
        return digests

    async def _entries(self, index: Index, tally: Tally, depth: int, *, complete: bool) -> list[Digest]:
        digests: list[Digest] = []
        if depth < _DEPTH:
            for entry in index.manifests:
                if entry.media_type not in MANIFESTS | INDEXES:
                    if not complete:
                        await self._blobs([entry], tally)
                elif complete:
                    digests.append(entry.digest)  # the target took the index, so it has them
                else:
                    child = await self._ends.manifest(entry.digest)
                    digests += await self._document(child, "", tally, depth + 1)
        return digests

    async def _attached(self, digest: Digest, tally: Tally, depth: int) -> None:
        for referrer in await self._ends.referrers(digest):
            if (referrer, "") in self._seen:
                continue
            try:
                document = await self._ends.manifest(referrer)
            except NotFound:
                continue  # a list that is kept as a tag may name what was deleted
            await self._document(document, "", tally, 0)
            if depth < _DEPTH:
                await self._attached(referrer, tally, depth + 1)

    async def _blobs(self, blobs: Iterable[Descriptor], tally: Tally) -> None:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(blob: Descriptor) -> None:
            async with turns:
                tally.size_bytes += await self._ends.copy_blob(blob)

        try:
            async with asyncio.TaskGroup() as group:
                for blob in {blob.digest: blob for blob in blobs}.values():
                    group.create_task(one(blob), name=f"copy {blob.digest.short}")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
