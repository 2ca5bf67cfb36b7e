"""From a repository here to one of a remote."""

import asyncio
from collections.abc import AsyncIterator

from onggi.distribution import referring
from onggi.distribution.failure import AnswerBusy, AnswerFailed, AnswerNotFound, Unreachable
from onggi.distribution.repository import Document, Repository
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.registry import blobs, manifests
from onggi.registry.blobs import Blob
from onggi.registry.database import Connection
from onggi.registry.manifests import read_document
from onggi.registry.refusals import ManifestUnknown
from onggi.registry.service import Service

_PIECE_BYTES = 512 * 1024
_TRIES = 4
_MOST_REFERRERS = 1000


class Push:
    """`copying.Ends` whose source is here."""

    def __init__(self, service: Service, repository: str, target: Repository) -> None:
        self._service, self._repository, self._target = service, repository, target

    async def manifest(self, reference: str) -> Document:
        found = await self._service.read(lambda connection: manifests.find(connection, self._repository, reference))
        return Document(found.content, found.media_type, Digest(found.digest))

    async def referrers(self, digest: Digest) -> list[Digest]:
        rows = await self._service.read(
            lambda connection: manifests.referrers(connection, self._repository, digest, "", _MOST_REFERRERS, "")
        )
        return [Digest(row["digest"]) for row in rows]

    async def tagged(self, tag: str) -> bool:
        def look(connection: Connection) -> bool:
            try:
                manifests.find(connection, self._repository, tag)
            except ManifestUnknown:
                return False
            return True

        return await self._service.read(look)

    async def there(self, reference: str) -> str:
        try:
            head = await self._target.head(reference)
            return head.digest if head is not None else (await self._target.manifest(reference)).digest
        except AnswerNotFound:
            return ""

    async def copy_blob(self, blob: Descriptor) -> int:
        """Raises Answer, Unreachable, Misbehaved, BlobNotHere."""
        if await self._target.has_blob(blob.digest) is not None:
            return 0
        row = await self._service.read(lambda connection: blobs.find(connection, self._repository, blob.digest))
        for attempt in range(1, _TRIES + 1):
            try:
                location = await self._target.begin_upload(blob.digest)
                if location is not None:
                    await self._target.upload(location, blob.digest, row.size_bytes, lambda: self._pieces(row))
                return row.size_bytes
            except (Unreachable, AnswerBusy, AnswerFailed):
                if attempt == _TRIES:
                    raise
                await asyncio.sleep(self._target.client.http.deadlines.retry_s * attempt)
        raise AssertionError("the last try returns or raises")

    async def _pieces(self, blob: Blob) -> AsyncIterator[bytes]:
        loop, pool = asyncio.get_running_loop(), self._service.pool
        file = await loop.run_in_executor(pool, self._service.objects.open, blob.key)
        try:
            while piece := await loop.run_in_executor(pool, file.read, _PIECE_BYTES):
                yield piece
        finally:
            file.close()

    async def put(self, document: Document, tag: str) -> None:
        read = read_document(document.content, document.media_type, document.digest)
        reference = tag or document.digest
        if read.parsed.subject is None:
            await self._target.put_manifest(reference, document.content, document.media_type)
            return
        entry = Descriptor(
            media_type=document.media_type, digest=document.digest, size=len(document.content),
            artifact_type=read.artifact_type, annotations=read.parsed.annotations,
        )  # fmt: skip
        await referring.put(self._target, reference, document.content, entry, read.parsed.subject.digest)
